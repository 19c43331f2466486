"""Files that get their name when they are whole: written beside it, synced, renamed.

A killed writer leaves its temporary file behind, unlocked; the next one in the same directory removes it.
"""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

PREFIX = ".rootless-scratch-"


class Temporary:
    """A new file of this writer's in `directory`, open for reading and writing as `descriptor`.

    It is removed at the end of a `with` block unless it was given a name. Raises OSError.
    """

    def __init__(self, directory: str) -> None:
        sweep(directory)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            self._path: str | None = os.path.join(directory, PREFIX + os.urandom(8).hex())
            self.descriptor = os.open(self._path, flags, 0o666)
            # flock(2), not a process id, proves life: writers may share a directory and not their ids.
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            if os.fstat(self.descriptor).st_nlink:
                return
            # A sweep came between the two.
            os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._path is not None:
                os.unlink(self._path)
        except FileNotFoundError:
            pass
        finally:
            os.close(self.descriptor)

    def write(self, content: bytes) -> None:
        """Append all of it."""
        view = memoryview(content)
        while view:
            view = view[os.write(self.descriptor, view) :]

    def is_in(self, directory: str) -> bool:
        """Whether it lies in this directory and has no name yet."""
        return self._path is not None and os.path.dirname(self._path) == directory

    def rename(self, path: str, *, sync: bool = True) -> None:
        """Give it its name, on disk before the name is; what had the name before is replaced.

        Without `sync` the name itself is on disk only after `sync_directory`.
        """
        assert self._path is not None  # noqa: S101 - a file is named once
        os.fsync(self.descriptor)
        os.rename(self._path, path)
        self._path = None
        if sync:
            sync_directory(os.path.dirname(path))


def sync_directory(path: str) -> None:
    """Have the names in a directory on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(directory: str) -> None:
    """Remove what killed writers have left in `directory`; of live ones the lock is held."""
    with os.scandir(directory) as found:
        names = [entry.name for entry in found if entry.name.startswith(PREFIX)]
    for name in names:
        path = os.path.join(directory, name)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # gone meanwhile, or another user's
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
                os.unlink(path)
        except OSError:
            pass
        finally:
            os.close(descriptor)
