"""A real Dask cluster on loopback: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


class Cluster:
    """Where its scheduler listens, and its processes; all that are left are killed when it is closed."""

    def __init__(self, place: Path, environment: Mapping[str, str]) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self.file = place / "scheduler.json"
        # A worker of another host inherits nothing of ours, and has no file of logs that a test would read.
        self.environment = {**environment, "DASK_DISTRIBUTED__ADMIN__LOG_FORMAT": "%(message)s"}
        self.workers: list[subprocess.Popen[bytes]] = []
        words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file)]
        self.scheduler = self._start("scheduler", words, self.environment)
        self.address = self._wait()

    def add(
        self, count: int, *words: str, environment: Mapping[str, str] | None = None, before: Sequence[str] = ()
    ) -> None:
        """Start workers, each with a thread, a home and temporary files of its own, by `before`."""
        for _ in range(count):
            own = self.place / f"worker{len(self.workers)}"
            own.mkdir(mode=0o700)
            home = {**self.environment, "HOME": str(own), "TMPDIR": str(own), **(environment or {})}
            name = f"worker{len(self.workers)}"
            how = [
                "--nthreads",
                "1",
                "--no-nanny",
                "--no-dashboard",
                "--local-directory",
                str(own),
                "--name",
                name,
            ]
            self.workers.append(self._start("worker", [self.address, *how, *words], home, before))

    def wait_for(self, count: int) -> None:
        """Wait until so many workers are known to the scheduler."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=60)

    def log(self) -> str:
        """What all of them have said."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.place.glob("*.log")))

    def close(self) -> None:
        """End all of them."""
        for each in (*self.workers, self.scheduler):
            each.kill()
            each.wait()

    def _start(
        self, kind: str, words: Sequence[str], environment: Mapping[str, str], before: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        argv = [*before, sys.executable, "-m", f"distributed.cli.dask_{kind}", *words]
        with (self.place / f"{kind}{len(self.workers)}.log").open("wb") as log:
            return subprocess.Popen(argv, env=environment, stdout=log, stderr=log, cwd="/")

    def _wait(self) -> str:
        for _ in range(1200):
            assert self.scheduler.poll() is None, self.log()
            try:
                address: str = json.loads(self.file.read_text())["address"]
            except (OSError, ValueError):
                time.sleep(0.05)
            else:
                return address
        raise AssertionError(self.log())


@contextmanager
def cluster(place: Path, environment: Mapping[str, str] = os.environ, *, workers: int = 2) -> Iterator[Cluster]:
    """Start one with so many workers, and end it."""
    made = Cluster(place, environment)
    try:
        made.add(workers)
        if workers:
            made.wait_for(workers)
        yield made
    finally:
        made.close()
