"""Starts the program of an unpacked image, and ends with it: `python -I -S bare_start.py FILE`, run by path.

FILE has what is to be started, for arguments can be seen by all users of the host. The program is a child of this
process, which hands signals on to it and ends as it does. Whoever is left then of all that it has started is ended
too, and all of them are when the caller is gone, however it ended: what left its parents has become this process's
own child (PR_SET_CHILD_SUBREAPER of prctl(2)). What kept the program from starting is written to FILE.failed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_KILLED = 128 + signal.SIGKILL
_PATIENCE = 5.0
"""Seconds for what was killed to end; what may not be killed (a program that has become root) is left."""


def main(path: str) -> int:
    """The exit code of the program, or of this process where it ends as that did, by a signal."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        wanted = json.load(file)
    waited = signal.valid_signals()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    process = ctypes.CDLL(None)
    process.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # It comes where the caller ends first, and is not handed on.
    process.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != wanted["caller"]:
        # It was killed before that was set.
        return _KILLED
    own = os.getpid()
    child = os.fork()
    if child == 0:
        process.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os._exit(_become(path, wanted, before) if os.getppid() == own else _KILLED)
    while True:
        number = signal.sigwait(waited)
        if os.getppid() != wanted["caller"]:
            _end_all()
            return _KILLED
        if number != signal.SIGCHLD:
            with suppress(OSError):
                os.kill(child, number)
        elif (status := _reaped(child)) is not None:
            _end_all()
            return _ended_as(os.waitstatus_to_exitcode(status))


def _become(path: str, wanted: dict[str, Any], mask: set[int | signal.Signals]) -> int:
    """Never returns where the program starts; else the exit code for it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        os.chdir(wanted["directory"])
        os.execve(wanted["path"], wanted["argv"], dict(wanted["env"]))  # noqa: S606 - an argument list
    except OSError as error:
        with open(f"{path}.failed", "w", encoding="utf-8") as file:
            file.write(str(error.errno))
    return 126


def _reaped(child: int) -> int | None:
    """The status of the program, if it has ended; whoever else has ended is forgotten."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        found = status if pid == child else found


def _end_all() -> None:
    """End what is left of all that was started here: the children of whoever is killed become ours."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        for pid in _children():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


def _children() -> list[int]:
    """The children of this process: field 4 of proc(5)'s stat is the parent."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except (OSError, ValueError):
            continue
        if name.isdigit() and int(fields[1]) == os.getpid():
            found.append(int(name))
    return found


def _ended_as(code: int) -> int:
    """The exit code, unless it was a signal: this process ends by it as well then, without a dump of its own."""
    if code >= 0:
        return code
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    number = signal.Signals(-code) if -code in set(signal.Signals) else -code
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
