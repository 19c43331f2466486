"""Files that are held by a lock of flock(2) for as long as their owner lives, however it ends.

Only builtin modules are imported here: a build's worker loads it before anything else.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_AT_ONCE = fcntl.LOCK_EX | fcntl.LOCK_NB


def _is_file(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode)


def is_at(descriptor: int, path: str, *, above: int | None = None) -> bool:
    """Whether what was opened still has this path, below the directory `above`, which is not followed."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path, dir_fd=above))
    except OSError:
        return False


def lock_file(
    path: str,
    flags: int,
    *,
    kind: int = _AT_ONCE,
    above: int | None = None,
    again: Callable[[int], bool] | None = None,
    is_fit: Callable[[os.stat_result], bool] = _is_file,
) -> int | None:
    """A descriptor of a file of this user's, opened with these flags of open(2), locked, and still at its path.

    None where another process has removed it meanwhile, or holds it, unless `again`, which gets the descriptor,
    says to try once more. `above` as for `is_at`. Raises OSError, also for what is no file, or not `is_fit`.
    """
    safely = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags | safely, 0o600, dir_fd=above)
    try:
        status = os.fstat(descriptor)
        ours = is_fit(status) and status.st_uid == os.geteuid()
        if ours and lock(descriptor, kind, again=again) and is_at(descriptor, path, above=above):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    if not ours:
        raise PermissionError(errno.EPERM, "it is not a file, or belongs to another user", path)
    return None


def lock(descriptor: int, kind: int = _AT_ONCE, *, again: Callable[[int], bool] | None = None) -> bool:
    """Lock what was opened, by flock(2); False where another process holds it, and `again` is tired of that."""
    while True:
        try:
            fcntl.flock(descriptor, kind)
        except BlockingIOError:
            if again is None or not again(descriptor):
                return False
        else:
            return True


def left_over(
    directory: str,
    is_ours: Callable[[str], object],
    flags: int = os.O_RDWR,
    *,
    again: Callable[[int], bool] | None = None,
    is_fit: Callable[[os.stat_result], bool] = _is_file,
) -> Iterator[tuple[str, int]]:
    """What dead owners have left in a directory: each path, and a descriptor that holds its lock until the next.

    Those whose names `is_ours` and that `lock_file` opens and locks with the rest; what is not there, another
    user's, or in the hands of a process that lives, is passed over.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    for path in (f"{directory}/{name}" for name in names if is_ours(name)):
        try:
            descriptor = lock_file(path, flags, again=again, is_fit=is_fit)
        except OSError:
            continue
        if descriptor is not None:
            try:
                yield path, descriptor
            finally:
                os.close(descriptor)
