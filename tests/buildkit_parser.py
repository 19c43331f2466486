"""What BuildKit's own parser (the package `dockerfile`) reads from a file, and what we do, in its form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dockerfile

from rootless_scratch.containerfile.parsing import parse

if TYPE_CHECKING:
    from rootless_scratch.containerfile.document import Document, Instruction


def instructions(document: Document) -> list[Instruction]:
    of_stages = [each for stage in document.stages for each in (stage.begin, *stage.instructions)]
    return [*document.global_arguments, *of_stages]


def arguments(instruction: Instruction) -> tuple[str, ...]:
    """What BuildKit's parser gives as arguments."""
    inner = instruction.inner
    if inner and instruction.name == "ONBUILD":
        return arguments(inner)
    if inner:
        return (instruction.tokens[0].raw, *arguments(inner))
    if instruction.exec_form is not None:
        return instruction.exec_form
    if instruction.name in ("RUN", "CMD", "ENTRYPOINT", "NONE"):
        return (instruction.text,) if instruction.text else ()
    if instruction.name in ("ENV", "LABEL"):
        return tuple(token.raw for pair in instruction.pairs for token in pair if token)
    return tuple(token.raw for token in instruction.tokens)


def by_us(document: Document) -> list[tuple[object, ...]]:
    return [
        (
            each.last_line,
            each.name,
            each.inner.name if each.inner and each.name == "ONBUILD" else None,
            arguments(each),
            tuple(f"--{flag.name}" + ("" if flag.value is None else f"={flag.value}") for flag in each.flags),
            [heredoc.name for heredoc in each.heredocs] if each.name != "ONBUILD" else [],
        )
        for each in instructions(document)
    ]


def is_read_the_same(text: str) -> bool:
    """Whether BuildKit reads the same; what we leave out as malformed it refuses in its parser, or behind it."""
    document = parse(text, "Containerfile")
    ours = by_us(document)
    try:
        theirs = by_buildkit(text)
    except dockerfile.GoParseError:
        return bool(document.faults)
    lines = {line for line, *_ in ours}
    return ours == [each for each in theirs if not document.faults or each[0] in lines]


def by_buildkit(text: str) -> list[tuple[object, ...]]:
    return [
        (
            each.end_line,
            (each.cmd or "").upper(),
            each.sub_cmd.upper() if each.sub_cmd else None,
            each.value,
            each.flags,
            [heredoc.name for heredoc in each.heredocs],
        )
        for each in dockerfile.parse_string(text)
    ]
