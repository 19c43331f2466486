"""Tools that outlived their worker: they hold the lock of its private directory, and are ended with it."""

from __future__ import annotations

import os
import time

from rootless_scratch import locks, private, processes

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

_TOOLS = (b"buildah", b"skopeo", b"podman")
_LET_FINISH = 0.5
"""Seconds for a short call to end by itself: one that is ended may leave something in storage without an owner."""

_ALONE = 1.0
"""Seconds after which what holds the lock, and is no tool, serves a mount: it ends with the container."""

_POLITE = 3.0
_GIVE_UP = 6.0
"""Seconds after which SIGTERM becomes SIGKILL, and after which others are left to themselves."""


def take_over(scratch: str, name: str, *, is_seen: bool) -> private.PrivateDirectory | None:
    """The private directory of a worker that has ended, under our lock; None where there is none of ours.

    What still holds its lock was started by that worker, and is ended if its arguments have the worker's `name`,
    which is random. What else holds it serves a mount (fuse-overlayfs), and is not waited for where all processes
    of that worker are seen from here, `is_seen`. Raises BlockingIOError where a tool does not end, and OSError.
    """
    if private.exchangeable(os.path.dirname(scratch)) is not None:
        return None
    try:
        descriptor = private.open_private(scratch)
    except OSError:
        # It was never made, or is gone; what somebody else has put there stays.
        return None
    began = time.monotonic()

    def again(_descriptor: int) -> bool:
        waited = time.monotonic() - began
        if waited > _GIVE_UP:
            raise BlockingIOError
        if waited > _LET_FINISH:
            count = _signal(name, by_force=waited > _POLITE)
            if not count and is_seen and waited > _ALONE:
                return False
        time.sleep(0.01 if waited < _LET_FINISH else 0.1)
        return True

    try:
        locks.lock(descriptor, again=again)
    except BaseException:
        os.close(descriptor)
        raise
    return private.PrivateDirectory(scratch, descriptor)


def _signal(name: str, *, by_force: bool) -> int:
    """End the tools of this worker; how many there were."""
    import signal

    def is_tool(pid: int) -> bool:
        return processes.belongs_to_us(pid) and _is_tool_of(processes.arguments_of(pid), name.encode())

    return processes.signal_those(is_tool, signal.SIGKILL if by_force else signal.SIGTERM)


def _is_tool_of(argv: Sequence[bytes], name: bytes) -> bool:
    # buildah calls itself `buildah-in-a-user-namespace` there.
    return os.path.basename(b"".join(argv[:1])).startswith(_TOOLS) and any(name in each for each in argv[1:])
