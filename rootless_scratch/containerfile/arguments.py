"""The arguments of an instruction, taken apart as BuildKit does it; offsets are those in a logical line.

    flags   = *( "--" NAME [ "=" value ] BLANKS ) [ "--" BLANKS ]     quotes and escapes are resolved
    quoted  = 1*( character | ESCAPE character | 'text' | "text" )    of ENV, LABEL, ARG; kept as they are written
    bare    = 1*( what is not blank )                                 of COPY, ADD, VOLUME, FROM, EXPOSE: no quotes
    array   = "[" [ JSON-string *( "," JSON-string ) ] "]"            and nothing behind it

No expression here goes over the same text twice: each alternative begins with a character of its own. No group
is possessive: Python 3.11 does not go back to its begin where an alternative within one fails.
"""

from __future__ import annotations

import json
import re
from functools import cache
from json.decoder import scanstring  # type: ignore[attr-defined] # it is there, and documented by its users

from rootless_scratch.containerfile.document import Record
from rootless_scratch.containerfile.reading import BLANK, SPACES
from rootless_scratch.expressions import expression

Part = tuple[int, int]
"""Where something begins and ends."""


class Array(Record, frozen=True):
    """What begins like a JSON array: its strings with their places, and in `trouble` why it is none.

    That is "" for an array, those of Instruction.array_trouble, and `strings` where it has other values.
    """

    strings: tuple[str, ...]
    parts: tuple[Part, ...]
    trouble: str


@cache
def _quoted(escape: str) -> re.Pattern[str]:
    own = re.escape(escape)
    return re.compile(
        rf"(?:[^{SPACES}'\"{own}]++|{own}.|'[^']*+'?|\"(?:[^\"{own}]++|{own}.)*\"?)+",
        re.DOTALL,
    )


@cache
def _flag(escape: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    own = re.escape(escape)
    inner = rf"'((?:[^'{own}]++|{own}.)*)'?|\"((?:[^\"{own}]++|{own}.)*)\"?"
    return (
        re.compile(rf"--(?:[^{SPACES}'\"{own}]++|{own}.|{inner}|{own}\Z)*", re.DOTALL),
        re.compile(rf"{inner}|{own}(.?)", re.DOTALL),
    )


_BARE = expression(f"[^{BLANK}]++")
_SPACES = expression(f"[{SPACES}]*+")
_TROUBLES = {"'": "quotes", "]": "comma"}
_CLOSED = expression(r'"(?:[^"\\]++|\\.)*"', re.DOTALL)
_JSON_SPACES = expression(r"[\t\n\r ]*+")


def quoted(text: str, start: int, end: int, escape: str) -> list[Part]:
    """Parts at white space outside of quotes. An escape character that stands last is not one of them."""
    return [found.span() for found in _quoted(escape).finditer(text, start, end)]


def bare(text: str, start: int, end: int) -> list[Part]:
    """Parts at blanks, whatever quotes there are."""
    return [found.span() for found in _BARE.finditer(text, start, end)]


def flags(text: str, start: int, end: int, escape: str) -> tuple[list[tuple[str, Part]], int]:
    """Values without quotes of all that begins with `--`, and where the arguments begin."""
    whole, inner = _flag(escape)
    found: list[tuple[str, Part]] = []
    while True:
        start = _end(_SPACES, text, start, end)
        flag = whole.match(text, start, end)
        if not flag:
            return found, start
        value = flag[0]
        if "'" in value or '"' in value or escape in value:
            value = inner.sub(lambda part: _unescaped(part, escape), value)
        if value == "--":
            return found, _end(_SPACES, text, flag.end(), end)
        found.append((value, flag.span()))
        start = flag.end()


def _unescaped(part: re.Match[str], escape: str) -> str:
    single, double, one = part.groups()
    if one is not None:
        return str(one)
    within = str(single if single is not None else double)
    return re.sub(rf"{re.escape(escape)}(.?)", r"\1", within, flags=re.DOTALL) if escape in within else within


def _end(pattern: re.Pattern[str], text: str, start: int, end: int) -> int:
    found = pattern.match(text, start, end)
    return found.end() if found else start


def array(text: str, start: int, end: int) -> Array | None:
    """The JSON array of strings from here to the end; None where nothing like it begins."""
    if not text.startswith("[", start):
        return None
    found: list[tuple[str, Part]] = []
    trouble = _strings(text, start, end, found)
    if trouble == "other" and _has_other_values(text[start:end]):
        trouble = "strings"
    strings, parts = zip(*found, strict=True) if found else ((), ())
    return Array(strings=strings, parts=parts, trouble=trouble)


def _strings(text: str, start: int, end: int, found: list[tuple[str, Part]]) -> str:
    """Read the strings of an array; returns its trouble."""
    at = _end(_JSON_SPACES, text, start + 1, end)
    closed = text.startswith("]", at)
    while not closed:
        if at >= end:
            return "end"
        if text[at] != '"':
            return _TROUBLES.get(text[at], "other")
        try:
            value, after = scanstring(text, at + 1, True)  # noqa: FBT003 - json's own function has no names
        except ValueError:
            return "other" if _CLOSED.match(text, at, end) else "end"
        found.append((value, (at, after)))
        at = _end(_JSON_SPACES, text, after, end)
        closed = text.startswith("]", at)
        if not closed and at < end:
            if text[at] != ",":
                return "other"
            at = _end(_JSON_SPACES, text, at + 1, end)
    return "rest" if _end(_JSON_SPACES, text, at + 1, end) < end else ""


def _has_other_values(text: str) -> bool:
    """Whether it is a JSON array all the same, of numbers for instance: builders refuse that."""
    try:
        return isinstance(json.loads(text, parse_constant=_no_constant), list)
    except (ValueError, RecursionError):
        return False


def _no_constant(name: str) -> object:
    raise ValueError(name)
