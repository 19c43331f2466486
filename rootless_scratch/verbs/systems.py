"""Which systems the programs of a Containerfile come from (stages, images, this host), each with its libraries."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rootless_scratch.errors import ElfError, SourceError
from rootless_scratch.image.rootfs import File

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.rootfs import Entry
    from rootless_scratch.image.spec import Spec


def with_systems(
    spec: Spec, entries: Iterable[Entry], roots: Sequence[str], files: HostFiles
) -> tuple[Spec, tuple[str, ...]]:
    """The Spec with the system of its programs as sysroot; those of these `roots` that are others, if any.

    What lies below none of the roots comes from this host, and so do its libraries.
    """
    if not roots or not spec.bundle_libraries or spec.sysroot is not None:
        return spec, ()
    found = dict.fromkeys(_root_of(entry, roots) for entry in entries if _is_linked(entry, files))
    systems = [each for each in found if each is not None]
    if None in found or not systems:
        return spec, tuple(systems)
    return spec.but(sysroot=systems[0]), tuple(systems[1:])


def _root_of(entry: Entry, roots: Iterable[str]) -> str | None:
    source = os.path.realpath(entry.source or "") if isinstance(entry, File) else ""
    return next((root for root in roots if source.startswith(f"{os.path.realpath(root)}/")), None)


def _is_linked(entry: Entry, files: HostFiles) -> bool:
    """Whether this is a program that a loader starts."""
    if not isinstance(entry, File) or entry.source is None:
        return False
    try:
        elf = files.program(entry.source).elf if files.is_elf(entry) else None
    except (OSError, ElfError, SourceError):
        return False
    return elf is not None and elf.interpreter is not None
