"""Templates of HCL: text with `${...}`, and with `%{if}` and `%{for}`, as heredocs and strings of JSON have it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from rootless_scratch.bakefiles.values import Misfit
from rootless_scratch.data import Data

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

Kind = Literal["text", "value", "if", "else", "endif", "for", "endfor"]

_FOR = re.compile(r"for\s+([A-Za-z_][\w-]*)\s*(?:,\s*([A-Za-z_][\w-]*)\s*)?in\b(.*)\Z", re.DOTALL)
_IF = re.compile(r"if\b(.*)\Z", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ENDS: dict[str, Kind] = {"else": "else", "endif": "endif", "endfor": "endfor"}


class Part(Data):
    """A piece: a text, an expression, or a directive with its expression and the names that `for` gives.

    `line` is that of the expression in its text, from 0 on. `cuts` says on which sides white space is cut off.
    """

    kind: Kind
    text: str = ""
    node: Any = None
    names: tuple[str, ...] = ()
    cuts: tuple[bool, bool] = (False, False)
    line: int = 0


class Branch(Data):
    """A directive with what is between it and its end; `other` stands behind `else`."""

    part: Part
    body: tuple[Part | Branch, ...] = ()
    other: tuple[Part | Branch, ...] = ()


def split(text: str) -> Iterator[Part]:
    """The pieces of a text, whose expressions are source still; raises Misfit."""
    begin = at = 0
    while (at := _next(text, at)) >= 0:
        if text[at : at + 2] == text[at] * 2:
            yield Part(kind="text", text=text[begin : at + 1])
            begin = at = at + 3
            yield Part(kind="text", text="{")
            continue
        yield Part(kind="text", text=text[begin:at])
        end = _end(text, at + 2)
        source = text[at + 2 : end - 1]
        cuts = (source.startswith("~"), source.endswith("~") and len(source) > 1)
        source = source[cuts[0] : len(source) - cuts[1]]
        line = text.count("\n", 0, at)
        found = Part(kind="value", text=source) if text[at] == "$" else _directive(source)
        yield found.but(cuts=cuts, line=line)
        begin = at = end
    yield Part(kind="text", text=text[begin:])


_MARK = re.compile(r"\$\$\{|%%\{|\$\{|%\{")


def _next(text: str, at: int) -> int:
    found = _MARK.search(text, at)
    return -1 if found is None else found.start()


def _end(text: str, at: int) -> int:
    """Behind the brace that closes one before `at`; quoted strings have braces of their own. Raises Misfit."""
    depth = 1
    while at < len(text):
        character = text[at]
        at += 1
        if character == '"':
            at = _string_end(text, at)
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return at
    raise Misfit("a `${` or `%{` has no end")


def _string_end(text: str, at: int) -> int:
    while at < len(text):
        if text[at] == '"':
            return at + 1
        if text[at] == "\\":
            at += 2
        elif text.startswith("${", at):
            at = _end(text, at + 2)
        else:
            at += 1
    raise Misfit("a string has no end")


def _directive(source: str) -> Part:
    source = source.strip()
    if source in _ENDS:
        return Part(kind=_ENDS[source])
    if match := _IF.match(source):
        return Part(kind="if", text=match[1])
    if match := _FOR.match(source):
        return Part(kind="for", text=match[3], names=tuple(name for name in match.groups()[:2] if name))
    raise Misfit(f"`%{{{source}}}` is neither if, else, endif, for nor endfor")


def assembled(parts: Sequence[Part]) -> tuple[Part | Branch, ...]:
    """Directives with what they hold, white space cut off where `~` says so; raises Misfit."""
    cut = list(_cut(parts))
    found, left = _sequence(cut, 0)
    if left < len(cut):
        raise Misfit(f"`%{{{cut[left].kind}}}` has nothing to end")
    return found


def _cut(parts: Sequence[Part]) -> Iterator[Part]:
    for at, part in enumerate(parts):
        if part.kind != "text":
            yield part
            continue
        text = part.text
        if at and parts[at - 1].cuts[1]:
            text = text.lstrip()
        if at + 1 < len(parts) and parts[at + 1].cuts[0]:
            text = text.rstrip()
        if text:
            yield part.but(text=text)


def _sequence(parts: Sequence[Part], at: int) -> tuple[tuple[Part | Branch, ...], int]:
    found: list[Part | Branch] = []
    while at < len(parts) and parts[at].kind not in _ENDS:
        part = parts[at]
        at += 1
        if part.kind not in ("if", "for"):
            found.append(part)
            continue
        body, at = _sequence(parts, at)
        other: tuple[Part | Branch, ...] = ()
        if part.kind == "if" and at < len(parts) and parts[at].kind == "else":
            other, at = _sequence(parts, at + 1)
        if at >= len(parts) or parts[at].kind != f"end{part.kind}":
            raise Misfit(f"`%{{{part.kind} ...}}` has no `%{{end{part.kind}}}`")
        at += 1
        found.append(Branch(part=part, body=body, other=other))
    return tuple(found), at


def unindented(text: str) -> str:
    """A heredoc of `<<-`: without the indentation that all its lines have."""
    lines = text.split("\n")
    widths = [len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()]
    width = min(widths, default=0)
    return "\n".join(line[width:] if line.strip() else line.lstrip(" \t") for line in lines)


def unescaped(source: str) -> str:
    """What stands in quotes, with the characters that a backslash stands before."""

    def one(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] in "uU" and len(code) > 1:
            return chr(int(code[1:], 16)).encode("utf-8", "replace").decode()
        return _ESCAPES.get(code, match[0])

    return _ESCAPE.sub(one, source)
