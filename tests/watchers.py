"""`watch` in the background, as a developer has it in another terminal."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PATIENCE = 30


class Home(Protocol):
    """What the tests' conftest gives."""

    path: Path
    environment: dict[str, str]


class Watcher:
    """What it prints, line by line; lines that were waited for are gone."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self._lines = {name: _lines(stream) for name, stream in (("out", process.stdout), ("err", process.stderr))}
        self.seen: list[str] = []

    def out(self) -> str:
        """The next line of stdout."""
        return self._next("out", PATIENCE)

    def err(self, part: str) -> str:
        """The next line of stderr that has this in it."""
        deadline = time.monotonic() + PATIENCE
        while part not in (line := self._next("err", deadline - time.monotonic())):
            self.seen.append(line)
        return line

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes on stdout for so long."""
        try:
            self.seen.append(self._lines["out"].get(timeout=seconds))
        except queue.Empty:
            return True
        return False

    def end(self, number: int = signal.SIGINT) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE)

    def _next(self, name: str, seconds: float) -> str:
        try:
            line = self._lines[name].get(timeout=max(seconds, 0))
        except queue.Empty:
            rest = list(self._lines["err"].queue)
            raise AssertionError(f"nothing more on std{name}; before: {self.seen}, and then {rest}") from None
        assert line is not None, f"std{name} has ended; before: {self.seen}"
        return line


@contextmanager
def watching(
    home: Home, *words: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Watcher]:
    """`rootless-scratch watch WORDS`, ended at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "rootless_scratch", "watch", *words],
        env=home.environment | dict(environment or {}),
        cwd=cwd or home.path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield Watcher(process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=PATIENCE)


def _lines(stream: IO[bytes]) -> queue.Queue[str]:
    """A queue that is filled with its lines."""
    found: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in stream:
            found.put(line.decode("utf-8", "replace").rstrip("\n"))

    threading.Thread(target=read, daemon=True).start()
    return found
