"""What measurements share: a home of their own, ways that are timed in turn, and tables of what came of it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rootless_scratch.host.environment import tool_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Bench:
    """A home of its own beside the user's, on the same file system, with an empty image store."""

    def __init__(self, driver: str | None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix=".rootless-scratch-bench-", dir=Path.home()))
        # Apart from the home: paths of sockets may not exceed 107 bytes.
        self.runtime = Path(tempfile.mkdtemp(prefix="rsb-"))
        self.environment: Mapping[str, str] = {
            **tool_environment().variables,
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.runtime),
            **({"STORAGE_DRIVER": driver} if driver else {}),
        }

    def time(self, argv: Sequence[str]) -> float:
        """Run a command to its end and return its seconds; it must succeed."""
        begin = time.perf_counter()
        done = subprocess.run(argv, env=self.environment, cwd=self.home, capture_output=True, check=False)
        seconds = time.perf_counter() - begin
        if done.returncode != 0:
            sys.exit(f"bench: {argv} failed:\n{done.stderr.decode(errors='replace')}")
        return seconds

    def ask(self, *argv: str) -> str:
        """Answer of a short question."""
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def alternate(self, ways: Mapping[str, Sequence[str]], *, runs: int, clean: bool) -> dict[str, float]:
        """Median seconds of each way, timed in turn: a slow minute of the machine meets all of them."""
        times: dict[str, list[float]] = {name: [] for name in ways}
        for round_ in range(runs + 1):
            for name, argv in ways.items():
                seconds = self.time(argv)
                if round_:  # the first round fills the page cache
                    times[name].append(seconds)
                if clean:
                    self.time(["buildah", "rmi", "--all", "--force"])
        return {name: statistics.median(taken) for name, taken in times.items()}

    def close(self) -> None:
        """Leave nothing behind."""
        pause = self.runtime / "libpod/tmp/pause.pid"
        remove = ["rm", "-rf", str(self.home), str(self.runtime)]
        if os.getuid() != 0:
            subprocess.run(["buildah", "unshare", *remove[:3]], env=self.environment, check=False)
        if pause.exists():
            os.kill(int(pause.read_text(encoding="ascii")), 9)
        subprocess.run(remove, check=False)


def table(title: str, rows: Sequence[Sequence[str]]) -> str:
    """One markdown table; the first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join((f"### {title}", "", lines[0], "|---" * len(rows[0]) + "|", *lines[1:]))


def seconds(value: float) -> str:
    """Three figures are what a median is good for."""
    return f"{value:.3f} s"
