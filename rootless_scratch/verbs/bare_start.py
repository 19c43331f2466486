"""Starts the program of an unpacked image in its place: `python -I -S bare_start.py FILE`, run by path.

FILE has what is to be started, for arguments can be seen by all users of the host. It becomes that program, which
the kernel ends together with whoever called it. What kept it from starting is written to FILE in its place.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(path: str) -> int:
    """Never returns where the program starts; else the exit code for it."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        wanted = json.load(file)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != wanted["caller"]:
        # It was killed before that was set.
        return 128 + signal.SIGKILL
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.chdir(wanted["directory"])
        os.execve(wanted["path"], wanted["argv"], dict(wanted["env"]))  # noqa: S606 - an argument list
    except OSError as error:
        with open(f"{path}.failed", "w", encoding="utf-8") as file:
            file.write(str(error.errno))
    return 126


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
