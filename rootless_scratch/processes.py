"""/proc, and processes of other programs, signalled so that no later one can be hit in their place.

Only builtin modules are imported here: a build's worker loads it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def signal_those(is_one: Callable[[int], bool], number: int) -> int:
    """Send a signal to all processes but this one that `is_one` knows by their id; how many there were.

    What it raises as OSError, as of a process that has just ended or may not be looked at, says that it is none.
    """
    import signal

    count = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            # Held from before it is looked at, so that it is no other process by then: pidfd_open(2).
            held = os.pidfd_open(int(entry))
        except OSError:
            continue
        try:
            if is_one(int(entry)):
                count += 1
                signal.pidfd_send_signal(held, number)
        except OSError:
            continue
        finally:
            os.close(held)
    return count


def end_with(parent: int) -> None:
    """Have the kernel kill this process as soon as its parent has ended, however that ends: prctl(2).

    What counts is the thread that forked. Without ctypes, in a Python without libffi, nothing is done.
    """
    import signal

    try:
        import ctypes
    except ImportError:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        # It had ended before the kernel was asked.
        os.kill(os.getpid(), signal.SIGKILL)


def text(path: str) -> str:
    """What a file of /proc, or of the settings of a host, says; empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except OSError:
        return ""


def belongs_to_us(pid: int) -> bool:
    """Whether it is this user's, in whatever namespace; raises OSError."""
    return os.stat(f"/proc/{pid}").st_uid == os.geteuid()


def lives(pid: int) -> bool:
    """Whether it runs: a process 1 that is slow to reap leaves a zombie of it, whose state is Z: proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def arguments_of(pid: int) -> list[bytes]:
    """Its command line; empty for one that has ended and was not reaped yet. Raises OSError."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().split(b"\0")[:-1]


def heeds(pid: int, number: int) -> bool:
    """Whether a signal may have an effect on a process, also where that cannot be told.

    The first process of a PID namespace is spared signals that it neither catches nor blocks: pid_namespaces(7).
    """
    if not number:
        return True
    fields = dict(line.split(":", 1) for line in text(f"/proc/{pid}/status").splitlines() if ":" in line)
    inside = fields.get("NSpid", "").split()
    if len(inside) < 2 or inside[-1] != "1":  # noqa: PLR2004 - out here, and in a namespace
        return True
    masks = (int(fields[name], 16) for name in ("SigCgt", "SigBlk", "ShdPnd") if name in fields)
    return any(mask >> (number - 1) & 1 for mask in masks)
