"""Why a stage could not be built, told by the line of the user's file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rootless_scratch import command
from rootless_scratch.containerfile.reducing import too_new
from rootless_scratch.diagnosis import Diagnosis, diagnose
from rootless_scratch.errors import BuildError, HostError, ScratchError
from rootless_scratch.troubles import trouble_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.containerfile.document import Document, Instruction, Stage

_SHOWN = 3
"""Lines of a command's output that the message has; `-v` shows more."""

_LONGEST = 60
_EXIT = re.compile(r'Error: building at STEP ".*": (?:while running runtime: )?exit status (\d+)$')
_OWN = re.compile(
    r'time="|Error: |error running container: |subprocess exited with status |--> |COMMIT\b|: exit status \d+$'
)
_LINE = re.compile(r"[Pp]arse error on line (\d+): (.*)")
"""What buildah and its helpers print beside the command."""

_RUNTIME = (
    Diagnosis(
        r"(?s)error running container: (?:from )?([^\n]+)",
        "the OCI runtime cannot start a command here: {0}",
        "Set BUILDAH_ISOLATION=chroot, which needs no OCI runtime.",
    ),
)


def failed_stage(
    document: Document, stage: Stage, instruction: Instruction | None, lines: Sequence[str], *, code: int
) -> ScratchError:
    """The error for a build that ended with an exit code; `lines` came since `instruction` was begun with."""
    text = "\n".join(lines)
    detail = text[-command.STDERR_KEPT :]
    begun = instruction or stage.begin
    where = f"{document.path}:{begun.span.line}"
    what = f"`{_short(begun)}`"
    runtime = diagnose(_RUNTIME, text)
    if runtime is not None:
        return HostError(f"{where}: {runtime.cause.rstrip('.')}.", fix=runtime.fix, detail=detail)
    found = next((match for line in reversed(lines) if (match := _EXIT.match(line))), None)
    if found is not None:
        printed = [line.strip() for line in lines if line.strip() and not _OWN.search(line)][-_SHOWN:]
        after = f", after it printed: {' / '.join(printed)}" if printed else " and printed nothing"
        return BuildError(
            f"{where}: {what} failed with exit code {found[1]}{after}".rstrip(".") + ".",
            fix="Correct the command; -v shows all that it printed.",
            detail=detail,
        )
    trouble = trouble_in(text)
    if trouble is not None:
        return HostError(trouble.after(f"{where}: {what} failed"), fix=trouble.fix, detail=detail)
    cause = command.last_cause(text)
    refused = too_new(document, stage)
    numbered = _LINE.search(cause)
    if refused is not None and (numbered or instruction is None or instruction is refused[2]):
        name, version, new = refused
        return BuildError(
            f"{document.path}:{new.span.line}: this buildah does not take {name}: {cause or 'it said nothing'}.",
            fix=f"Install buildah {version} or newer, or write that stage without it.",
            detail=detail,
        )
    if numbered:
        where, cause = f"{document.path}:{numbered[1]}", numbered[2]
        return BuildError(f"{where}: {cause}.", fix="Correct that line.", detail=detail)
    ended = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    return BuildError(
        f"{where}: buildah cannot build {what}: {_plain(cause) or ended}.",
        fix="Correct the file, or see what -v shows of buildah's output.",
        detail=detail,
    )


def _plain(cause: str) -> str:
    """A cause without the step that the message names already."""
    return re.sub(r'^building at STEP ".*?(?<!\\)": ', "", cause)


def _short(instruction: Instruction) -> str:
    line = " ".join([instruction.name, *instruction.text.split()])
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1].rstrip()}…"
