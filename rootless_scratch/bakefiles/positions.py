"""Where something stands in a bake file, and what is wrong there."""

from __future__ import annotations

from rootless_scratch.data import Value
from rootless_scratch.errors import Fault


class Position(Value):
    """A line and a column of a file, from 1 on."""

    path: str = ""
    line: int = 1
    column: int = 1


class Wrong(Exception):  # noqa: N818 - it becomes a Fault, which is told with others
    """What is wrong at one place of a file: caught and collected, never seen by callers."""

    def __init__(self, place: Position, message: str, fix: str) -> None:
        self.place = place
        self.message = message
        self.fix = fix
        super().__init__(message)

    def fault(self, key: str = "") -> Fault:
        """The same for an error that has all faults of a file."""
        place = self.place
        return Fault(place.path, place.line, place.column, key, self.message, self.fix)
