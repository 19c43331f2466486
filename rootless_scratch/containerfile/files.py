"""The files of a stage under construction: what a later instruction writes goes over what an earlier one wrote."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from rootless_scratch.elf.identity import identity_of
from rootless_scratch.elf.program import unreadable
from rootless_scratch.errors import SpecError
from rootless_scratch.image.host_files import changed, open_descriptor
from rootless_scratch.image.paths import encoded
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink

if TYPE_CHECKING:
    from collections.abc import Iterable

LINKS_LIMIT = 40
"""MAXSYMLINKS of the kernel: path_resolution(7)."""

_CONTENT_LIMIT = 8 << 20


class StageFiles:
    """Entries by path; links of the image are followed inside the image, never out of it.

    Paths are those of entries, and "" is the root. `base` are what the stage begins with. `written` are the paths
    that were written since it was last emptied, `mtimes` the times of what was copied, in nanoseconds.
    """

    def __init__(self, base: Iterable[Entry] = ()) -> None:
        self.written: dict[str, None] = {}
        self.mtimes: dict[str, int] = {}
        self._entries: dict[str, Entry] = {entry.path: entry for entry in base}
        for path in tuple(self._entries):
            self._add_parents(path)
        self.written.clear()

    def resolve(self, path: str, *, root: str = "", links: bool = True) -> str:
        """The real path that an absolute path leads to, all links followed; it need not exist.

        It stays below `root`, which is the root for links too. Without `links` none is followed. Raises SpecError
        where they lead in a circle.
        """
        pending = path.split("/")[::-1]
        real = root
        followed = 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                real = real.rpartition("/")[0] if real != root else root
                continue
            step = f"{real}/{name}"
            entry = self._entries.get(step) if links else None
            if not isinstance(entry, Symlink):
                real = step
                continue
            followed += 1
            if followed > LINKS_LIMIT:
                raise SpecError(
                    f"The links of the image lead from {path!r} in a circle.",
                    fix="Name the real path, or leave one of the links out.",
                )
            pending += entry.target.split("/")[::-1]
            if entry.target.startswith("/"):
                real = root
        return real

    def at(self, path: str) -> Entry | None:
        """What lies at a real path; a link is not followed."""
        return _ROOT if not path else self._entries.get(path)

    def entry(self, path: str) -> Entry | None:
        """What lies at a path, all links followed; None where nothing does."""
        return self.at(self.resolve(path))

    def content(self, path: str) -> bytes | None:
        """The bytes of a small file such as /etc/passwd; None where there is none. Raises SourceError."""
        file = self.entry(path)
        if not isinstance(file, File):
            return None
        with open_entry(file) as opened:
            return opened.read(_CONTENT_LIMIT)

    def mkdir(
        self, path: str, uid: int = 0, gid: int = 0, mode: int = 0o755, *, root: str = "", links: bool = True
    ) -> str:
        """Make a directory and those above it that are missing, as WORKDIR does; its real path.

        What is there stays as it is. Without `links` a link that is in the way gives place to a directory. Raises
        SpecError where a file is in the way.
        """
        real = self.resolve(path, root=root, links=links)
        missing = []
        step = real
        while step and not isinstance(found := self._entries.get(step), Directory):
            if isinstance(found, File) or (found is not None and links):
                raise SpecError(
                    f"{step!r} is a file in the image, so {path!r} cannot be a directory.",
                    fix="Write to another path, or leave the file out.",
                )
            missing.append(step)
            step = step.rpartition("/")[0]
        for step in reversed(missing):
            self.put(Directory(path=step, mode=mode, uid=uid, gid=gid))
        return real

    def put(self, entry: Entry, mtime: int | None = None) -> None:
        """Write an entry at its own real path, whose parents are there, over whatever is there.

        A directory over a directory only changes what it is itself; else what was below is gone.
        """
        path = entry.path
        before = self._entries.get(path)
        if isinstance(before, Directory) and not isinstance(entry, Directory):
            self._remove_below(path)
        above = path.rpartition("/")[0]
        if above not in self.written and not (isinstance(before, Directory) and isinstance(entry, Directory)):
            self.mtimes.pop(above, None)  # the build has changed it
        self._entries[path] = entry
        self.written[path] = None
        if mtime is None:
            self.mtimes.pop(path, None)
        else:
            # No tar has a time before 1970 that all readers take.
            self.mtimes[path] = max(mtime, 0)

    def entries(self) -> tuple[Entry, ...]:
        """All entries, sorted as `make_rootfs` sorts them, parents included."""
        return tuple(sorted(self._entries.values(), key=lambda entry: encoded(entry.path).split(b"/")))

    def _add_parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        while parent and parent not in self._entries:
            self._entries[parent] = Directory(path=parent, mode=0o755, uid=0, gid=0)
            parent = parent.rpartition("/")[0]

    def _remove_below(self, path: str) -> None:
        above = f"{path}/"
        for each in [each for each in self._entries if each.startswith(above)]:
            del self._entries[each]
            self.mtimes.pop(each, None)
            self.written.pop(each, None)


_ROOT = Directory(path="", mode=0o755, uid=0, gid=0)


def open_entry(file: File) -> BinaryIO:
    """The bytes of a file of a stage, which must still be the one that was looked at; raises SourceError."""
    if file.source is None:
        from io import BytesIO

        return BytesIO(file.content or b"")
    try:
        descriptor, status = open_descriptor(file.source)
    except OSError as error:
        raise unreadable(file.source, error) from error
    if identity_of(status) != file.identity:
        os.close(descriptor)
        raise changed(file)
    return open(descriptor, "rb")
