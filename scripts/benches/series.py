"""What came of timing several ways in turn, and what one group of measurements found."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Rows = list[tuple[str, ...]]
"""Of a table; the first one is its head."""

SHORT, LONG = 1.0, 3.0
"""Seconds from which on a way is timed less often."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """The seconds of each way, one per round: what stands at the same index was timed one after the other."""

    times: Mapping[str, Sequence[float]]

    @property
    def runs(self) -> int:
        """How many rounds there were."""
        return min(len(taken) for taken in self.times.values())

    def median(self, way: str) -> float:
        """Median seconds of one way."""
        return statistics.median(self.times[way])

    def ratio(self, ours: str, theirs: str) -> float:
        """Median of the ratios of each round: a slow minute of the machine meets both."""
        return statistics.median(
            mine / other for mine, other in zip(self.times[ours], self.times[theirs], strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class Result:
    """Tables to read and, by a stable name, figures to compare: of all of them less is better."""

    tables: tuple[str, ...]
    figures: Mapping[str, float]
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why a figure could not be measured here."""


def rounds(longest: float, *, quick: bool) -> int:
    """How often to time ways of which the slowest takes so many seconds."""
    if quick:
        return 3 if longest < SHORT else 1
    if longest < SHORT:
        return 15
    return 7 if longest < LONG else 5


def table(title: str, rows: Sequence[Sequence[str]]) -> str:
    """One markdown table; the first row is its head."""
    return f"### {title}\n\n{rows_of(rows)}"


def rows_of(rows: Sequence[Sequence[str]]) -> str:
    """The lines of a markdown table; the first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join((lines[0], "|---" * len(rows[0]) + "|", *lines[1:]))


def seconds(value: float) -> str:
    """Three figures are what a median is good for."""
    return f"{value:.3f} s"


def ratio(value: float) -> str:
    """A ratio as tables and verdicts show it."""
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"  # noqa: PLR2004 - two figures of each
