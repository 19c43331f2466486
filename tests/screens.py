"""A terminal with rootless-scratch in it, driven as a person would drive one: a real pty."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from containers import Home

PROMPT = "$ "


class Screen:
    """A terminal of 30 lines and 101 columns with a program in it, driven as a person would."""

    def __init__(self, home: Home, *words: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(30, 101)
        self.pending = ""
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            # The terminal must be the session's own, else no resize is told to anybody; setsid(1) execs.
            ["setsid", "--ctty", sys.executable, "-m", "rootless_scratch", *words],
            env=home.environment | {"TERM": "xterm"},
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
        )

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def shows(self, wanted: str) -> str:
        """What appears up to and with `wanted`; fails the test where that does not come."""
        deadline = time.monotonic() + 30
        while wanted not in self.pending:
            assert time.monotonic() < deadline, f"{wanted!r} is not in {self.pending!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.pending += os.read(self.master, 4096).decode()
        seen, self.pending = self.pending.split(wanted, 1)
        return seen + wanted

    def says(self, command: str) -> str:
        """What a shell answers to a command."""
        self.type(f"{command}\r")
        self.shows("\n")
        return self.shows(PROMPT).rpartition("\n")[0].strip()

    def ends(self) -> int:
        return self.process.wait(timeout=30)


@contextmanager
def screen(home: Home, *words: str) -> Iterator[Screen]:
    shown = Screen(home, *words)
    try:
        yield shown
        assert termios.tcgetattr(shown.slave) == shown.before, "the terminal is as it was"
    finally:
        shown.process.kill()
        shown.process.wait()
        os.close(shown.master)
        os.close(shown.slave)
