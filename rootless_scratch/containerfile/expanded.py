"""Arguments with their variables expanded, and why an instruction cannot be evaluated, with where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.containerfile.document import Fault, Instruction, Span, Token
from rootless_scratch.containerfile.evaluated import Noted
from rootless_scratch.containerfile.expanding import ExpandError, Expansion, Use, expansion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rootless_scratch.containerfile.scopes import StageScope

_QUIET = frozenset(("-", ":-", "+", ":+", "?", ":?"))
"""Operators by which a file says itself that a variable may be unset."""


class InstructionError(Exception):
    """An instruction that cannot be evaluated: the Fault says which part of it, and why."""

    def __init__(self, message: str, *, fix: str, span: Span, what: str = "") -> None:
        super().__init__(message)
        self.fault = Fault(message=message, fix=fix, span=span, what=what)


def expanded(token: Token, variables: Mapping[str, str], escape: str) -> Expansion:
    """What an argument comes to; raises InstructionError."""
    if "$" not in token.raw and '"' not in token.raw and "'" not in token.raw and escape not in token.raw:
        parts = tuple(token.raw.split()) if token.raw else ()
        return Expansion(text=token.raw, arguments=parts, used=(), undefined=())
    try:
        return expansion(token.raw, variables, escape=escape)
    except ExpandError as error:
        at = part_of(token, error.offset, error.offset + 1)
        raise InstructionError(error.message, fix=error.fix, span=at) from error


def text_of(instruction: Instruction) -> Token:
    """All arguments of an instruction as one, as those have it that take one."""
    if not instruction.tokens:
        return Token(raw=instruction.text, span=instruction.span)
    first, last = instruction.tokens[0].span, instruction.tokens[-1].span
    span = Span(line=first.line, column=first.column, end_line=last.end_line, end_column=last.end_column)
    return Token(raw=instruction.text, span=span)


def part_of(token: Token, start: int, end: int) -> Span:
    """Where a part of an argument stands; all of it, where that has several lines."""
    span = token.span
    if span.line != span.end_line or span.end_column - span.column != len(token.raw):
        return span
    end_column = span.column + max(end, start + 1)
    return Span(line=span.line, column=span.column + start, end_line=span.line, end_column=end_column)


class Expander:
    """Expands the arguments of one stage; what no ARG and no ENV sets is noted."""

    def __init__(self, scope: StageScope, escape: str, noted: list[Noted]) -> None:
        self.scope = scope
        self.escape = escape
        self._noted = noted

    def expand(self, instruction: Instruction, token: Token) -> Expansion:
        """What an argument comes to; raises InstructionError."""
        found = expanded(token, self.scope.variables, self.escape)
        if found.undefined:
            self._noted.extend(self._unknown(instruction, token, found.used))
        return found

    def text(self, instruction: Instruction, token: Token | None = None) -> str:
        """The same as one text; by default of all arguments of the instruction."""
        return self.expand(instruction, token or text_of(instruction)).text

    def _unknown(self, instruction: Instruction, token: Token, used: tuple[Use, ...]) -> Iterator[Noted]:
        for use in used:
            if self.scope.knows(use.name) or use.operator in _QUIET:
                continue
            above = self.scope.above
            is_global = use.name in above.declared or above.is_platform(use.name)
            yield Noted(
                what="argument-not-redeclared" if is_global else "undeclared-argument",
                instruction=instruction,
                token=Token(raw=token.raw[use.start : use.end], span=part_of(token, use.start, use.end)),
                values=(use.name,),
            )
