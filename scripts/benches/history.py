"""The history of what was measured: a line of JSON for each time, and what has become worse since one of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from benches.series import ratio, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

WORSE = 1.10
"""How many times the figure before a figure may be."""

_SHOWN = 20


class HistoryError(Exception):
    """A history cannot be read, or has not what is looked for; says so in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """What was measured at one time; less is better for each of `ratios`, which has figures in MB and s too."""

    commit: str
    date: str
    changed: bool = False
    """Whether the checkout had changes that were not committed."""
    quick: bool = False
    machine: Mapping[str, str | int] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    driver: str
    ratios: Mapping[str, float]
    reasons: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON."""
        rounded = {name: round(value, 4) for name, value in self.ratios.items()}
        return json.dumps({**asdict(self), "ratios": rounded})


def parse_line(text: str) -> Line:
    """Read a line back; raises HistoryError."""
    try:
        content: dict[str, Any] = json.loads(text)
        line = Line(**content)
        valid = all(isinstance(value, (int, float)) for value in line.ratios.values())
    except (ValueError, TypeError, AttributeError) as error:
        raise HistoryError(f"This is not a line of a history: {text.strip()[:60]!r}.") from error
    if not valid:
        raise HistoryError(f"The ratios of {line.commit[:12]} are not all numbers.")
    return line


def read_history(path: Path) -> list[Line]:
    """All lines of a history, oldest first; none where there is no file. Raises HistoryError."""
    if not path.exists():
        return []
    return [parse_line(text) for text in path.read_text(encoding="utf-8").splitlines() if text.strip()]


def find_base(history: Sequence[Line], commits: Iterable[str]) -> Line | None:
    """The newest line of the first of these commits that has one."""
    by_commit = {line.commit: line for line in history}
    return next((by_commit[commit] for commit in commits if commit in by_commit), None)


def worse(before: Line, now: Line) -> Iterator[str]:
    """Name each figure that is more than a tenth worse than before, with both, the worst one first."""
    changes = [
        (now.ratios[name] / value if value else float("inf"), name, value)
        for name, value in before.ratios.items()
        if now.ratios.get(name, 0) > value * WORSE
    ]
    for change, name, value in sorted(changes, reverse=True):
        percent = f" (+{(change - 1) * 100:.0f} %)" if value else ""
        yield f"{name}: {ratio(value)} -> {ratio(now.ratios[name])}{percent}"


def remarks(before: Line, now: Line) -> Iterator[str]:
    """What a reader of a comparison has to know."""
    for kind in ("driver", "machine", "tools"):
        old, new = getattr(before, kind), getattr(now, kind)
        if old != new:
            yield f"{kind}: {_shown(old)} -> {_shown(new)}"
    if now.quick:
        yield "measured with --quick: look twice"
    if missing := sorted(before.ratios.keys() - now.ratios.keys()):
        yield f"not measured now: {', '.join(missing)}"


def _shown(value: str | Mapping[str, object]) -> str:
    return value if isinstance(value, str) else ", ".join(f"{name} {each}" for name, each in value.items())


def table_of_history(history: Sequence[Line], main: Mapping[str, str]) -> str:
    """The main figures by commit, the newest first; of a long history the last ones."""
    if not history:
        return "Nothing was measured yet."
    rows = [("commit", "date", "driver", *main.values())]
    for line in reversed(history[-_SHOWN:]):
        shown = (ratio(line.ratios[name]) if name in line.ratios else "-" for name in main)
        rows.append((line.commit[:7], line.date, line.driver, *shown))
    return rows_of(rows)
