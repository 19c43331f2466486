"""What `bake` shows while it works: a line for each image under way on a terminal, one for each done elsewhere."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Self

from rootless_scratch.cli.excerpts import showable
from rootless_scratch.cli.output import on_terminal, print_error, print_findings, say
from rootless_scratch.progress import Progress
from rootless_scratch.verbs.making import Watcher

if TYPE_CHECKING:
    from rich import progress as rich

    from rootless_scratch.bakefiles.results import Result

_SILENCE = 0.5
"""Seconds before anything is drawn, as for one image."""


class Board(Watcher):
    """Draws images done of all, and those that are under way; `quiet` says nothing.

    Nothing is drawn where no person watches: there each image is a line when it is done.
    """

    def __init__(self, *, total: int, quiet: bool, verbose: bool) -> None:
        self._quiet = quiet
        self._verbose = verbose
        self._total = total
        self._done = 0
        self._drawn = not quiet and on_terminal()
        self._lock = Lock()
        self._began = time.monotonic()
        self._bars: rich.Progress | None = None
        self._whole: rich.TaskID | None = None
        self._lines: dict[str, _Line] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def begin(self, name: str) -> Progress:
        """See Watcher."""
        line = _Line(self)
        with self._lock:
            self._lines[name] = line
        return line

    def done(self, result: Result) -> None:
        """See Watcher."""
        with self._lock:
            self._done += 1
            line = self._lines.pop(result.name, None)
        self.draw()
        bars = self._bars
        if bars is not None and line is not None and line.task is not None:
            bars.remove_task(line.task)
            line.task = None
        if self._quiet:
            return
        self._tell(result, 0.0 if line is None else time.monotonic() - line.began)

    def draw(self) -> None:
        """Bring what is drawn up to date, once it is worth drawing."""
        if not self._drawn or time.monotonic() - self._began < _SILENCE:
            return
        with self._lock:
            bars = self._bars or self._start()
            assert self._whole is not None  # noqa: S101 - set by _start
            bars.update(self._whole, completed=self._done)
            for name, line in self._lines.items():
                if line.task is None:
                    line.task = bars.add_task(showable(name), total=line.total, unit="")
                bars.update(line.task, completed=line.shown, total=line.total, unit=showable(line.text))

    def _start(self) -> rich.Progress:
        from rich import progress as rich
        from rich.console import Console

        columns = (rich.TextColumn("{task.description}", markup=False), rich.BarColumn())
        unit = rich.TextColumn("{task.fields[unit]}", markup=False)
        self._bars = rich.Progress(*columns, unit, console=Console(stderr=True), transient=True)
        self._bars.start()
        self._whole = self._bars.add_task("baking", total=self._total, unit=f"of {self._total}")
        return self._bars

    def _tell(self, result: Result, seconds: float) -> None:
        name = result.name or "image"
        if result.error is not None:
            say(f"{name}: failed")
            print_error(result.error, as_json=False, verbose=self._verbose)
        elif result.image is not None:
            if not self._drawn or result.image.notes or result.image.findings:
                say(f"{name}: built in {seconds:.1f} s")
            shown = [finding for finding in result.image.findings if finding.severity != "info"]
            print_findings(shown)
            for note in result.image.notes:
                say(f"note: {note}")


class _Line(Progress):
    """How far one image is."""

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._board = board
        self.began = time.monotonic()
        self.task: rich.TaskID | None = None
        self.total: int | None = None
        self.shown = 0
        self.text = ""

    def begin(self, total: int) -> None:
        """Bytes that there are in all."""
        self.total = total
        self._board.draw()

    def show(self, done: int) -> None:
        """Bytes that are done."""
        self.shown = done
        self._board.draw()

    def step(self, text: str) -> None:
        """What is being done now that has no measure."""
        self.text = text
        self._board.draw()
