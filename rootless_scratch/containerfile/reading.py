r"""The lines of a Containerfile: physical ones joined to logical ones, each character with where it stands.

file       = [byte order mark] directives *( blank | comment | instruction )
directive  = "#" NAME "=" VALUE            each once, and before anything else: syntax, escape, check
comment    = BLANKS "#" anything           also between continued lines
continued  = text ESCAPE BLANKS            joined with the next line that is no comment and not blank
ESCAPE     = "\" or what `# escape=` names; two of them continue nothing
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from rootless_scratch.containerfile.document import Fault, Record, Span
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Iterator

SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""What Unicode calls white space, inside a class of a regular expression; Python's own \\s has four more."""

BLANK = "\t\v\f\r "
"""What parts the arguments of those instructions that know no quotes."""

_AROUND = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_DIRECTIVE = expression(r"#[" + SPACES + r"]*+([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*([^\t\n\f\r ].*)")
_DIRECTIVES = ("syntax", "escape", "check")


MOST_FAULTS = 100
"""How many a file is told of; one more says how many there are besides."""


def trimmed(text: str) -> str:
    """The text without white space around it."""
    return text.strip(_AROUND)


def _bare(line: str) -> str:
    """The line without white space before it; for most lines the short list does."""
    line = line.lstrip(" \t")
    return line if line[:1].isprintable() else line.lstrip(_AROUND)


class Faults:
    """What is wrong with a file, up to a number of which nobody wants to read more."""

    def __init__(self) -> None:
        self.found: list[Fault] = []
        self.more = 0

    @property
    def full(self) -> bool:
        """Whether others are only counted."""
        return len(self.found) >= MOST_FAULTS

    def add(self, message: str, fix: str, span: Span, *, tolerated: bool = False) -> None:
        """Tell of one."""
        if self.full:
            self.more += 1
        else:
            self.found.append(Fault(message=message, fix=fix, span=span, tolerated=tolerated))

    def all(self) -> tuple[Fault, ...]:
        """Those to tell of, in the order of the file."""
        found = sorted(self.found, key=lambda fault: (fault.span.line, fault.span.column))
        if self.more:
            message = f"There are {self.more} parts more that cannot be read."
            found.append(Fault(message=message, fix="Correct the first ones.", span=found[-1].span))
        return tuple(found)


class Logical(Record, frozen=True):
    """Lines that are one: where its pieces stand, and the numbers of its lines, from 1.

    `starts` are the offsets in `text` at which pieces begin, `pieces` the line and the column of each.
    """

    text: str
    first: int
    last: int
    starts: list[int]
    pieces: list[tuple[int, int]]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of a character."""
        number = bisect_right(self.starts, offset) - 1
        line, column = self.pieces[number]
        return line, column + offset - self.starts[number]

    def span(self, start: int, end: int) -> Span:
        """Where a part of the text stands in the file; an empty one stands behind the character before it."""
        if end <= start:
            line, column = self.position(max(start - 1, 0))
            column += 1 if start else 0
            return Span(line=line, column=column, end_line=line, end_column=column)
        if len(self.pieces) == 1:
            line, column = self.pieces[0]
            return Span(line, column + start, line, column + end)
        line, column = self.position(start)
        end_line, end_column = self.position(end - 1)
        return Span(line, column, end_line, end_column + 1)


class Lines:
    """The physical lines of a file, read from the first to the last."""

    def __init__(self, text: str) -> None:
        self.text = text.removeprefix("\ufeff")
        self.lines = self.text.split("\n")
        if not self.lines[-1]:
            self.lines.pop()
        self.next = 0
        self.directives: list[tuple[str, str]] = []
        self.faults = Faults()
        self.escape = "\\"
        self._ends: dict[bool, dict[str, list[int]]] = {}
        self._directives()

    def _directives(self) -> None:
        for number, line in enumerate(self.lines, 1):
            found = _DIRECTIVE.match(line.lstrip(_AROUND))
            if not found or (name := found[1].lower()) not in _DIRECTIVES:
                return
            value = found[2].rstrip("\t\n\f\r ")
            column = len(line) - len(line.lstrip(_AROUND)) + 1
            span = Span(line=number, column=column, end_line=number, end_column=len(line.rstrip(_AROUND)) + 1)
            if any(name == other for other, _ in self.directives):
                self.faults.add(f"The directive `# {name}=` stands here again.", "Remove one of the two.", span)
                continue
            self.directives.append((name, value))
            if name == "escape" and value in ("\\", "`"):
                self.escape = value
            elif name == "escape":
                self.faults.add(
                    "The escape character is neither a backslash nor a backtick.",
                    "Name one of the two behind `# escape=`, or remove the line.",
                    span,
                )

    def logical(self) -> Iterator[Logical]:
        """The logical lines; `next` may be moved on between two of them."""
        while self.next < len(self.lines):
            first = self.next
            line = self.lines[first].rstrip("\r")
            bare = _bare(line)
            self.next += 1
            if not bare or bare[0] == "#":
                continue
            text, more = _cut(bare, self.escape)
            starts, pieces, texts, length = [0], [(first + 1, len(line) - len(bare) + 1)], [text], len(text)
            while more and self.next < len(self.lines):
                line = self.lines[self.next].rstrip("\r")
                self.next += 1
                bare = _bare(line)
                if not bare or bare[0] == "#":
                    continue
                text, more = _cut(line, self.escape)
                if text:
                    starts.append(length)
                    pieces.append((self.next, 1))
                    texts.append(text)
                    length += len(text)
            yield Logical(text="".join(texts), first=first + 1, last=self.next, starts=starts, pieces=pieces)

    def terminator(self, name: str, *, tabs: bool) -> int | None:
        """The index of the next line that ends a heredoc of this name; with `tabs` it may begin with some."""
        if tabs not in self._ends:
            ends: dict[str, list[int]] = {}
            for number, line in enumerate(self.lines):
                line = line.rstrip("\r")  # noqa: PLW2901 - the same line
                ends.setdefault(line.lstrip("\t") if tabs else line, []).append(number)
            self._ends[tabs] = ends
        numbers = self._ends[tabs].get(name, [])
        at = bisect_left(numbers, self.next)
        return numbers[at] if at < len(numbers) else None

    @property
    def count(self) -> int:
        """How many lines there are."""
        return len(self.lines)

    def original(self, span: Span, last: int) -> str:
        """What stands in the file from the begin of a span to the end of a line, by its number."""
        first, *others = self.lines[span.line - 1 : last]
        return "\n".join((first[span.column - 1 :], *others)).rstrip("\r")

    def between(self, start: int, end: int) -> str:
        """The lines of these indexes with their ends, as the file has them."""
        if start >= end:
            return ""
        whole = end < len(self.lines) or self.text.endswith("\n")
        return "\n".join(self.lines[start:end]) + ("\n" if whole else "")


def _cut(line: str, escape: str) -> tuple[str, bool]:
    """The line without what continues it, and whether something does."""
    bare = line.rstrip(" \t")
    if bare.endswith(escape) and not bare.endswith(escape, 0, len(bare) - 1):
        return bare[:-1], True
    return line, False
