"""What docs/performance.md has between its marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benches.aims import table_of_aims
from benches.groups import GROUPS, MAIN
from benches.history import table_of_history

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benches.groups import Group
    from benches.history import Line


def aims(history: Sequence[Line], groups: Sequence[Group] = GROUPS) -> str:
    """The table of the aims of some groups, with what was measured last."""
    last = history[-1] if history else None
    rows = [aim for group in groups for aim in group.aims]
    return table_of_aims(rows, last.ratios if last else {}, last.reasons if last else {})


def replace(page: str, name: str, text: str) -> str:
    """Put a text between the marks of a section; raises ValueError where the page lacks them."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, first, rest = page.partition(begin)
    _, second, after = rest.partition(end)
    if not (first and second):
        raise ValueError(f"the page lacks the marks {begin} and {end}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def renew(page: str, history: Sequence[Line], measured: str | None = None) -> str:
    """The page with the aims and the table of a history, and with tables that were just measured."""
    if measured is not None:
        page = replace(page, "measured", measured)
    page = replace(page, "aims", aims(history))
    return replace(page, "history", table_of_history(history, MAIN))
