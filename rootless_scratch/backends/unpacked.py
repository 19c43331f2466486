"""The files of an image that a stage begins with or copies from: all of them listed, the needed ones unpacked."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from msgspec.structs import replace

from rootless_scratch.backends.layouts import LayoutImage
from rootless_scratch.data import Value
from rootless_scratch.elf.identity import identity_of
from rootless_scratch.image.read.reader import ImageReader
from rootless_scratch.image.rootfs import File, Symlink
from rootless_scratch.image.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.image.config import RuntimeConfig
    from rootless_scratch.image.references import Reference
    from rootless_scratch.image.rootfs import Entry


class UnpackedImage(Value):
    """Entries of an image, their times in nanoseconds, its config, and what runs in its builds (ONBUILD).

    Files that were not needed have a source that is not there.
    """

    entries: tuple[Entry, ...]
    mtimes: Mapping[str, int]
    config: RuntimeConfig
    onbuild: tuple[str, ...]


def unpack_image(
    reference: Reference,
    paths: Collection[str],
    directory: str,
    *,
    platform: Platform | None = None,
    limits: Mapping[str, int] | None = None,
) -> UnpackedImage:
    """Read an image, and write the regular files at or below `paths` of it to a private directory.

    What links there lead to comes along. Raises ImageNotFoundError, SourceError, LimitError, HostError.
    """
    with ImageReader(reference, limits) as reader:
        image = LayoutImage(reader, platform)
        entries = image.stored.rootfs().entries
        needed = _needed(entries, paths)
        copies = image.copy_out((each.path for each in entries if each.path in needed), directory)
    missing = os.path.join(directory, "not-unpacked")
    found: list[Entry] = []
    for entry in entries:
        if isinstance(entry, File) and entry.path in copies:
            copy, xattrs = copies[entry.path]
            found.append(replace(entry, source=copy, identity=identity_of(os.stat(copy)), xattrs=xattrs))
        else:
            found.append(replace(entry, source=missing) if isinstance(entry, File) else entry)
    config = json.loads(image.stored.config).get("config") or {}
    return UnpackedImage(
        entries=tuple(found),
        mtimes={file.path: file.mtime * 1_000_000_000 for file in image.stored.files},
        config=image.stored.runtime_config(),
        onbuild=tuple(map(str, config.get("OnBuild") or ())),
    )


def _needed(entries: Iterable[Entry], paths: Collection[str]) -> set[str]:
    """The files at or below these paths, or where these and links below them lead."""
    tree = Tree(entries)
    roots = dict.fromkeys(paths)
    roots |= {reached.path: None for path in paths if (reached := tree.resolve(path)) is not None}
    for entry in entries:
        if isinstance(entry, Symlink) and _is_below(entry.path, roots):
            reached = tree.resolve(entry.path)
            if reached is not None:
                roots[reached.path] = None
    return {entry.path for entry in entries if isinstance(entry, File) and _is_below(entry.path, roots)}


def _is_below(path: str, roots: Collection[str]) -> bool:
    if "/" in roots or path in roots:
        return True
    while path := path.rpartition("/")[0]:
        if path in roots:
            return True
    return False
