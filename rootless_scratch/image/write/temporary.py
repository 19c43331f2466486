"""Files that get their name when they are whole: written without one, synced, and then linked to it.

Where the file system has no files without a name (O_TMPFILE of open(2)), a killed writer leaves a file behind
whose name holds its own inode number. The next writer in that directory removes it by that sign, and nothing else.
"""

from __future__ import annotations

import errno
import fcntl
import os

from rootless_scratch import locks
from rootless_scratch.expressions import expression
from rootless_scratch.sparse import write_all

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from typing import Literal, Self, TypeAlias

    Sync: TypeAlias = Literal["all", "file", "nothing"]

PREFIX = ".rootless-scratch-"
_OURS = expression(r"\.rootless-scratch-([0-9a-f]+)-[0-9a-f]{16}\Z")
_NAMELESS_UNKNOWN = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.ENOTDIR)
"""What open(2) says where kernel or file system know no O_TMPFILE; a directory that is missing says so again."""


class Temporary:
    """A new file of this writer's in `directory`, open for reading and writing as `descriptor`.

    It is gone at the end of a `with` block unless it was given a name. Raises OSError.
    """

    def __init__(self, directory: str) -> None:
        sweep(directory)
        self._directory = directory
        self._name: str | None = None
        self._done = False
        self.descriptor = _open_nameless(directory)
        if self.descriptor < 0:
            self.descriptor, self._name = _open_named(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        try:
            if self._name is not None:
                os.unlink(os.path.join(self._directory, self._name))
        except FileNotFoundError:
            pass
        finally:
            os.close(self.descriptor)

    def write(self, content: bytes) -> None:
        """Append all of it."""
        write_all(self.descriptor, content)

    def is_in(self, directory: str) -> bool:
        """Whether it lies in this directory and has no name yet."""
        return not self._done and self._directory == directory

    def show(self) -> str:
        """A name in its directory by which others can open it, as long as the block lasts. Raises OSError."""
        if self._name is None:
            own = _own_name(self.descriptor)
            self._link(self._directory, own)
            self._name = own
        return self._name

    def rename(self, path: str, *, sync: Sync = "all") -> None:
        """Give it its name, on disk before the name is; what had the name before is replaced.

        With `file` the name itself is on disk only after `sync_directory`, with `nothing` it is left to the kernel
        when all of it is. Raises OSError, also where another user has put a file of theirs in its place.
        """
        if sync != "nothing":
            os.fsync(self.descriptor)
        above, name = os.path.split(path)
        if self._name is None and not os.path.lexists(path):
            try:
                self._link(above, name)
            except FileExistsError:
                pass
            else:
                self._done = True
        if not self._done:
            os.rename(os.path.join(self._directory, self.show()), path)
            self._name = None
            self._done = True
        # Another writer of ours may have replaced it already; who else may write here could have exchanged it.
        if os.lstat(path).st_uid != os.fstat(self.descriptor).st_uid:
            raise PermissionError(errno.EPERM, "another user has exchanged the file", path)
        if sync == "all":
            sync_directory(above)

    def _link(self, directory: str, name: str) -> None:
        """Give the file a name that nobody has: linkat(2) by its descriptor, whatever lies where."""
        above = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.link(f"/proc/self/fd/{self.descriptor}", name, dst_dir_fd=above, follow_symlinks=True)
        finally:
            os.close(above)


def sync_directory(path: str) -> None:
    """Have the names in a directory on disk; one that may not be read is left to the kernel."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(directory: str) -> None:
    """Remove what killed writers have left in `directory`; of live ones the lock is held.

    A file is theirs if its name holds its own inode number, it is this user's, and has no other name.
    """
    for path, descriptor in locks.left_over(directory, _OURS.match, os.O_RDONLY):
        sign, status = _OURS.match(os.path.basename(path)), os.fstat(descriptor)
        try:
            if sign is not None and status.st_nlink == 1 and status.st_ino == int(sign[1], 16):
                os.unlink(path)
        except OSError:
            continue


def _own_name(descriptor: int) -> str:
    return f"{PREFIX}{os.fstat(descriptor).st_ino:x}-{os.urandom(8).hex()}"


def _open_nameless(directory: str) -> int:
    """A locked file without a name, or -1 where it could not be had or not be named later."""
    try:
        descriptor = os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in _NAMELESS_UNKNOWN:
            return -1
        raise
    if not os.path.exists(f"/proc/self/fd/{descriptor}"):
        os.close(descriptor)
        return -1
    # flock(2), not a process id, proves life: writers may share a directory and not their ids.
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _open_named(directory: str) -> tuple[int, str]:
    """A locked file, and the name by which a sweep knows it for one of ours."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    first = os.path.join(directory, f"{PREFIX}{os.urandom(8).hex()}")
    descriptor = os.open(first, flags, 0o666)
    try:
        # Nobody else can have locked what has just been made, unless they mean harm.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        name = _own_name(descriptor)
        os.rename(first, os.path.join(directory, name))
    except BaseException:
        os.close(descriptor)
        os.unlink(first)
        raise
    return descriptor, name
