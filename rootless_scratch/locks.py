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
    from collections.abc import Callable

_AT_ONCE = fcntl.LOCK_EX | fcntl.LOCK_NB


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
) -> int | None:
    """A descriptor of a file of this user's, opened with these flags of open(2), locked, and still at its path.

    None where another process has removed it meanwhile, or holds it, unless `again`, which gets the descriptor,
    says to try once more. `above` as for `is_at`. Raises OSError.
    """
    safely = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags | safely, 0o600, dir_fd=above)
    try:
        status = os.fstat(descriptor)
        ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        if ours and lock(descriptor, kind, again=again) and is_at(descriptor, path, above=above):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    if not ours:
        raise PermissionError(errno.EPERM, "it is no file, or belongs to another user", path)
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
