"""Variables in the arguments of a Containerfile, quotes and escapes resolved: what BuildKit's shell lexer does.

    text     = *( character | ESCAPE character | quoted | variable )
    quoted   = "'" anything "'" | '"' *( character | ESCAPE ( '"' | "$" | ESCAPE ) | variable ) '"'
    variable = "$" NAME | "${" NAME [ operator ] "}"
    operator = ( "-" | ":-" | "+" | ":+" | "?" | ":?" ) text          default, alternative, error
             | ( "#" | "##" | "%" | "%%" ) pattern                     without a prefix or a suffix
             | ( "/" | "//" ) pattern "/" text                         replaced once, everywhere
    NAME     = 1*( letter | digit | "_" ) | one of @ * # ? - $ ! 0, which have no value

The text is from anybody: nesting, the size of a result and the work of a pattern have limits.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from rootless_scratch.containerfile.document import Record
from rootless_scratch.containerfile.patterns import PatternError, replaced, without_prefix, without_suffix
from rootless_scratch.containerfile.reading import SPACES
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEEPEST = 50
"""How deep `${A:-${B:-...}}` may go."""

LONGEST = 1 << 20
"""How many characters one text may come to."""

_SPECIAL = "@*#?-$!0"
_NAME = expression(r"[^\W\d]\w*+|\d++")
_SPACE = expression(f"[{SPACES}]")
_PARTS = expression(f"[{SPACES}]++|[^{SPACES}]++")
_HEREDOC_SPACES = expression(r"[\t\r ]*+")
_TOO_LONG = f"With its variables expanded this is longer than {LONGEST:,} characters.", "Shorten the values."
_TOO_MUCH = "All that the variables of this file come to is too long.", "Shorten the values."
_TOO_DEEP = f"Variables are nested deeper than {DEEPEST} levels.", "Write it with fewer levels."
_NO_NAME = "`${` is not followed by the name of a variable.", "Write `\\$` where no variable is meant."
_UNCLOSED = {
    "}": ("`${` is not closed.", "Add `}`, or write `\\$` where no variable is meant."),
    "/": ("The replacement in `${...}` lacks its second `/`.", "Write `${NAME/PATTERN/REPLACEMENT}`."),
}
_OPERATORS = "Use one of `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`."
_VALUE = "Set it with `--build-arg {0}=VALUE`, or give `ARG {0}` a default."


class ExpandError(Exception):
    """A text that cannot be expanded: one sentence of cause, one of fix, and the offset of what is wrong in it."""

    def __init__(self, message: str, *, fix: str, offset: int) -> None:
        self.message = message
        self.fix = fix
        self.offset = offset
        super().__init__(message)


class Budget:
    """How many characters all expansions of a file may come to: a short file can ask for any number of them."""

    def __init__(self, left: int = 1 << 26) -> None:
        self.left = left

    def spend(self, characters: int, offset: int) -> None:
        """Take that many; raises ExpandError when none is left."""
        self.left -= characters
        if self.left < 0:
            raise _error(*_TOO_MUCH, offset)


class Use(Record, frozen=True, gc=False):
    """A variable that a text uses: its name, and where `$NAME` or `${NAME...}` begins and its name ends.

    `operator` is that of `${NAME...}`, e.g. `:-`, else "".
    """

    name: str
    start: int
    end: int
    operator: str


class Expansion(Record, frozen=True):
    """What a text comes to: whole, and as the arguments that it makes when white space outside quotes splits it.

    `undefined` are the names of variables that it uses and that have no value.
    """

    text: str
    arguments: tuple[str, ...]
    used: tuple[Use, ...]
    undefined: tuple[str, ...]


def expand(raw: str, variables: Mapping[str, str], *, escape: str = "\\", budget: Budget | None = None) -> str:
    """The text with its variables expanded and without quotes; raises ExpandError."""
    return expansion(raw, variables, escape=escape, budget=budget).text


def split_expanded(
    raw: str, variables: Mapping[str, str], *, escape: str = "\\", budget: Budget | None = None
) -> tuple[str, ...]:
    """The same where white space that a value brings splits, as in EXPOSE; raises ExpandError."""
    return expansion(raw, variables, escape=escape, budget=budget).arguments


def expand_body(
    body: str, variables: Mapping[str, str], *, escape: str = "\\", budget: Budget | None = None
) -> str:
    """The lines of a heredoc with their variables expanded; quotes are only characters. Raises ExpandError."""
    return Lexer(body, variables, escape=escape, quotes="plain", budget=budget).run().text


def expansion(
    raw: str, variables: Mapping[str, str], *, escape: str = "\\", budget: Budget | None = None
) -> Expansion:
    """All that is known of an expansion; raises ExpandError."""
    return Lexer(raw, variables, escape=escape, budget=budget).run()


def variables_of(raw: str, *, escape: str = "\\", body: bool = False) -> tuple[Use, ...]:
    """The variables that a text uses, in their order, up to the first error; `body` is that of a heredoc."""
    lexer = Lexer(raw, {}, escape=escape, quotes="plain" if body else "resolved", keep_unset=True)
    with suppress(ExpandError):
        lexer.run()
    return tuple(lexer.uses)


class Argument(Record, frozen=True, gc=False):
    """An argument of those that a text makes, with where it begins and ends in that."""

    text: str
    start: int
    end: int


@cache
def _plain(escape: str, stop: str) -> re.Pattern[str]:
    return re.compile(f"[^{SPACES}$<'\"{re.escape(escape + stop)}]++")


@cache
def _double(escape: str) -> re.Pattern[str]:
    return re.compile(f'[^"${re.escape(escape)}]++')


class Lexer:
    """One pass over one text. `quotes` are resolved, kept, or plain characters that mean nothing.

    With `keep_escapes` those stay as well; with `keep_unset` a variable without value stays as it is written.
    """

    def __init__(
        self,
        text: str,
        variables: Mapping[str, str],
        *,
        escape: str = "\\",
        quotes: str = "resolved",
        keep_escapes: bool = False,
        keep_unset: bool = False,
        budget: Budget | None = None,
    ) -> None:
        self.text = text
        self.variables = variables
        self.escape = escape
        self.quotes = quotes
        self.keep_escapes = keep_escapes
        self.keep_unset = keep_unset
        self.budget = budget
        self.at = 0
        self.depth = 0
        self.size = 0
        self.uses: list[Use] = []
        self.arguments: list[Argument] = []
        self._open: list[str] = []
        self._began = 0

    def run(self) -> Expansion:
        """Expand all of the text; raises ExpandError."""
        text = self._until("", keep_escapes=self.keep_escapes)
        self._close(len(self.text))
        undefined = dict.fromkeys(use.name for use in self.uses if use.name not in self.variables)
        return Expansion(
            text=text,
            arguments=tuple(argument.text for argument in self.arguments),
            used=tuple(self.uses),
            undefined=tuple(undefined),
        )

    def _until(self, stop: str, *, keep_escapes: bool, opened: int = 0) -> str:
        """What comes up to the character that stops it, which is passed over, or to the end."""
        top = not stop
        text, plain = self.text, _plain(self.escape, stop)
        found: list[str] = []
        while self.at < len(text):
            start, character = self.at, text[self.at]
            if character == stop:
                self.at += 1
                return "".join(found)
            splits = False
            if match := plain.match(text, start):
                piece, self.at = match[0], match.end()
            elif character == "$":
                piece, splits = self._variable(), True
            elif character in "'\"" and self.quotes != "plain":
                piece = self._single() if character == "'" else self._double(keep_escapes=keep_escapes)
            elif character == "<":
                piece = self._less()
            elif character == self.escape:
                piece = text[start : start + 2] if keep_escapes else text[start + 1 : start + 2]
                self.at += 2
            else:
                piece, splits = character, True
                self.at += 1
            found.append(self._bounded(piece, start))
            if top:
                self._add(piece, start, splits=splits)
        if stop:
            raise _error(*_UNCLOSED[stop], opened)
        return "".join(found)

    def _bounded(self, piece: str, start: int) -> str:
        self.size += len(piece)
        if self.size > LONGEST:
            raise _error(*_TOO_LONG, start)
        self._spend(len(piece), start)
        return piece

    def _spend(self, characters: int, start: int) -> None:
        if self.budget:
            self.budget.spend(characters, start)

    def _add(self, piece: str, start: int, *, splits: bool) -> None:
        if not splits or not _SPACE.search(piece):
            if piece and not self._open:
                self._began = start
            if piece:
                self._open.append(piece)
            return
        for part in _PARTS.findall(piece):
            if _SPACE.match(part):
                self._close(start)
            else:
                if not self._open:
                    self._began = start
                self._open.append(part)

    def _close(self, end: int) -> None:
        if self._open:
            self.arguments.append(Argument(text="".join(self._open), start=self._began, end=end))
            self._open = []

    def _single(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise _error("The single quote is not closed.", "Add `'`, or escape it.", self.at)
        start, self.at = self.at, end + 1
        return self.text[start : end + 1] if self.quotes == "kept" else self.text[start + 1 : end]

    def _double(self, *, keep_escapes: bool) -> str:
        text, start, plain = self.text, self.at, _double(self.escape)
        found = ['"'] if self.quotes == "kept" else []
        self.at += 1
        while self.at < len(text):
            character = text[self.at]
            if match := plain.match(text, self.at):
                found.append(match[0])
                self.at = match.end()
            elif character == '"':
                self.at += 1
                return "".join([*found, '"'] if self.quotes == "kept" else found)
            elif character == "$":
                found.append(self._bounded(self._variable(), self.at))
            else:
                following = text[self.at + 1 : self.at + 2]
                if following and following in ('"', "$", self.escape):
                    found.append(character + following if keep_escapes else following)
                    self.at += 2
                else:
                    # In a pattern this backslash is meant as one.
                    found.append(character * 2 if keep_escapes else character)
                    self.at += 1
        raise _error("The double quote is not closed.", 'Add `"`, or escape it.', start)

    def _less(self) -> str:
        start = self.at
        self.at += 1
        if self.text.startswith("<", self.at):
            spaces = _HEREDOC_SPACES.match(self.text, self.at + 1)
            self.at = spaces.end() if spaces else self.at + 1
        return self.text[start : self.at]

    def _name(self) -> str:
        match = _NAME.match(self.text, self.at)
        name = match[0] if match else self.text[self.at : self.at + 1]
        if not match and (not name or name not in _SPECIAL):
            return ""
        self.at += len(name)
        return name

    def _variable(self) -> str:
        start = self.at
        self.at += 1
        if not self.text.startswith("{", self.at):
            name = self._name()
            if not name:
                return "$"
            self.uses.append(Use(name=name, start=start, end=self.at, operator=""))
            if self.keep_unset and name not in self.variables:
                return f"${name}"
            return self.variables.get(name, "")
        self.at += 1
        self.depth += 1
        if self.depth > DEEPEST:
            raise _error(*_TOO_DEEP, start)
        value = self._braced(start)
        self.depth -= 1
        return value

    def _braced(self, start: int) -> str:
        if self.at >= len(self.text):
            raise _error(*_UNCLOSED["}"], start)
        name = "" if self.text[self.at] in "{}:" else self._name()
        if not name:
            raise _error(*_NO_NAME, start)
        end = self.at
        operator = self.text[end : end + 2]
        operator = operator if operator[:1] == ":" else operator[:1]
        self.at += len(operator)
        value = self.variables.get(name)
        self._spend(len(value or ""), start)
        if operator == "}":
            self.uses.append(Use(name=name, start=start, end=end, operator=""))
            return f"${{{name}}}" if value is None and self.keep_unset else value or ""
        if operator == "/":
            return self._replaced(name, start, end)
        if not operator or operator in " \"'":
            raise _error(*_UNCLOSED["}"], start)
        if operator not in ("-", "+", "?", ":-", ":+", ":?", "#", "%"):
            raise _error(f"`${{{name}` is followed by an operator that does not exist.", _OPERATORS, start)
        self.uses.append(Use(name=name, start=start, end=end, operator=operator))
        argument = self._until("}", keep_escapes=operator in "#%", opened=start)
        if value is None and self.keep_unset:
            return f"${{{name}{operator}{argument}}}"
        return _operated(name, value, operator, argument, start)

    def _replaced(self, name: str, start: int, end: int) -> str:
        every = self.text.startswith("/", self.at)
        self.at += every
        self.uses.append(Use(name=name, start=start, end=end, operator="//" if every else "/"))
        pattern = self._until("/", keep_escapes=True, opened=start)
        replacement = self._until("}", keep_escapes=True, opened=start)
        value = self.variables.get(name)
        if value is None and self.keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        return _matched(replaced, value or "", pattern, start, replacement=replacement, every=every, limit=LONGEST)


def _operated(name: str, value: str | None, operator: str, argument: str, start: int) -> str:
    """The value of `${NAME OPERATOR argument}`."""
    if operator in "#%":
        greedy = argument.startswith(operator)
        without = without_prefix if operator == "#" else without_suffix
        return _matched(without, value or "", argument[greedy:], start, greedy=greedy)
    lacks = not value if operator[0] == ":" else value is None
    if operator[-1] == "?" and lacks:
        reason = argument or ("it has none." if value is None else "it is empty.")
        raise _error(f"The file demands a value of `{name}`: {reason}", _VALUE.format(name), start)
    if operator[-1] == "+":
        return "" if lacks else argument
    return argument if lacks and operator[-1] == "-" else value or ""


def _matched(match: Callable[..., str], value: str, pattern: str, start: int, **how: object) -> str:
    try:
        return match(value, pattern, **how)
    except PatternError as error:
        raise _error(error.message, error.fix, start) from error


def _error(message: str, fix: str, offset: int) -> ExpandError:
    return ExpandError(message, fix=fix, offset=offset)
