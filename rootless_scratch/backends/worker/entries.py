"""Writing a plan's entries into a mounted root file system."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from rootless_scratch.backends.caller import Failed, check_caller, tell
from rootless_scratch.backends.jobs import JobEntry, Written
from rootless_scratch.sparse import copy_sparse, write_all

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


CHUNK = 16 * 1024 * 1024
FICLONE = 0x40049409
"""ioctl_ficlone(2); the fcntl module does not name it."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SECOND = 1_000_000_000
_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_ids(entries: Sequence[JobEntry]) -> None:
    """Refuse owners that this namespace cannot give away, before anything is written (user_namespaces(7))."""
    for kind in ("uid", "gid"):
        with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
            lines = [line.split() for line in file]
        ranges = [(int(first), int(count)) for first, _, count in lines]
        wanted = {(getattr(entry, kind), entry.path) for entry in entries}
        for number, path in sorted(wanted, reverse=True):
            if not any(first <= number < first + count for first, count in ranges):
                known = sum(count for _, count in ranges)
                raise Failed(
                    "host",
                    f"{path!r} is to be owned by {kind} {number}, and this user namespace has {known} {kind}s.",
                    "Give your user a range: `sudo usermod --add-subuids 100000-165535 --add-subgids "
                    "100000-165535 $USER && podman system migrate`, or use an owner within the range.",
                )


class Writer:
    """Writes entries below a root, one directory descriptor at a time and never through a link.

    The entries come in the order of a Rootfs: a directory before what it holds. `opened` are sources that the
    caller has opened, by the numbers in the entries. `written` counts bytes.
    """

    def __init__(self, root: str, mtime: int, opened: Mapping[int, int]) -> None:
        self.written = 0
        self._opened = opened
        self._shown = 0
        self._times = (mtime * _SECOND, mtime * _SECOND)
        self._stack = [("", os.open(root, _DIRECTORY), self._times)]

    def write(self, entries: Sequence[JobEntry]) -> None:
        """Write all of them. Raises Failed, Cancelled, OSError."""
        try:
            os.fchmod(self._stack[0][1], 0o755)
            for entry in entries:
                above, _, name = entry.path.rpartition("/")
                while self._stack[-1][0] != above:
                    self._leave()
                self._write(entry, name, self._stack[-1][1])
        finally:
            while self._stack:
                self._leave()

    def _leave(self) -> None:
        """Leave a directory; its time is set last, for each entry written into it changed that."""
        _, descriptor, times = self._stack.pop()
        try:
            os.utime(descriptor, ns=times)
        finally:
            os.close(descriptor)

    def _write(self, entry: JobEntry, name: str, parent: int) -> None:
        if entry.type == "directory":
            os.mkdir(name, 0o700, dir_fd=parent)
            self._stack.append((entry.path, os.open(name, _DIRECTORY, dir_fd=parent), self._times_of(entry)))
            os.fchown(self._stack[-1][1], entry.uid, entry.gid)
            os.fchmod(self._stack[-1][1], entry.mode)
            _set_xattrs(self._stack[-1][1], entry)
        elif entry.type == "symlink":
            os.symlink(entry.target, name, dir_fd=parent)
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
            os.utime(name, ns=self._times_of(entry), dir_fd=parent, follow_symlinks=False)
        elif entry.type == "hardlink":
            self._link(entry.target, name, parent)
        else:
            self._copy(entry, name, parent)
            check_caller()

    def _link(self, target: str, name: str, parent: int) -> None:
        """Make a hard link to a file that was written before; owner, mode and times are the file's."""
        above, _, last = target.rpartition("/")
        with _directory(self._stack[0][1], above) as descriptor:
            os.link(last, name, src_dir_fd=descriptor, dst_dir_fd=parent, follow_symlinks=False)

    def _copy(self, entry: JobEntry, name: str, parent: int) -> None:
        """Copy the bytes of the source, which must be the very file that was planned, before and after.

        What has its content in the job need not be read.
        """
        source, identity = entry.source, entry.identity
        if source is None or entry.content is not None:
            if source is not None:
                _check_identity(_status_of(source), source, identity)
            self._create(entry, name, parent, None)
            return
        opened = None if entry.descriptor is None else self._opened.get(entry.descriptor)
        reading, status = _open_source(source, opened)
        try:
            _check_identity(status, source, identity)
            self._create(entry, name, parent, reading)
            _check_identity(os.fstat(reading), source, identity)
        finally:
            if opened is None:
                os.close(reading)

    def _create(self, entry: JobEntry, name: str, parent: int, reading: int | None) -> None:
        """Make the file, with the bytes of the descriptor `reading`, else with its own content."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        writing = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            if reading is None:
                self.written += write_all(writing, entry.content or b"")
            else:
                self._copy_bytes(reading, writing, entry.identity[2])
            self._finish(writing, entry)
        except OSError as error:
            if error.errno in _FULL:
                free = os.fstatvfs(writing)
                raise _no_space(entry.path, entry.identity[2], free.f_bavail * free.f_frsize) from error
            raise
        finally:
            os.close(writing)

    def _finish(self, descriptor: int, entry: JobEntry) -> None:
        """Owner before mode and capabilities: chown(2) clears set-id bits and capabilities."""
        os.fchown(descriptor, entry.uid, entry.gid)
        os.fchmod(descriptor, entry.mode)
        if entry.capabilities:
            os.setxattr(descriptor, "security.capability", bytes.fromhex(entry.capabilities))
        _set_xattrs(descriptor, entry)
        os.utime(descriptor, ns=self._times_of(entry))

    def _times_of(self, entry: JobEntry) -> tuple[int, int]:
        """Access and change of content, in nanoseconds."""
        return self._times if entry.mtime is None else (entry.mtime * _SECOND, entry.mtime * _SECOND)

    def _copy_bytes(self, reading: int, writing: int, size: int) -> None:
        """Share the blocks where the file system can, else copy them, but for the holes."""
        try:
            fcntl.ioctl(writing, FICLONE, reading)
        except OSError:
            pass
        else:
            self.written += size
            return
        for count in copy_sparse(reading, writing, size, chunk=CHUNK):
            self.written += count
            check_caller()
            if self.written - self._shown >= CHUNK:
                self._shown = self.written
                tell(Written(self.written))


class _directory:  # noqa: N801 - a context manager; contextlib costs 1 ms to import
    """A descriptor of a directory below a root, to which no link leads."""

    def __init__(self, root: int, path: str) -> None:
        self._descriptor = os.open(".", _DIRECTORY, dir_fd=root)
        for name in path.split("/")[1:]:
            above = self._descriptor
            try:
                self._descriptor = os.open(name, _DIRECTORY, dir_fd=above)
            finally:
                os.close(above)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *raised: object) -> None:
        os.close(self._descriptor)


def _set_xattrs(descriptor: int, entry: JobEntry) -> None:
    for name, value in entry.xattrs:
        try:
            os.setxattr(descriptor, name, value)
        except OSError as error:
            raise Failed(
                "build",
                f"The image storage does not take the attribute {name!r} of {entry.path!r}: {error.strerror}.",
                "Write the image to a file, e.g. `-o oci-archive:image.tar`, or leave `xattrs=keep` out.",
            ) from error


def _open_source(source: str, opened: int | None) -> tuple[int, os.stat_result]:
    """A descriptor of a file of the host, unless it is there already, and what its path leads to now."""
    if opened is not None:
        return opened, _status_of(source)
    try:
        reading = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(source, error) from error
    return reading, os.fstat(reading)


def _status_of(source: str) -> os.stat_result:
    try:
        return os.stat(source)
    except OSError as error:
        raise _unreadable(source, error) from error


def _unreadable(source: str, error: OSError) -> Failed:
    return Failed(
        "source",
        f"{source!r} can no longer be read: {error.strerror}.",
        "Do not change the file during the build.",
    )


def _check_identity(status: os.stat_result, source: str, identity: Sequence[int]) -> None:
    """A source that changes while it is read is an error, not a different image."""
    now = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if now != tuple(identity) or not stat.S_ISREG(status.st_mode):
        raise Failed(
            "source",
            f"{source!r} changed while the image was built.",
            "Build again when nothing writes to it any more.",
        )


def _no_space(path: str, size: int, free: int) -> Failed:
    """The disk is full while an entry is written."""
    return Failed(
        "build",
        f"No space left in the image storage for {path!r} ({size} bytes, {free} bytes are free).",
        "Free some space (`podman system df`, `podman image prune`), or put the storage on a larger disk "
        "(`graphroot` in storage.conf).",
    )


def refusal(error: OSError) -> Failed:
    """What an unexpected OSError means to the user."""
    where = f" ({error.filename!r})" if error.filename else ""
    cause = f"The image's files cannot be written{where}: {error.strerror}."
    fix = "See what `rootless-scratch doctor` says about the storage."
    if error.errno in _FULL:
        cause = f"No space left on the disk{where}."
        fix = (
            "Free some space in the image storage and in TMPDIR (default /var/tmp), or move them to a larger disk."
        )
    return Failed("build", cause, fix)
