"""The part of a Containerfile that buildah needs for one stage, each line where the user's file has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.data import Value
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Mapping

    from rootless_scratch.containerfile.document import Document, Instruction, Stage

_COPYING = ("COPY", "ADD")
_MOUNT_FROM = expression(r"(?:^|,)from=([^,]+)")
_PLATFORM = expression(r"\$(\{)?((?:BUILD|TARGET)(?:PLATFORM|OS|ARCH|VARIANT))(?(1)\}|(?![A-Za-z0-9_]))")
_STEP = expression(r"(?:\[(\d+)/\d+\] )?STEP (\d+)/\d+: (.*)")

_SINCE: tuple[tuple[str, str, Callable[[Instruction], bool]], ...] = (
    ("a heredoc", "1.33", lambda each: bool(each.heredocs)),
    ("--link", "1.41", lambda each: each.name in _COPYING and each.flag("link") is not None),
    ("--parents", "1.39", lambda each: each.name in _COPYING and each.flag("parents") is not None),
    ("--exclude", "1.39", lambda each: each.name in _COPYING and each.flag("exclude") is not None),
)
"""What older versions of buildah refuse, and the first one that takes it."""


class Step(Value):
    """An instruction that buildah has begun with: the number of its stage, and its own within that stage."""

    stage: int
    number: int
    text: str


def reduced(document: Document, target: Stage, platforms: Mapping[str, str] | None = None) -> str:
    """A Containerfile with the same stages and lines, as far as `target` needs them.

    Other stages are empty ones, so that `--from=NUMBER` counts as before; what buildah says of a line is true of
    the user's file. buildah refuses files for instructions that it does not know, wherever these stand. What FROM
    says of `platforms`, as platform_arguments has them, is expanded, and names of stages are in small letters:
    buildah 1.28 knows no such variable in FROM, and tells `Build` from `build`.
    """
    lines = document.text.split("\n")
    kept = [""] * len(lines)
    for instruction in document.global_arguments:
        _keep(instruction, lines, kept)
    needed = needed_stages(document, target)
    for stage in document.stages[: target.number + 1]:
        if stage.number not in needed:
            kept[stage.begin.span.line - 1] = "FROM scratch"
            continue
        for instruction in (stage.begin, *stage.instructions):
            _keep(instruction, lines, kept)
        _fold_names(document, stage, kept)
        _expand_platforms(document, stage.begin, platforms or {}, kept)
    if document.escape != "\\":
        # buildah takes this directive in the first line alone, where the user's file has a directive too.
        kept[0] = f"# escape={document.escape}"
    return "\n".join(kept) + "\n"


def _keep(instruction: Instruction, lines: list[str], kept: list[str]) -> None:
    first, last = instruction.span.line - 1, instruction.last_line
    kept[first:last] = lines[first:last]


def _fold_names(document: Document, stage: Stage, kept: list[str]) -> None:
    """Write names of stages in small letters, their own and those that are copied from."""
    before = document.stages[: stage.number]
    spans = [token.span for token in stage.begin.tokens[2:]] if stage.name else []
    if stage_named(before, stage.base.raw) is not None:
        spans.append(stage.base.span)
    for instruction in stage.instructions:
        spans += [
            flag.span
            for flag in instruction.flags
            if flag.name == "from" and stage_named(before, flag.value or "") is not None
        ]
    for span in spans:
        if span.line == span.end_line:
            line, first, last = kept[span.line - 1], span.column - 1, span.end_column - 1
            kept[span.line - 1] = line[:first] + line[first:last].lower() + line[last:]


def _expand_platforms(
    document: Document, begin: Instruction, platforms: Mapping[str, str], kept: list[str]
) -> None:
    """Write the platforms that FROM names by variables, unless the file has an ARG of that name."""
    declared = {name.raw for each in document.global_arguments for name, _ in each.pairs}

    def value_of(found: re.Match[str]) -> str:
        return found[0] if found[2] in declared else platforms.get(found[2], found[0])

    for number in range(begin.span.line - 1, begin.last_line):
        kept[number] = _PLATFORM.sub(value_of, kept[number])


def needed_stages(document: Document, target: Stage) -> set[int]:
    """The numbers of the stages that a stage is made of, its own among them.

    One that a variable may name is taken for needed: buildah leaves out by itself what it does not need.
    """
    needed: set[int] = set()
    pending = [target.number]
    while pending:
        number = pending.pop()
        if number in needed:
            continue
        needed.add(number)
        stage = document.stages[number]
        for name in _named(stage):
            if "$" in name:
                pending += range(number)
            elif (found := stage_named(document.stages[:number], name)) is not None:
                pending.append(found.number)
    return needed


def stage_named(stages: Iterable[Stage], name: str) -> Stage | None:
    """The stage with this name, the last of several, or with this number."""
    found = None
    for stage in stages:
        if (stage.name or "").lower() == name.lower() or str(stage.number) == name:
            found = stage
    return found


def _named(stage: Stage) -> Iterable[str]:
    """What a stage begins with and copies or mounts from."""
    yield stage.base.raw.strip("\"'")
    for instruction in stage.instructions:
        for flag in instruction.flags:
            if flag.name == "from" and flag.value:
                yield flag.value.strip("\"'")
            elif flag.name == "mount":
                yield from _MOUNT_FROM.findall((flag.value or "").strip("\"'"))


def step_of(line: str) -> Step | None:
    """The step that a line of buildah's output begins; None where it is another line."""
    found = _STEP.fullmatch(line)
    return found and Step(stage=int(found[1] or 1) - 1, number=int(found[2]), text=found[3])


def instruction_of(document: Document, target: Stage, step: Step) -> Instruction:
    """The instruction that a step is about; FROM where it came from the base of the stage (ONBUILD)."""
    stage = document.stages[step.stage] if step.stage < len(document.stages) else target
    instructions = (stage.begin, *stage.instructions)
    name = step.text.partition(" ")[0]
    numbered = instructions[step.number - 1] if step.number <= len(instructions) else None
    if numbered is not None and numbered.name == name:
        return numbered
    same = [each for each in instructions if each.name == name and step.text.endswith(each.text)]
    return same[0] if same else stage.begin


def too_new(document: Document, target: Stage) -> tuple[str, str, Instruction] | None:
    """What of the needed stages older versions of buildah refuse, since when it is known, and where it stands."""
    for number in sorted(needed_stages(document, target)):
        for instruction in document.stages[number].instructions:
            for what, version, has in _SINCE:
                if has(instruction):
                    return what, version, instruction
    return None
