"""A Document in lines that a person can compare with its file: what tests/containerfiles/grammar holds as answers.

NAME LINE:COLUMN-LINE:COLUMN --flag=«value»LINE:COLUMN «token»LINE:COLUMN ... [exec form] trouble ... to LINE
  heredoc, named, and the instruction inside of ONBUILD or HEALTHCHECK, each on a line of its own
fault LINE:COLUMN-LINE:COLUMN what is wrong
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.containerfile.document import Document, Instruction, Span, Token


def outline(document: Document) -> str:
    """All of a document, one line for each thing in it."""
    return "".join(f"{line}\n" for line in _lines(document))


def _lines(document: Document) -> Iterator[str]:
    for name, value in document.directives:
        yield f"directive {name} = {value}"
    for instruction in document.global_arguments:
        yield from _instruction(instruction)
    for stage in document.stages:
        yield from _instruction(stage.begin)
        if stage.name is not None:
            yield f"  named {stage.name}"
        for instruction in stage.instructions:
            yield from _instruction(instruction)
    for fault in document.faults:
        yield f"{'tolerated' if fault.tolerated else 'fault'} {_span(fault.span)} {fault.message}"


def _instruction(instruction: Instruction) -> Iterator[str]:
    parts = [instruction.name, _span(instruction.span)]
    for flag in instruction.flags:
        value = "" if flag.value is None else f"=«{flag.value}»"
        parts.append(f"--{flag.name}{value}{_at(flag.span)}")
    if instruction.pairs:
        for name, worth in instruction.pairs:
            middle = " " if instruction.spaced else "="
            parts.append(_token(name) + (f"{middle}{_token(worth)}" if worth else ""))
    else:
        parts += map(_token, instruction.tokens)
    if instruction.exec_form is not None:
        parts.append(json.dumps(instruction.exec_form, ensure_ascii=False))
    if instruction.array_trouble:
        strings = json.dumps(instruction.array_strings, ensure_ascii=False)
        parts.append(f"trouble {instruction.array_trouble} {strings}")
    if instruction.last_line != instruction.span.end_line:
        parts.append(f"to {instruction.last_line}")
    yield " ".join(parts)
    for heredoc in instruction.heredocs:
        how = "expands" if heredoc.expands else "literal"
        yield f"  heredoc {heredoc.name} {_span(heredoc.span)} {how} {json.dumps(heredoc.body)}"
    if instruction.inner:
        yield from (f"  {line}" for line in _instruction(instruction.inner))


def _token(token: Token) -> str:
    return f"«{token.raw}»{_at(token.span)}"


def _at(span: Span) -> str:
    end = f"-{span.end_line}:{span.end_column}" if span.end_line != span.line else ""
    return f"{span.line}:{span.column}{end}"


def _span(span: Span) -> str:
    return f"{span.line}:{span.column}-{span.end_line}:{span.end_column}"
