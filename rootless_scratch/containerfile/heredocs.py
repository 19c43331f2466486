"""`<<NAME` in the arguments of COPY, ADD and RUN, and the lines that belong to it.

heredoc = [ FD ] "<<" [ "-" ] [ BLANKS ] NAME      with a part of NAME in quotes nothing of the body is expanded
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from rootless_scratch.containerfile.document import Heredoc, Record, Span, Token
from rootless_scratch.containerfile.expanding import ExpandError, Lexer
from rootless_scratch.containerfile.reading import SPACES
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.containerfile.reading import Lines, Logical

_OPENING = expression(r"\d*+<<(-?)[\t\n\f\r ]*+([^<]{1,1000}+)")
_SIMPLE = expression(r"\w++", re.ASCII)
_ARGUMENT = expression(
    rf"(?:[^{SPACES}'\"\\<]++|'[^']*+'|\"(?:[^\"\\]++|\\.)*\"|\\.?|<<[\t\r ]*+|<)+|(?P<unclosed>['\"])",
    re.DOTALL,
)
"""What the lexer of expanding.py gives where nothing begins with `${`, in a tenth of its time."""

_TABS = expression(r"^\t+", re.MULTILINE)
_KEYWORD = expression(
    r"(?:ADD|ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|RUN|SHELL|STOPSIGNAL|USER"
    r"|VOLUME|WORKDIR)[\t ]"
)


class Opening(Record, frozen=True, gc=False):
    """What begins a heredoc, and where it stands in a logical line."""

    name: str
    raw: str
    expands: bool
    tabs: bool
    start: int
    end: int


def opening(raw: str) -> tuple[str, bool, bool] | None:
    """The name of a heredoc, whether its body is expanded, and whether tabs are removed; None for all else."""
    found = _OPENING.fullmatch(raw)
    if not found:
        return None
    if _SIMPLE.fullmatch(found[2]):
        return found[2], True, bool(found[1])
    try:
        plain = Lexer(found[2], {}, keep_unset=True).run().arguments
        kept = Lexer(found[2], {}, keep_unset=True, quotes="kept").run().arguments
    except ExpandError:
        return None
    if len(plain) != 1 or len(kept) != 1:
        return None
    expands = _quotes(plain[0]) == _quotes(kept[0])
    return plain[0], expands, bool(found[1])


def openings(text: str) -> list[Opening]:
    """All of a logical line. Builders see none where quotes or braces of the line are not closed."""
    return [
        Opening(name=found[0], raw=raw, expands=found[1], tabs=found[2], start=start, end=end)
        for raw, start, end in _arguments(text)
        if "<<" in raw and (found := opening(raw))
    ]


def _arguments(text: str) -> Iterator[tuple[str, int, int]]:
    if "${" in text:
        lexer = Lexer(text, {}, quotes="kept", keep_escapes=True, keep_unset=True)
        with suppress(ExpandError):
            lexer.run()
            yield from ((text[each.start : each.end], each.start, each.end) for each in lexer.arguments)
        return
    found = list(_ARGUMENT.finditer(text))
    if not any(each["unclosed"] for each in found):
        yield from ((each[0], each.start(), each.end()) for each in found)


def bodies(lines: Lines, logical: Logical) -> tuple[Heredoc, ...]:
    """The heredocs of the line that has just been read, in their order; `lines` goes on behind them.

    Where one does not end, its body is taken to end before what looks like the next instruction.
    """
    found: list[Heredoc] = []
    for each in openings(logical.text):
        start = lines.next
        end = lines.terminator(each.name, tabs=each.tabs)
        lines.next = lines.count if end is None else end + 1
        if end is None:
            end = _next_instruction(lines, start, each.name)
            lines.next = end + (end < lines.count and lines.lines[end].strip() == each.name)
            lines.faults.add(
                f"The heredoc `<<{each.name[:40]}` has no end.",
                f"Add a line that is `{each.name[:40]}` and nothing else, without spaces around it.",
                logical.span(each.start, each.end),
            )
        body = lines.between(start, end)
        found.append(
            Heredoc(
                name=each.name,
                body=_TABS.sub("", body) if each.tabs else body,
                expands=each.expands,
                span=_span(lines, start, end),
                opening=Token(raw=each.raw, span=logical.span(each.start, each.end)),
            )
        )
    return tuple(found)


def _next_instruction(lines: Lines, start: int, name: str) -> int:
    for index in range(start, lines.count):
        line = lines.lines[index]
        if line.strip() == name or _KEYWORD.match(line):
            return index
    return lines.count


def _span(lines: Lines, start: int, end: int) -> Span:
    if start >= end:
        return Span(line=start + 1, column=1, end_line=start + 1, end_column=1)
    return Span(line=start + 1, column=1, end_line=end, end_column=len(lines.lines[end - 1]) + 1)


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')
