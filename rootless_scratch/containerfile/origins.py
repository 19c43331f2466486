"""Where COPY and ADD take files from: a directory of the host, or the entries of a stage; nothing leaves its root.

Paths begin with a slash, as in an image; "" is the root itself. What a directory of the host holds is looked at
through descriptors of its directories that follow no link, so whoever swaps one meanwhile cannot lead out of it; a
file is known by its identity, which is compared when it is read.
"""

from __future__ import annotations

import errno
import os
import stat
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from rootless_scratch.containerfile.files import LINKS_LIMIT
from rootless_scratch.elf.identity import identity_of
from rootless_scratch.elf.program import unreadable
from rootless_scratch.errors import HostError, ScratchError, SourceError
from rootless_scratch.image.capabilities import XATTR, decode_capabilities, encode_capabilities
from rootless_scratch.image.paths import encoded
from rootless_scratch.image.plan.entries import absolute
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink, Xattrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from rootless_scratch.containerfile.ignoring import IgnoreFile

Attributes = Literal["none", "capabilities", "all"]
"""Which extended attributes are looked at: file capabilities alone, or those of users too."""

_BELOW = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_EXECUTE = 0o111
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Found(msgspec.Struct, frozen=True):
    """What an origin has at a path; `entry` has the path there, and is None for a pipe, a socket or a device.

    `mtime` is in nanoseconds, `lost` are file capabilities that no image can keep.
    """

    name: str
    entry: Entry | None
    mtime: int | None = None
    lost: str | None = None


class Origin(Protocol):
    """What files are copied from; `name` is what messages call it.

    The files of a stage (`is_stage`) keep owners, set-id bits and attributes; those of a context are root's, and
    `ignore` tells what of it does not count.
    """

    name: str
    is_stage: bool
    ignore: IgnoreFile | None

    def follow(self, path: str) -> str | None:
        """The real path that a path leads to, all links followed inside; None where there is nothing."""

    def is_directory(self, path: str) -> bool:
        """Whether a directory lies at a real path; raises SourceError, HostError."""

    def find(self, path: str, attributes: Attributes = "none") -> Found | None:
        """What lies at a real path, which is not followed; raises SourceError, HostError."""

    def listing(
        self, path: str, wanted: Callable[[str, bool], bool] | None = None, attributes: Attributes = "none"
    ) -> list[Found]:
        """What a real directory holds, by name; what is not `wanted` (name, is a directory) is not looked at.

        Raises SourceError, HostError, also where it is no directory any more.
        """


class _Rooted(ABC):
    """Links are followed as in chroot(2)."""

    @abstractmethod
    def _peek(self, path: str) -> tuple[bool, str | None] | None:
        """Whether a real path is a directory, and where it leads to as a link; None where there is nothing."""

    def is_directory(self, path: str) -> bool:
        """See Origin."""
        found = self._peek(path) if path else (True, None)
        return found is not None and found[0]

    def follow(self, path: str) -> str | None:
        """See Origin."""
        pending = path.split("/")[::-1]
        real = ""
        is_directory = True
        followed = 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if not is_directory:
                return None
            if name == "..":
                real = real.rpartition("/")[0]
                continue
            found = self._peek(f"{real}/{name}")
            if found is None:
                return None
            is_directory, target = found
            if target is None:
                real = f"{real}/{name}"
                continue
            followed += 1
            if followed > LINKS_LIMIT:
                return None
            is_directory = True
            pending += target.split("/")[::-1]
            if target.startswith("/"):
                real = ""
        return real


class HostOrigin(_Rooted):
    """A directory of this host: the context of a build or, with `is_stage`, the mounted root of a stage.

    It holds a descriptor of the directory until the block ends. Raises SourceError where it is none.
    """

    def __init__(
        self, directory: str, *, name: str, is_stage: bool = False, ignore: IgnoreFile | None = None
    ) -> None:
        self.name = name
        self.is_stage = is_stage
        self.ignore = ignore
        self._directory = absolute(directory).rstrip("/")
        try:
            self._root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOTDIR:
                raise SourceError(
                    f"{directory!r} is not a directory.", fix=f"Name the directory that is {name}."
                ) from error
            raise unreadable(directory, error) from error
        # The directory that was entered last: files of one directory come one after the other.
        self._entered: dict[str, int] = {"": self._root}
        self._close = weakref.finalize(self, _close_all, self._entered)
        self._close.atexit = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._close()

    def _peek(self, path: str) -> tuple[bool, str | None] | None:
        above, _, name = path.rpartition("/")
        try:
            descriptor = self._enter(above)
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            target = os.readlink(name, dir_fd=descriptor) if stat.S_ISLNK(mode) else None
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _GONE:
                return None
            raise unreadable(self._directory + path, error) from error
        return stat.S_ISDIR(mode), target

    def find(self, path: str, attributes: Attributes = "none") -> Found | None:
        """See Origin."""
        above, _, name = path.rpartition("/")
        try:
            return self._found(self._enter(above), name or ".", path, attributes)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _GONE:
                return None
            raise self._blocked(path, error) from error

    def listing(
        self, path: str, wanted: Callable[[str, bool], bool] | None = None, attributes: Attributes = "none"
    ) -> list[Found]:
        """See Origin."""
        step = path
        try:
            descriptor = os.open(".", _LIST, dir_fd=self._enter(path))
            try:
                with os.scandir(descriptor) as scanned:
                    names = [
                        item.name
                        for item in scanned
                        if wanted is None or wanted(item.name, item.is_dir(follow_symlinks=False))
                    ]
                names.sort(key=os.fsencode)
                found = []
                for name in names:
                    step = f"{path}/{name}"
                    found.append(self._found(descriptor, name, step, attributes))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._blocked(step, error) from error
        return found

    def _enter(self, path: str) -> int:
        """A descriptor of a real directory; raises OSError where any part of the path is no directory."""
        known = self._entered.get(path)
        if known is not None:
            return known
        start = max((each for each in self._entered if path.startswith(f"{each}/")), key=len)
        descriptor = self._entered[start]
        for name in path[len(start) + 1 :].split("/"):
            above = descriptor
            try:
                descriptor = os.open(name, _BELOW, dir_fd=above)
            finally:
                if above not in self._entered.values():
                    os.close(above)
        for each in [each for each in self._entered if each]:
            os.close(self._entered.pop(each))
        self._entered[path] = descriptor
        return descriptor

    def _found(self, descriptor: int, name: str, path: str, attributes: Attributes) -> Found:
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        uid, gid = (status.st_uid, status.st_gid) if self.is_stage else (0, 0)
        mode = stat.S_IMODE(status.st_mode)
        mtime = status.st_mtime_ns
        xattrs: Xattrs = ()
        if stat.S_ISREG(status.st_mode):
            if not os.access(name, os.R_OK, dir_fd=descriptor, effective_ids=True):
                # Nothing of it is wanted before it is copied, so it is opened only then.
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            capabilities: str | None = None
            lost: str | None = None
            if attributes == "all" or (attributes == "capabilities" and mode & _EXECUTE):
                capabilities, lost, xattrs = _attributes(f"/proc/self/fd/{descriptor}/{name}", attributes)
            file = File(
                path=path,
                mode=mode,
                uid=uid,
                gid=gid,
                source=self._directory + path,
                identity=identity_of(status),
                capabilities=capabilities,
                xattrs=xattrs,
            )
            return Found(name, file, mtime, lost)
        if stat.S_ISDIR(status.st_mode):
            if attributes == "all":
                xattrs = _attributes(f"/proc/self/fd/{descriptor}/{name}", attributes)[2]
            return Found(name, Directory(path=path, mode=mode, uid=uid, gid=gid, xattrs=xattrs), mtime)
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(name, dir_fd=descriptor)
            return Found(name, Symlink(path=path, target=target, uid=uid, gid=gid), mtime)
        return Found(name, None, mtime)

    def _blocked(self, path: str, error: OSError | ValueError) -> SourceError | HostError:
        where = self._directory + path
        if isinstance(error, OSError) and error.errno in _GONE:
            return SourceError(
                f"{where!r} changed while it was read.", fix="Wait until whatever writes it is done."
            )
        found = unreadable(where, error)
        if isinstance(found, HostError) or self.is_stage:
            return found
        return SourceError(
            found.message, fix=f"{found.fix.rstrip('.')}, or leave it out by a line in `.dockerignore`."
        )


class EntriesOrigin(_Rooted):
    """The entries of a stage that was evaluated, or of an image that was unpacked; `mtimes` are of StageFiles."""

    def __init__(self, entries: Iterable[Entry], *, name: str, mtimes: Mapping[str, int] | None = None) -> None:
        self.name = name
        self.is_stage = True
        self.ignore: IgnoreFile | None = None
        self._mtimes = mtimes or {}
        self._entries: dict[str, Entry] = {"": Directory(path="", mode=0o755, uid=0, gid=0)}
        self._names: dict[str, list[str]] = {}
        for entry in entries:
            known = entry.path in self._entries
            self._entries[entry.path] = entry
            if not known:
                self._add_name(entry.path)

    def _add_name(self, path: str) -> None:
        above, _, name = path.rpartition("/")
        self._names.setdefault(above, []).append(name)
        if above not in self._entries:
            self._entries[above] = Directory(path=above, mode=0o755, uid=0, gid=0)
            self._add_name(above)

    def _peek(self, path: str) -> tuple[bool, str | None] | None:
        entry = self._entries.get(path)
        if entry is None:
            return None
        return isinstance(entry, Directory), entry.target if isinstance(entry, Symlink) else None

    def find(self, path: str, attributes: Attributes = "none") -> Found | None:  # noqa: ARG002 - all are known
        """See Origin."""
        entry = self._entries.get(path)
        return None if entry is None else Found(path.rpartition("/")[2], entry, self._mtimes.get(path))

    def listing(
        self,
        path: str,
        wanted: Callable[[str, bool], bool] | None = None,
        attributes: Attributes = "none",  # noqa: ARG002 - all are known
    ) -> list[Found]:
        """See Origin."""
        found = []
        for name in sorted(self._names.get(path, ()), key=encoded):
            below = f"{path}/{name}"
            entry = self._entries[below]
            if wanted is None or wanted(name, isinstance(entry, Directory)):
                found.append(Found(name, entry, self._mtimes.get(below)))
        return found


def _attributes(path: str, attributes: Attributes) -> tuple[str | None, str | None, Xattrs]:
    """The capabilities of a file, those that no image can keep, and its attributes of users."""
    names = (XATTR,) if attributes == "capabilities" else _names(path)
    capabilities, lost, xattrs = None, None, []
    for name in names:
        if name != XATTR and not (name.startswith("user.") and "=" not in name):
            continue
        try:
            value = os.getxattr(path, name, follow_symlinks=False)
        except OSError:
            continue
        if name != XATTR:
            xattrs.append((name, value))
        elif _is_kept(text := decode_capabilities(value) or value.hex(), value):
            capabilities = text
        else:
            lost = text
    return capabilities, lost, tuple(xattrs)


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listxattr(path, follow_symlinks=False))
    except OSError:
        return []


def _is_kept(text: str, value: bytes) -> bool:
    try:
        return encode_capabilities(text) == value
    except ScratchError:
        return False


def _close_all(entered: dict[str, int]) -> None:
    while entered:
        os.close(entered.popitem()[1])
