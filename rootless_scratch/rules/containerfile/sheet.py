"""The lines of a Containerfile: where a finding is shown, and what a correction makes of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rootless_scratch.containerfile.document import Span, Token
from rootless_scratch.errors import redacted
from rootless_scratch.findings import Finding, Location, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.containerfile.document import Document, Instruction


class Sheet:
    """A document as its findings see it."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._lines = [line.removesuffix("\r") for line in document.text.removeprefix("\ufeff").split("\n")]

    def line(self, number: int) -> str:
        """The text of a line; empty where there is none."""
        return self._lines[number - 1] if 0 < number <= len(self._lines) else ""

    def lines(self, span: Span) -> list[str]:
        """The lines of a part of the file, whole."""
        return self._lines[span.line - 1 : span.end_line]

    def location(self, span: Span, corrected: str | None = None) -> Location:
        """Where a part of the file stands; `corrected` are its lines as they ought to be."""
        return Location(
            path=self.document.path,
            line=span.line,
            column=span.column,
            end_line=span.end_line,
            end_column=span.end_column,
            text=redacted(self.line(span.line), in_place=True),
            corrected=corrected,
        )

    def arguments(self, instruction: Instruction) -> Span:
        """The arguments of an instruction, the bracket of an array included; the whole of it where it has none."""
        if instruction.inner is not None and instruction.name != "ONBUILD":
            return self.arguments(instruction.inner)
        if not instruction.tokens:
            return instruction.span
        first, last = instruction.tokens[0].span, instruction.span
        line, column = first.line, first.column
        while instruction.exec_form is not None and line >= last.line:
            bracket = self.line(line).rfind("[", 0, column - 1 if line == first.line else None)
            if bracket >= 0:
                column = bracket + 1
                break
            line -= 1
        return Span(line=line, column=column, end_line=last.end_line, end_column=last.end_column)

    def replaced(self, span: Span, text: str) -> str:
        """The lines of a part of the file with `text` in its place."""
        return self.line(span.line)[: span.column - 1] + text + self.line(span.end_line)[span.end_column - 1 :]

    def followed(self, span: Span, line: str) -> str:
        """The lines of an instruction, and one more behind them."""
        return "\n".join((*self.lines(span), line))

    def flagged(self, instruction: Instruction, flag: str) -> tuple[Span, str]:
        """Where a flag goes that an instruction does not have yet, and the line with it."""
        column = instruction.span.column + len(instruction.name)
        begin = Span(
            line=instruction.span.line,
            column=instruction.span.column,
            end_line=instruction.span.line,
            end_column=column,
        )
        line = self.line(begin.line)
        return begin, f"{line[: column - 1]} {flag}{line[column - 1 :]}"

    def finding(
        self,
        rule: str,
        severity: Severity,
        at: Instruction | Token | Span,
        message: str,
        fix: str,
        *,
        subject: str = "",
        corrected: str | None = None,
    ) -> Finding:
        """A finding about an instruction, one of its arguments, or a part of the file."""
        span, name = (at, "") if isinstance(at, Span) else (at.span, at.raw if isinstance(at, Token) else at.name)
        location = self.location(span, corrected)
        return Finding(
            rule=rule,
            severity=severity,
            subject=redacted(subject or name),
            message=message,
            fix=fix,
            location=location,
        )


def exec_array(argv: Sequence[str]) -> str:
    """A command in exec form."""
    return json.dumps(list(argv), ensure_ascii=not all(argument.isprintable() for argument in argv))
