"""A progress bar, or the step that is under way, on a terminal for what takes long; nothing anywhere else."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from rootless_scratch.cli.excerpts import showable
from rootless_scratch.cli.output import on_terminal, say
from rootless_scratch.progress import Progress

if TYPE_CHECKING:
    from rich import progress
    from rich.status import Status

_SILENCE = 0.5
"""Seconds before anything is drawn: what is done by then needs no bar, and rich takes 40 ms to load."""

_PAUSE = 0.1
"""Seconds between two drawings of a counter."""


class _Drawn:
    """A bar that is drawn once something takes long on a terminal; `quiet` draws nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._wanted = not quiet and on_terminal()
        self._began = time.monotonic()
        self._bar: progress.Progress | None = None
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop()

    def _stop(self) -> None:
        for drawn in (self._bar, self._status):
            if drawn is not None:
                drawn.stop()
        self._bar = self._status = None

    @property
    def _is_due(self) -> bool:
        return self._wanted and time.monotonic() - self._began >= _SILENCE


class Bar(_Drawn, Progress):
    """Draws bytes done of bytes in all; without `steps` only notes are said, beside another that draws."""

    _total = 0

    def __init__(self, *, quiet: bool, steps: bool = True) -> None:
        super().__init__(quiet=quiet)
        self._wanted = self._wanted and steps

    def clear(self) -> None:
        """Make room for a result."""
        self._stop()

    def begin(self, total: int) -> None:
        """Bytes that there are in all."""
        self._total = total

    def show(self, done: int) -> None:
        """Bytes that are done."""
        if not self._is_due:
            return
        if self._bar is None:
            from rich import progress as rich
            from rich.console import Console

            named = (rich.TextColumn("{task.description}"), rich.BarColumn())
            columns = (*named, rich.DownloadColumn(), rich.TransferSpeedColumn())
            self._stop()
            self._bar = rich.Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._bar.add_task("writing", total=self._total)
        self._bar.update(self._bar.task_ids[0], completed=done)
        if done >= self._total:
            self._bar.update(self._bar.task_ids[0], description="committing")

    def note(self, text: str) -> None:
        """What stays on stderr."""
        if not self._quiet:
            self._stop()
            say(f"note: {text}")

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


class Counter(_Drawn):
    """Draws things done of things in all, on one line, above which results are printed meanwhile."""

    def __init__(self, *, total: int, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._total = total
        self._drawn = 0.0

    def clear(self) -> None:
        """Make room for a result, which may be written to the same terminal by stdout."""
        if self._bar is not None:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()

    def show(self, done: int) -> None:
        """Things that are done."""
        if not self._is_due or time.monotonic() - self._drawn < _PAUSE:
            return
        if self._bar is None:
            from rich import progress as rich
            from rich.console import Console

            named = (rich.TextColumn("checking"), rich.BarColumn())
            columns = (*named, rich.MofNCompleteColumn(), rich.TimeRemainingColumn())
            # Its own thread would draw between a result and its findings, its own stdout send results to stderr.
            self._bar = rich.Progress(
                *columns,
                console=Console(stderr=True),
                transient=True,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.start()
            self._bar.add_task("", total=self._total)
        self._bar.update(self._bar.task_ids[0], completed=done, refresh=True)
        self._drawn = time.monotonic()
