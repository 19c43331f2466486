"""A progress bar, or the step that is under way, on a terminal for what takes long; nothing anywhere else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rootless_scratch.cli.output import on_terminal, showable

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as Bar
    from rich.status import Status

_SILENCE = 0.5
"""Seconds before anything is drawn: what is done by then needs no bar, and rich takes 40 ms to load."""


class Progress:
    """Draws bytes done of bytes in all; `quiet` draws nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self._wanted = not quiet and on_terminal()
        self._total = 0
        self._began = time.monotonic()
        self._bar: Bar | None = None
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def begin(self, total: int) -> None:
        """Bytes that there are in all."""
        self._total = total

    def show(self, done: int) -> None:
        """Bytes that are done."""
        if not self._wanted or time.monotonic() - self._began < _SILENCE:
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._stop()
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._bar.add_task("writing", total=self._total)
        self._bar.update(self._bar.task_ids[0], completed=done)
        if done >= self._total:
            self._bar.update(self._bar.task_ids[0], description="committing")

    def step(self, text: str) -> None:
        """What is being done now that has no measure."""
        if not self._wanted:
            return
        if self._status is None:
            from rich.console import Console
            from rich.status import Status

            self._stop()
            self._status = Status("", console=Console(stderr=True))
            self._status.start()
        from rich.text import Text

        self._status.update(Text(showable(text)))

    def _stop(self) -> None:
        for drawn in (self._bar, self._status):
            if drawn is not None:
                drawn.stop()
        self._bar = self._status = None
