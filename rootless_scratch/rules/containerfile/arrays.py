"""Rules on commands that were meant to be JSON arrays: what is not one goes to a shell, in silence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from rootless_scratch.rules.containerfile.sheet import exec_array

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.containerfile.document import Document, Instruction
    from rootless_scratch.findings import Finding
    from rootless_scratch.rules.containerfile.sheet import Sheet

_COMMANDS: Final = ("CMD", "ENTRYPOINT", "RUN", "SHELL")

_SHELL: Final = "so builders take the whole line for a command of the shell /bin/sh"
_RULES: Final = {
    "end": ("json-without-end", f"The array of {{}} does not end, {_SHELL}."),
    "comma": ("json-not-valid", f"JSON has no comma before the end of an array, {_SHELL}."),
    "quotes": ("json-not-valid", f"JSON has no single quotes, {_SHELL}."),
    "rest": (
        "json-with-rest",
        "Some builders leave out what stands behind the array of {}, others take it all for a command of a shell.",
    ),
}
"""By what is wrong with an array."""


def judge_arrays(document: Document, sheet: Sheet) -> Iterator[Finding]:
    """Say which commands are almost an array."""
    for stage in document.stages:
        for each in stage.instructions:
            inner = each.inner if each.name in ("HEALTHCHECK", "ONBUILD") and each.inner is not None else each
            if inner.name in _COMMANDS and _is_meant(inner):
                yield _finding(inner, sheet)


def _is_meant(command: Instruction) -> bool:
    """Whether it was to be an array, and is not a test of the shell: `[ -f FILE ] && ...`."""
    return command.array_trouble in _RULES and command.text.lstrip().startswith(('["', "['"))


def _finding(command: Instruction, sheet: Sheet) -> Finding:
    rule, message = _RULES[command.array_trouble]
    span = sheet.arguments(command)
    argv = _meant(command)
    fix, corrected = "Write one JSON array of strings in double quotes, and nothing behind it.", None
    if argv is not None:
        array = exec_array(argv)
        fix, corrected = f"Write `{command.name} {array}`.", sheet.replaced(span, array)
    return sheet.finding(
        rule, "warning", span, message.format(command.name), fix, subject=command.text, corrected=corrected
    )


def _meant(command: Instruction) -> Sequence[str] | None:
    """The strings that were meant, where that is beyond doubt."""
    text = command.text.strip()
    if command.array_trouble == "rest":
        rest = text[text.rfind("]") + 1 :].strip()
        return command.array_strings if rest.startswith("#") else None
    if command.array_trouble == "quotes":
        attempts = [text.replace("'", '"')] if '"' not in text else []
    elif command.array_trouble == "comma":
        attempts = [exec_array(command.array_strings)]
    else:
        attempts = [text + "]", text.rstrip(", ") + "]", text + '"]']
    for attempt in attempts:
        try:
            found = json.loads(attempt)
        except (ValueError, RecursionError):
            continue
        if found and all(isinstance(each, str) for each in found):
            return tuple(found)
    return None
