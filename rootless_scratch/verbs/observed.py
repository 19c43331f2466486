"""What files of this host are at a moment, to tell later whether any has changed, and where that is noticed."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from rootless_scratch.data import Value
from rootless_scratch.image.exclusions import Exclusions
from rootless_scratch.image.host_files import open_descriptor, take_lease
from rootless_scratch.image.write.temporary import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Stamp = tuple[object, ...]

MISSING: Stamp = ()
"""The stamp of what is not there, or cannot be looked at."""

_LINKS_LIMIT = 40
"""MAXSYMLINKS of the kernel: path_resolution(7)."""


class Tree(Value):
    """A directory, or what is `below` it, with all that it holds and that no pattern leaves out.

    Patterns begin at the directory.
    """

    path: str
    patterns: tuple[str, ...] = ()
    below: str = ""


class Observed(Value):
    """Files by their absolute paths, and trees; what is at or below `own` paths is written by ourselves."""

    files: frozenset[str]
    trees: tuple[Tree, ...] = ()
    own: frozenset[str] = frozenset()

    def stamps(self) -> dict[str, Stamp]:
        """What each of them is now, directories of trees included: these by the names in them.

        Two stamps of a path that are equal are those of the same bytes, but for what stat(2) does not tell.
        """
        found = {path: stamp_of(path) for path in self.files}
        for tree in self.trees:
            found.update(self._listed(tree))
        return found

    def spots(self, stamps: Mapping[str, Stamp]) -> Spots:
        """Where changes of what has these stamps are to be seen."""
        directories: set[str] = set()
        paths: set[str] = set()
        for path in (*self.files, *(os.path.join(tree.path, tree.below) for tree in self.trees)):
            for directory, name in _way(path):
                directories.add(directory)
                paths.add(os.path.join(directory, name))
        # Names may come and go in these; a real path, for that is how changes are told.
        whole = {
            os.path.realpath(path)
            for path, stamp in stamps.items()
            if path not in self.files and stamp and isinstance(stamp[0], str)
        }
        return Spots(directories=frozenset(directories | whole), paths=frozenset(paths), whole=frozenset(whole))

    def _listed(self, tree: Tree) -> Iterator[tuple[str, Stamp]]:
        exclusions = Exclusions(tree.patterns)
        top = os.path.join(tree.path, tree.below) if tree.below else tree.path
        pending = [(top, tree.below, exclusions.met_on_the_way(tree.below))]
        while pending:
            directory, below, above = pending.pop()
            names = []
            try:
                with os.scandir(directory) as listing:
                    items = sorted(listing, key=lambda item: os.fsencode(item.name))
                mode = stat.S_IMODE(os.stat(directory).st_mode)
            except OSError:
                # A tree that is one file, or is gone.
                yield directory, stamp_of(directory)
                continue
            for item in items:
                path = f"{below}/{item.name}" if below else item.name
                met = exclusions.met(path, above)
                is_directory = item.is_dir(follow_symlinks=False)
                out = exclusions.excludes(met)
                if (out and not (is_directory and exclusions.may_return(path, met))) or self._is_own(item):
                    continue
                names.append(item.name)
                if is_directory:
                    pending.append((item.path, path, met))
                elif not out:
                    yield item.path, stamp_of(item.path, follow=False)
            yield directory, ("directory", mode, tuple(names))

    def _is_own(self, item: os.DirEntry[str]) -> bool:
        return item.path in self.own or item.name.startswith(PREFIX)


class Spots(Value):
    """Directories in which files come, go and change, and the `paths` that count in them.

    In those that are `whole` every name counts.
    """

    directories: frozenset[str]
    paths: frozenset[str]
    whole: frozenset[str]

    def concern(self, path: str) -> bool:
        """Whether a change of this path may be one that counts; a name that is not UTF-8 always may."""
        return path in self.paths or os.path.dirname(path) in self.whole or "\ufffd" in path


def stamp_of(path: str, *, follow: bool = True) -> Stamp:
    """What a path leads to is now; a link stands for itself without `follow`."""
    try:
        status = os.stat(path, follow_symlinks=follow)
    except (OSError, ValueError):
        return MISSING
    return (
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def changes(before: Mapping[str, Stamp], now: Mapping[str, Stamp]) -> tuple[str, ...]:
    """The paths that have come, gone or changed, sorted."""
    return tuple(sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path)))


def is_being_written(paths: Iterable[str]) -> bool:
    """Whether anybody has one of these open for writing, as far as the kernel tells."""
    return any(map(_is_open_for_writing, paths))


def _is_open_for_writing(path: str) -> bool:
    with suppress(OSError):
        descriptor, _ = open_descriptor(path)
        try:
            take_lease(descriptor)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def _way(path: str) -> Iterator[tuple[str, str]]:
    """Each directory on the way to what a path leads to, with the name that is looked up in it."""
    pending = path.split("/")[::-1]
    real = ""
    links = 0
    while pending:
        name = pending.pop()
        if name in ("", ".", ".."):
            real = real.rpartition("/")[0] if name == ".." else real
            continue
        yield real or "/", name
        try:
            target = os.readlink(f"{real}/{name}")
        except OSError:
            real = f"{real}/{name}"
            continue
        links += 1
        if links > _LINKS_LIMIT:
            return
        pending += target.split("/")[::-1]
        real = "" if target.startswith("/") else real
