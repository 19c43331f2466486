"""The files of an image that a stage begins with or copies from: all of them listed, the needed ones unpacked."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from rootless_scratch.backends.layouts import LayoutImage
from rootless_scratch.data import Value
from rootless_scratch.elf.identity import identity_of
from rootless_scratch.elf.program import read_program
from rootless_scratch.errors import ScratchError, SourceError
from rootless_scratch.image.host_files import host_trouble
from rootless_scratch.image.read.reader import ImageReader
from rootless_scratch.image.rootfs import File, Symlink
from rootless_scratch.image.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.image.config import RuntimeConfig
    from rootless_scratch.image.references import Reference
    from rootless_scratch.image.rootfs import Entry, Xattrs

_SETTINGS = ("/etc/ld.so.", "/etc/ld-musl-")
"""Of glibc's loader and of musl's: ld.so(8)."""


class UnpackedImage(Value):
    """Entries of an image, their times in nanoseconds, its config, and what runs in its builds (ONBUILD).

    Files that were not needed have a source that is not there. `root` is a directory with the loaders and the
    libraries of the image, and the programs that need them, at their paths; None where there is no such program,
    or none are wanted.
    """

    entries: tuple[Entry, ...]
    mtimes: Mapping[str, int]
    config: RuntimeConfig
    onbuild: tuple[str, ...]
    root: str | None = None


def unpack_image(
    reference: Reference,
    paths: Collection[str],
    directory: str,
    *,
    platform: Platform | None = None,
    libraries: bool = False,
    limits: Mapping[str, int] | None = None,
) -> UnpackedImage:
    """Read an image, and write the regular files at or below `paths` of it to a private directory.

    What links there lead to comes along, and with `libraries` what programs among all this may load.
    Raises ImageNotFoundError, SourceError, LimitError, HostError.
    """
    with ImageReader(reference, limits) as reader:
        image = LayoutImage(reader, platform)
        entries = image.stored.rootfs().entries
        needed = _needed(entries, paths)
        copies = image.copy_out((each.path for each in entries if each.path in needed), directory)
        root = None
        if libraries and (linked := _linked(copies)):
            also = [each.path for each in entries if _may_be_loaded(each, linked) and each.path not in copies]
            root = os.path.join(directory, "root")
            copies = lay_out(entries, {**copies, **image.copy_out(also, directory)}, root)
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
        root=root,
    )


def lay_out(
    entries: Iterable[Entry], copies: Mapping[str, tuple[str, Xattrs]], root: str
) -> dict[str, tuple[str, Xattrs]]:
    """Put copies to their paths below a new directory, beside all links of the image; where each one is then.

    Links come last, and only where nothing is: no file is written through one.
    """
    links = [entry for entry in entries if isinstance(entry, Symlink)]
    found = {}
    path = ""
    try:
        os.mkdir(root, 0o700)
        for path in (*copies, *(link.path for link in links)):
            os.makedirs(os.path.dirname(root + path), exist_ok=True)
        for path, (copy, xattrs) in copies.items():
            os.link(copy, root + path)
            found[path] = (root + path, xattrs)
    except OSError as error:
        raise host_trouble(error, root) or SourceError(
            f"{path!r} of the image cannot be unpacked: {error.strerror}.",
            fix="Copy the program by a stage with RUN, which buildah builds, or leave --bundle-libraries out.",
        ) from error
    for link in links:
        with suppress(OSError):
            os.symlink(link.target, root + link.path)
    return found


def _linked(copies: Mapping[str, tuple[str, Xattrs]]) -> set[str]:
    """The names of what programs among the copies load, their loaders' among them; none without a loader."""
    names: set[str] = set()
    is_started = False
    for copy, _ in copies.values():
        try:
            elf = read_program(copy).elf
        except ScratchError:
            continue
        if elf is not None:
            names.update(os.path.basename(each) for each in (*elf.needed, elf.interpreter or ""))
            is_started = is_started or elf.interpreter is not None
    return names if is_started else set()


def _may_be_loaded(entry: Entry, names: Collection[str]) -> bool:
    """Whether a loader may ask for a file: a library, a loader, or a setting of one."""
    if not isinstance(entry, File):
        return False
    name = os.path.basename(entry.path)
    return ".so" in name or name in names or entry.path.startswith(_SETTINGS)


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
