"""Keeps another program running for as long as its caller lives, and no longer.

Run by path (`python -I -S tether.py DIRECTORY PROGRAM ARGUMENT...`) in a session of its own, by the standard
library alone. The caller holds the other end of stdin, which the kernel closes also where the caller is killed by
SIGKILL; then the whole session is ended, and the caller's private directory removed. ssh does not do that by
itself: it stays for as long as a connection is open that goes through it.
"""

from __future__ import annotations

import os
import select
import signal
import sys


def main() -> int:
    """Run the program to its end or to the caller's, whichever comes first; its exit code."""
    directory, program, *arguments = sys.argv[1:]
    woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    # Python ignores SIGPIPE, and what it starts would inherit that.
    pid = os.posix_spawn(
        program,
        [program, *arguments],
        os.environ,
        file_actions=actions,
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
    )
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(woken, select.POLLIN)
    while True:
        came = {descriptor for descriptor, _ in poll.poll()}
        if woken in came:
            os.read(woken, 4096)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return abs(os.waitstatus_to_exitcode(status))
        if 0 in came and not os.read(0, 4096):
            _forget(directory)
            # The whole session, itself and what ssh has started (ProxyCommand) included.
            os.killpg(0, signal.SIGKILL)


def _forget(directory: str) -> None:
    """Remove it with its few files, all of them its caller's own."""
    try:
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)
    except OSError:
        # The next call does it: the caller's lease names the directory.
        return


if __name__ == "__main__":
    sys.exit(main())
