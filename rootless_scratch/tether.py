"""Keeps another program running for as long as its caller lives, and no longer.

Run by path (`python -I -S tether.py PROGRAM ARGUMENT...`) in a session of its own, by the standard library alone.
The caller holds the other end of stdin, which the kernel closes also where the caller is killed by SIGKILL; then
the whole session is ended. No tool does that by itself: ssh stays for as long as a connection is open that goes
through it, and skopeo goes on to the end of its copy. Two variables, which the program does not get, name private
directories of the caller: one to work in, one that is removed when the caller ends before the program.
"""

from __future__ import annotations

import os
import select
import signal
import sys

# Isolated mode leaves only the standard library on the path, and perhaps a venv.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from rootless_scratch.private import FORGETS, WORKS_IN, open_private, remove_held
from rootless_scratch.spawn import NULL, spawn

_PATHS = (
    *("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("CONTAINERS_CONF", "CONTAINERS_CONF_OVERRIDE", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF"),
    *("REGISTRIES_CONFIG_PATH", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
)
"""Variables of tools that may name a file from the caller's working directory."""


def main() -> int:
    """Run the program to its end or to the caller's, whichever comes first; its exit code."""
    program, *arguments = sys.argv[1:]
    directory, forgotten = (os.environ.pop(name, None) for name in (WORKS_IN, FORGETS))
    if directory is not None:
        for name in _PATHS:
            # Several directories are divided by colons; an empty value stays one.
            parts = os.environ.get(name, "").split(":")
            if any(parts):
                os.environ[name] = ":".join(os.path.abspath(part) if part else "" for part in parts)
        os.chdir(directory)
    woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    try:
        child = spawn([program, *arguments], environment=os.environ, stdin=NULL, stdout=1, stderr=2)
    except OSError as error:
        sys.stderr.write(f"Error: {program} cannot be started: {error.strerror}\n")
        return 126
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(woken, select.POLLIN)
    while True:
        came = {descriptor for descriptor, _ in poll.poll()}
        if woken in came:
            os.read(woken, 4096)
            code = child.poll()
            if code is not None:
                return abs(code)
        if 0 in came and not os.read(0, 4096):
            if forgotten is not None:
                _forget(forgotten)
            # The whole session, itself and what ssh has started (ProxyCommand) included.
            os.killpg(0, signal.SIGKILL)


def _forget(directory: str) -> None:
    """Remove it with its few files, all of them its caller's own."""
    try:
        descriptor = open_private(directory)
        remove_held(directory, descriptor)
    except OSError:
        # The next call does it: the caller's lease names the directory.
        return


if __name__ == "__main__":
    sys.exit(main())
