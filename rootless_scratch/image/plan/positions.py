"""Where keys and values stand in a text of TOML, which tomllib has read already and does not tell.

The text is valid, so nothing is checked here: what a value is made of matters only as far as its end.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from typing import NamedTuple

from rootless_scratch.expressions import expression

_BLANK = expression(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = expression(r"[A-Za-z0-9_-]+")
_QUOTED = expression(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'')
_STRING = expression(
    r'"""(?:[^\\]|\\.)*?"""(?!")|\'\'\'.*?\'\'\'(?!\')|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_OTHER = expression(r"[^,\]}\n#]*")

Path = tuple[str | int, ...]
"""The keys and indices that lead to a value."""


class Position(NamedTuple):
    """A line and a column, in characters from 1."""

    line: int
    column: int


class Positions(NamedTuple):
    """By their paths: where each key, or element of an array, and each value begins."""

    keys: dict[Path, Position]
    values: dict[Path, Position]

    def of(self, path: Path, *, value: bool = False) -> Position:
        """Where it stands, or the nearest that holds it."""
        for end in range(len(path), 0, -1):
            found = (self.values if value else self.keys).get(path[:end]) or self.keys.get(path[:end])
            if found is not None:
                return found
        return Position(1, 1)


def positions(text: str) -> Positions:
    """Of all that the text has; of a table of several headers, the first."""
    return _Scanner(text).document()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._found = Positions({}, {})
        self._counts: dict[Path, int] = {}

    def document(self) -> Positions:
        table: Path = ()
        self._skip()
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip()
        return self._found

    def _header(self) -> Path:
        start = self._at
        several = self._text.startswith("[[", start)
        self._at += 1 + several
        path: Path = ()
        keys = self._keys()
        for name, begin in keys:
            path = self._last((*path, name))
            self._note(path, begin, start)
        if several:
            whole: Path = tuple(path)
            count = self._counts.get(whole, 0)
            self._counts[whole] = count + 1
            path = (*whole, count)
            self._note(path, start, start)
        self._at += 1 + several
        return path

    def _last(self, path: Path) -> Path:
        """What a header means by a key: of an array of tables its last one, unless it is about to add another."""
        name = path[:-1]
        count = self._counts.get(name, 0)
        return (*name, count - 1, path[-1]) if count else path

    def _pair(self, table: Path) -> None:
        path = table
        for name, begin in self._keys():
            path = (*path, name)
            self._note(path, begin)
        self._at += 1  # the equals sign
        self._skip()
        self._found.values.setdefault(path, self._position(self._at))
        self._value(path)

    def _keys(self) -> list[tuple[str, int]]:
        """A key with all its parts, each with where it begins; ends at what follows."""
        parts = []
        while True:
            self._skip()
            begin = self._at
            found = _QUOTED.match(self._text, begin) or _BARE.match(self._text, begin)
            text = "" if found is None else found.group()
            name = tomllib.loads(f"key = {text}")["key"] if text.startswith(('"', "'")) else text
            parts.append((name, begin))
            self._at += len(text)
            self._skip()
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1

    def _value(self, path: Path) -> None:
        start = self._text[self._at : self._at + 1]
        if start == "[":
            self._several(path, "]")
        elif start == "{":
            self._several(path, "}")
        else:
            found = _STRING.match(self._text, self._at) or _OTHER.match(self._text, self._at)
            self._at = len(self._text) if found is None else found.end()

    def _several(self, path: Path, end: str) -> None:
        self._at += 1
        index = 0
        self._skip()
        while self._at < len(self._text) and not self._text.startswith(end, self._at):
            if end == "}":
                self._pair(path)
            else:
                self._note((*path, index), self._at, self._at)
                self._value((*path, index))
            index += 1
            self._skip()
            if self._text.startswith(",", self._at):
                self._at += 1
                self._skip()
        self._at += 1

    def _note(self, path: Path, key: int, value: int | None = None) -> None:
        self._found.keys.setdefault(path, self._position(key))
        if value is not None:
            self._found.values.setdefault(path, self._position(value))

    def _skip(self) -> None:
        found = _BLANK.match(self._text, self._at)
        if found is not None:
            self._at = found.end()

    def _position(self, offset: int) -> Position:
        line = bisect.bisect(self._starts, offset)
        return Position(line, offset - self._starts[line - 1] + 1)
