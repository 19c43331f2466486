"""Where a loader looks for files: this host, another root directory on it (a sysroot), or the tree of an image."""

from __future__ import annotations

import bisect
import os
import stat
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from rootless_scratch.elf.ldcache import CACHE, CacheEntry, by_name, read_conf
from rootless_scratch.elf.program import ProgramFacts, read_program
from rootless_scratch.errors import ElfError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rootless_scratch.elf.facts import ElfFacts

_LINKS_LIMIT = 40
"""MAXSYMLINKS of the kernel: path_resolution(7)."""

_CONTENT_LIMIT = 64 << 20
_FILE: Final = object()
_DIRECTORY: Final = object()


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A symbolic link that was followed: its own path, and what it says."""

    path: str
    target: str


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """A regular file that a path leads to: its real path, and the links that were followed on the way."""

    real: str
    links: tuple[Link, ...] = ()


class Root(Protocol):
    """A file system as a loader inside it sees it; every path is absolute and begins at its root."""

    def locate(self, path: str) -> Located | None:
        """Find the regular file that `path` leads to, links followed inside this root; None if there is none."""

    def elf(self, real: str) -> ElfFacts | None:
        """Tell the facts of a located file; None where they are not known. Raises ElfError for no ELF file."""

    def content(self, path: str) -> bytes | None:
        """Read a small file such as ld.so.cache; None where it is not there or not known."""


class HostRoot:
    """A directory of this host, by default all of it; what was looked up once is not looked up again.

    `read` tells the facts of a file by its path on the host.
    """

    def __init__(self, sysroot: str = "/", *, read: Callable[[str], ProgramFacts] = read_program) -> None:
        self._read = read
        self._prefix = os.path.abspath(sysroot).rstrip("/")
        self._real_prefix = os.path.realpath(self._prefix or "/").rstrip("/")
        self._kinds: dict[str, object] = {}
        self._located: dict[str, Located | None] = {}
        self._programs: dict[str, ProgramFacts] = {}
        self._contents: dict[str, bytes | None] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._executables: dict[str, tuple[str, ...]] = {}
        self._inside: dict[str, str | None] = {}
        self._lists: tuple[Mapping[str, list[CacheEntry]], tuple[str, ...]] | None = None

    def locate(self, path: str) -> Located | None:
        """See `Root`."""
        if path not in self._located:
            self._located[path] = self._walk(path)
        return self._located[path]

    def elf(self, real: str) -> ElfFacts | None:
        """See `Root`; also raises SourceError where the file cannot be read."""
        facts = self.program(real)
        if facts.elf is None:
            raise ElfError(f"{real!r} is not an ELF file.", fix="Name or install the library itself.")
        return facts.elf

    def program(self, real: str) -> ProgramFacts:
        """Read a located file; raises SourceError, ElfError."""
        if real not in self._programs:
            self._programs[real] = self._read(self.on_host(real))
        return self._programs[real]

    def content(self, path: str) -> bytes | None:
        """See `Root`."""
        if path not in self._contents:
            self._contents[path] = self._content(path)
        return self._contents[path]

    def lists(self) -> tuple[Mapping[str, list[CacheEntry]], tuple[str, ...]]:
        """The entries of ld.so.cache by name; without a cache the directories that ldconfig(8) would read."""
        if self._lists is None:
            cache = self.content(CACHE)
            self._lists = by_name(cache), () if cache is not None else read_conf(self)
        return self._lists

    def listing(self, directory: str) -> tuple[str, ...]:
        """List the names in a directory, sorted; none where it cannot be read."""
        reached = self._walk(directory, to_directory=True)
        try:
            return tuple(sorted(os.listdir(self.on_host(reached.real)))) if reached else ()
        except OSError:
            return ()

    def names(self, directory: str, start: str) -> tuple[str, ...]:
        """Those of the names in a directory that begin with `start`; all of them are kept."""
        if directory not in self._names:
            self._names[directory] = self.listing(directory)
        names = self._names[directory]
        first = last = bisect.bisect_left(names, start)
        while last < len(names) and names[last].startswith(start):
            last += 1
        return names[first:last]

    def programs(self, directory: str) -> tuple[str, ...]:
        """The names in a directory of files that may be executed, and of all links; they are kept."""
        if directory not in self._executables:
            reached = self._walk(directory, to_directory=True)
            self._executables[directory] = _executables(self.on_host(reached.real)) if reached else ()
        return self._executables[directory]

    def directory(self, path: str) -> str | None:
        """The real path of a directory of this root; None if there is none."""
        reached = self._walk(path, to_directory=True)
        return reached.real if reached else None

    def followed(self, path: str) -> str | None:
        """The path with its directories followed, and its own name as it is; None where these do not exist."""
        above, _, name = path.rpartition("/")
        real = self.directory(above)
        return None if real is None else f"{real.rstrip('/')}/{name}"

    def on_host(self, real: str) -> str:
        """Where a real path of this root lies on the host."""
        return self._prefix + real

    def inside(self, host_path: str) -> str | None:
        """The path in this root of a file of the host; None where it lies outside."""
        if host_path not in self._inside:
            real = os.path.realpath(host_path)
            prefix = self._real_prefix
            self._inside[host_path] = real[len(prefix) :] if real.startswith(prefix + "/") else None
        return self._inside[host_path]

    def _content(self, path: str) -> bytes | None:
        located = self.locate(path)
        if located is None:
            return None
        try:
            with open(self.on_host(located.real), "rb") as file:
                return file.read(_CONTENT_LIMIT)
        except OSError:
            return None

    def _walk(self, path: str, *, to_directory: bool = False) -> Located | None:
        pending = path.split("/")[::-1]
        reached: list[str] = []
        links: list[Link] = []
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                del reached[-1:]
                continue
            reached.append(name)
            here = "/" + "/".join(reached)
            kind = self._kind(here)
            if isinstance(kind, str):
                links.append(Link(path=here, target=kind))
                if len(links) > _LINKS_LIMIT:
                    return None
                reached = [] if kind.startswith("/") else reached[:-1]
                pending += kind.split("/")[::-1]
            elif kind is None or (kind is _FILE and pending):
                return None
        real = "/" + "/".join(reached)
        wanted = _DIRECTORY if to_directory else _FILE
        return Located(real=real, links=tuple(links)) if self._kind(real) is wanted else None

    def _kind(self, path: str) -> object:
        """The text of a link, _DIRECTORY, _FILE, or None."""
        if path not in self._kinds:
            self._kinds[path] = _look(self.on_host(path))
        return self._kinds[path]


def _executables(directory: str) -> tuple[str, ...]:
    try:
        with os.scandir(directory) as listing:
            return tuple(
                each.name
                for each in listing
                if each.is_symlink()
                or (each.is_file(follow_symlinks=False) and each.stat(follow_symlinks=False).st_mode & 0o111)
            )
    except OSError:
        return ()


def _look(path: str) -> object:
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return os.readlink(path)
    except (OSError, ValueError):
        return None
    return _DIRECTORY if stat.S_ISDIR(mode) else _FILE if stat.S_ISREG(mode) else None
