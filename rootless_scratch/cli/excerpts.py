"""The line of a file that a finding is about, as a terminal shows it: the offending text underlined."""

from __future__ import annotations

from rootless_scratch.cli.terminal import styled
from rootless_scratch.errors import redacted

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from rootless_scratch.findings import Location

_TAB = 8
_WIDEST = 120
"""Columns of a line that are shown; of a longer one, those around what is underlined."""

_BEFORE = 40
_CORRECTED = 20
"""Lines of a correction that are shown."""


def showable(text: str) -> str:
    """`text` with line breaks, control characters and bytes that are not UTF-8 made visible."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def header(location: Location) -> str:
    """`FILE:LINE:COLUMN`, as compilers write it and editors find it."""
    return f"{showable(location.path)}:{location.line}:{location.column}"


def excerpt(location: Location, colour: str) -> list[str]:
    """The line, what is wrong underlined, and the corrected lines; none where the file has no such line."""
    if not location.text.strip():
        return []
    number = str(location.line)
    end = location.end_column if location.end_line == location.line else len(location.text) + 1
    end = max(min(end, len(location.text.rstrip()) + 1), location.column + 1)
    line, before, marked = _window(location.text, location.column - 1, end - 1)
    margin = " " * len(number)
    underline = styled("^" * max(marked, 1), colour, bold=True)
    shown = [f"  {number} | {line}", f"  {margin} | {' ' * before}{underline}"]
    if location.corrected is not None:
        lines = redacted(location.corrected, in_place=True).split("\n")
        shown += [f"  {'+':>{len(number)}} | {_cut(each)}".rstrip() for each in lines[:_CORRECTED]]
        if len(lines) > _CORRECTED:
            shown.append(f"  {margin} | ... {len(lines) - _CORRECTED} more lines")
    return shown


def cells(text: str, column: int = 0) -> list[str]:
    """What a terminal shows for each character from this column on: tabs as spaces, what it may obey escaped."""
    found = []
    for char in text:
        cell = " " * (_TAB - column % _TAB) if char == "\t" else showable(char)
        column += width(cell)
        found.append(cell)
    return found


def width(text: str) -> int:
    """The columns of a terminal that printable text takes: Unicode Standard Annex 11."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(char) in ("Mn", "Me", "Cf") else 2 if east_asian_width(char) in "WF" else 1 for char in text
    )


def _window(text: str, begin: int, end: int) -> tuple[str, int, int]:
    """The part of a line to show, the columns of it before what is marked, and those that are marked."""
    shown = cells(text[: end + _WIDEST])
    before, marked = width("".join(shown[:begin])), width("".join(shown[begin:end]))
    if width("".join(shown)) <= _WIDEST and end + _WIDEST >= len(text):
        return "".join(shown), before, marked
    first = max(0, begin - _BEFORE) if begin > _BEFORE else 0
    lead = "..." if first else ""
    line, column = lead, len(lead)
    for cell in shown[first:]:
        column += width(cell)
        if column > _WIDEST:
            line += "..."
            break
        line += cell
    before = len(lead) + width("".join(shown[first:begin]))
    return line, before, max(1, min(marked, _WIDEST - before))


def _cut(text: str) -> str:
    return _window(text, 0, 0)[0]
