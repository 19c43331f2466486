"""A Containerfile, from its text to a Document: the instructions as BuildKit's parser takes them apart.

    instruction = NAME [ flags ] arguments            NAME in any case
    arguments   = array | command                     RUN, CMD, ENTRYPOINT; only an array for SHELL
                | array | bare                        COPY, ADD, VOLUME
                | bare                                FROM, EXPOSE
                | pair *( BLANKS pair ) | NAME BLANKS anything          ENV, LABEL
                | ( NAME | pair ) *( BLANKS ( NAME | pair ) )           ARG
                | "NONE" | "CMD" ( array | command )  HEALTHCHECK
                | instruction                         ONBUILD
                | anything                            USER, WORKDIR, STOPSIGNAL, MAINTAINER
    pair        = NAME "=" quoted

What is malformed becomes a Fault and is left out; only a FROM always begins a stage.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rootless_scratch.containerfile.document import Document, Instruction, Span, Stage, Token
from rootless_scratch.containerfile.heredocs import bodies
from rootless_scratch.containerfile.instructions import instruction_of
from rootless_scratch.containerfile.reading import Lines
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from rootless_scratch.containerfile.document import Heredoc
    from rootless_scratch.containerfile.reading import Logical

_HEREDOCS = ("ADD", "COPY", "RUN")
_STAGE_NAME = expression(r"[a-z][a-z0-9_.-]*", re.ASCII)
_WITH_HEREDOCS = expression(r"(?:ONBUILD[\t ]++)?(?:ADD|COPY|RUN)[\t ]", re.IGNORECASE)
_STAGE_PARTS = 3
_SHOWN = 40


def parse(text: str, path: str) -> Document:
    """Read a whole file. Whatever it holds, this returns: `faults` has what is wrong with it."""
    reading = _Reading(text)
    reading.read()
    lines = reading.lines
    return Document(
        path=path,
        text=lines.text,
        escape=lines.escape,
        directives=tuple(lines.directives),
        global_arguments=tuple(reading.global_arguments),
        stages=tuple(
            Stage(number=number, begin=begin, base=base, name=name, instructions=tuple(instructions))
            for number, (begin, base, name, instructions) in enumerate(reading.stages)
        ),
        faults=lines.faults.all(),
    )


class _Reading:
    """One pass over the lines of a file."""

    def __init__(self, text: str) -> None:
        self.lines = Lines(text)
        self.global_arguments: list[Instruction] = []
        self.stages: list[tuple[Instruction, Token, str | None, list[Instruction]]] = []
        self.names: set[str] = set()
        self.early = False

    def read(self) -> None:
        """Read the lines."""
        for logical in self.lines.logical():
            instruction = instruction_of(logical, self.lines.escape, self.lines.faults)
            if instruction:
                self._take(self._whole(logical, instruction))
            elif "<<" in logical.text and _WITH_HEREDOCS.match(logical.text):
                bodies(self.lines, logical)
        if not self.stages and not self.lines.faults.found:
            end = self._end()
            self.lines.faults.add(
                "The file has no FROM.", "Begin the stage with one, such as `FROM scratch`.", end
            )

    def _end(self) -> Span:
        line = max(len(self.lines.lines), 1)
        return Span(line=line, column=1, end_line=line, end_column=1)

    def _whole(self, logical: Logical, instruction: Instruction) -> Instruction:
        """The instruction with its heredocs and its text."""
        inner = instruction.inner
        where = inner if inner and instruction.name == "ONBUILD" else instruction
        heredocs: tuple[Heredoc, ...] = ()
        if where.name in _HEREDOCS and where.exec_form is None and "<<" in logical.text:
            heredocs = bodies(self.lines, logical)
        last = self.lines.next
        if inner:
            inner = inner.but(
                heredocs=heredocs if where is inner else (),
                last_line=last,
                original=self.lines.original(inner.span, last),
            )
        return instruction.but(
            inner=inner, heredocs=heredocs, last_line=last, original=self.lines.original(instruction.span, last)
        )

    def _take(self, instruction: Instruction) -> None:
        if instruction.name == "FROM":
            self._stage(instruction)
        elif self.stages:
            self.stages[-1][3].append(instruction)
        elif instruction.name == "ARG":
            self.global_arguments.append(instruction)
        elif not self.early:
            self.early = True
            self.lines.faults.add(
                f"{instruction.name} stands before the first FROM.",
                "Move it below a FROM: only ARG can stand above.",
                instruction.span,
            )

    def _stage(self, begin: Instruction) -> None:
        tokens = begin.tokens
        behind = Span(
            line=begin.span.end_line,
            column=begin.span.end_column,
            end_line=begin.span.end_line,
            end_column=begin.span.end_column,
        )
        base = tokens[0] if tokens else Token(raw="", span=behind)
        name = None
        if len(tokens) == _STAGE_PARTS and tokens[1].raw.lower() == "as":
            name = self._name(tokens[2])
        elif len(tokens) > 1:
            self.lines.faults.add(
                "FROM takes an image, or an image, AS and a name.", "Write `FROM IMAGE AS NAME`.", begin.span
            )
        elif not tokens:
            self.lines.faults.add("FROM lacks the image.", "Name one, or write `FROM scratch`.", begin.span)
        self.stages.append((begin, base, name, []))

    def _name(self, token: Token) -> str | None:
        name = token.raw.lower()
        if not _STAGE_NAME.fullmatch(name):
            self.lines.faults.add(
                f"A stage cannot be named `{token.raw[:_SHOWN]}`.",
                "Begin the name with a letter, and use only letters, digits, `_`, `-` and `.`.",
                token.span,
            )
            return None
        if name in self.names:
            self.lines.faults.add(
                f"There is another stage named `{name[:_SHOWN]}` above, which nothing below this can name.",
                "Give each stage a name of its own.",
                token.span,
                tolerated=True,
            )
        self.names.add(name)
        return name
