"""What figures may be at most, and whether they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benches.series import ratio, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, kw_only=True)
class Aim:
    """A row of the table of aims: `limits` has the most that each figure may be."""

    what: str
    limits: Mapping[str, float]
    unit: str = ""

    def bound(self) -> str:
        """The limits as the table has them."""
        shown = [f"{limit:g} {self.unit}".strip() for limit in self.limits.values()]
        return f"{shown[0]} each" if len(shown) > 1 and len(set(shown)) == 1 else ", ".join(shown)

    def show(self, value: float) -> str:
        """A value as the table has it."""
        whole = self.unit in ("MB", "traces")
        return f"{value:.0f} {self.unit}" if whole else f"{ratio(value)} {self.unit}".strip()

    def verdict(self, figures: Mapping[str, float], reasons: Mapping[str, str]) -> str:
        """Whether all figures are within their limits, with each of them and those that are not."""
        known = {name: figures[name] for name in self.limits if name in figures}
        if not known:
            why = next((reasons[name] for name in self.limits if name in reasons), "")
            return f"not measured: {why}" if why else "not measured"
        shown = ", ".join(self.show(known[name]) if name in known else "not measured" for name in self.limits)
        if missed := [name for name, value in known.items() if value > self.limits[name]]:
            some = len(missed) < len(known)
            return f"missed: {shown}" + (f" ({', '.join(f'`{name}`' for name in missed)})" if some else "")
        return f"met: {shown}" if len(known) == len(self.limits) else shown


def table_of_aims(aims: Iterable[Aim], figures: Mapping[str, float], reasons: Mapping[str, str]) -> str:
    """The aims as markdown, with what came of each."""
    rows = [("what", "at most", "here")]
    rows += [(aim.what, aim.bound(), aim.verdict(figures, reasons)) for aim in aims]
    return rows_of(rows)
