"""Why a stage could not be built, told by the line of the user's file."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from rootless_scratch import command
from rootless_scratch.containerfile.reducing import too_new
from rootless_scratch.diagnosis import Diagnosis, diagnose
from rootless_scratch.errors import BuildError, HostError, ScratchError
from rootless_scratch.expressions import expression
from rootless_scratch.host.causes import cause_in
from rootless_scratch.troubles import trouble_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.containerfile.document import Document, Instruction, Stage

_SHOWN = 3
"""Lines of a command's output that the message has; `-v` shows more."""

_LONGEST = 60
_EXIT = expression(r'Error: building at STEP ".*": (?:while running runtime: )?exit status (\d+)$')
_OWN = expression(
    r'time="|Error: |error running container: |subprocess exited with status |--> |COMMIT\b|: exit status \d+$'
)
_LINE = expression(r"[Pp]arse error on line (\d+): (.*)")
"""What buildah and its helpers print beside the command."""

_RUNTIME = (
    Diagnosis(
        r"(?s)error running container: (?:from )?([^\n]+)",
        "the OCI runtime cannot start a command here: {0}",
        "Set BUILDAH_ISOLATION=chroot, which needs no OCI runtime.",
    ),
    # The line is of buildah's helper, which ends it with what becomes of itself.
    Diagnosis(
        r"error setting supplemental groups list: operation not permitted\s*subprocess exited",
        "RUN needs more than one user ID, and the user namespace here has no other",
        "Give your user ranges in /etc/subuid and /etc/subgid, and install newuidmap(1); "
        "`rootless-scratch doctor` says what this host lacks.",
    ),
)


_STORE = expression(r"checking if cached image exists|layer not known")
"""What buildah says where the store has lost a part of what it lists."""


def failed_stage(
    document: Document,
    stage: Stage,
    instruction: Instruction | None,
    lines: Sequence[str],
    *,
    code: int,
    store: str,
) -> ScratchError:
    """The error for a build that ended with an exit code; `lines` came since `instruction` was begun with.

    `store` is the directory of the store that it worked in.
    """
    text = "\n".join(lines)
    detail = text[-command.STDERR_KEPT :]
    begun = instruction or stage.begin
    where = f"{document.path}:{begun.span.line}"
    what = f"`{_short(begun)}`"
    unfit = _unfit(where, text, store, detail)
    if unfit is not None:
        return unfit
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


def _unfit(where: str, text: str, store: str, detail: str) -> HostError | None:
    """What is wrong with this host, whatever the command is."""
    own = cause_in("\n".join(line for line in text.splitlines() if _OWN.match(line)))
    if own is not None:
        return own.error(detail, what=f"{where}: buildah cannot build here")
    runtime = diagnose(_RUNTIME, text)
    if runtime is not None:
        return HostError(f"{where}: {runtime.cause.rstrip('.')}.", fix=runtime.fix, detail=detail)
    cause = command.last_cause(text)
    return damaged_store(store, _plain(cause), detail=detail) if _STORE.search(cause) else None


def damaged_store(directory: str, cause: str, *, detail: str = "") -> HostError:
    """The error for a store of stages that is not as it was left; all of it can be made again."""
    return HostError(
        f"The store of stages {directory!r} is damaged: {cause}.",
        fix=f"Remove it, as it is a cache: `buildah unshare rm -rf {shlex.quote(directory)}`.",
        detail=detail,
    )


def _plain(cause: str) -> str:
    """A cause without the step that the message names already."""
    return re.sub(r'^building at STEP ".*?(?<!\\)": ', "", cause)


def _short(instruction: Instruction) -> str:
    line = " ".join([instruction.name, *instruction.text.split()])
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1].rstrip()}…"
