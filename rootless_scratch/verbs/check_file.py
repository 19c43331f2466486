"""`check -f`: a Containerfile judged with its context, while nothing is run, built or pulled."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

from rootless_scratch.containerfile.expanded import InstructionError
from rootless_scratch.errors import HostError, RefusedError, ScratchError
from rootless_scratch.findings import Finding, Judgement
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.paths import is_utf8
from rootless_scratch.rules.containerfile.unbuilt import Unbuilt
from rootless_scratch.rules.program.programs import verdict
from rootless_scratch.verbs.file_parts import FileParts, file_parts
from rootless_scratch.verbs.planning import plan_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.containerfile.document import Document, Fault, Instruction
    from rootless_scratch.containerfile.evaluated import Evaluated
    from rootless_scratch.containerfile.request import FileRequest
    from rootless_scratch.containerfile.stages import Other

_NOT_BUILT = "stage-not-built"


class _NotBuilt:
    """Others that nobody makes: whatever copies from them brings what is not known."""

    roots: tuple[str, ...] = ()

    def origin_of(self, other: Other) -> NoReturn:
        """Raise InstructionError."""
        raise InstructionError(f"{other.name!r} is not built here.", fix="", span=other.span, what=_NOT_BUILT)

    def base_of(self, other: Other) -> NoReturn:
        """Raise InstructionError."""
        self.origin_of(other)


def check_file(
    request: FileRequest, options: Mapping[str, object], *, document: Document | None = None
) -> Judgement:
    """Judge a Containerfile; `options` are those of its image, by their names in Python.

    `document` is the file if it was read already. Raises SourceError where the file or its context cannot be
    read; UsageError, HostError.
    """
    findings = _findings(request, options, document)
    return Judgement(subject=request.file, verdict=verdict(findings), findings=findings)


def _findings(
    request: FileRequest, options: Mapping[str, object], document: Document | None
) -> tuple[Finding, ...]:
    with HostFiles() as opened, ExitStack() as kept:
        try:
            file = file_parts(request, options, kept, opened, lambda _platform: _NotBuilt(), document=document)
        except RefusedError as error:
            return error.findings
        file = FileParts(file.parts, [_with_unbuilt(each) for each in file.evaluated], opened)
        try:
            return plan_all(file.parts, opened, check=False, related=file.related)[1]
        except HostError:
            raise
        except ScratchError as error:
            return file.faults() or (_unplanned(file.evaluated[0], error),)


def _with_unbuilt(evaluated: Evaluated) -> Evaluated:
    """The same, where what is not built is no fault."""
    missing = [fault for fault in evaluated.faults if fault.what == _NOT_BUILT]
    if not missing:
        return evaluated
    own = [fault for fault in evaluated.faults if fault.what != _NOT_BUILT]
    by_line = {each.span.line: each for each in (*evaluated.steps, *evaluated.stage.instructions)}
    every = [by_line[line] for line in sorted(by_line)]
    unbuilt = [each for each in every if any(_is_about(each, fault) for fault in missing)]
    if len(unbuilt) < len(missing):
        # What a stage lacks that only fetches is missed at its FROM, and in those that copy from it.
        brought = {each.span.line for each in evaluated.brought.values()}
        unbuilt = [
            each
            for each in every
            if each.flag("from") is not None
            and each.span.line not in brought
            and not any(_is_about(each, fault) for fault in own)
        ]
    known = Unbuilt(evaluated.document, unbuilt)
    unowned = [
        each for each in every if _has_owner_of(each, known) and any(_is_about(each, fault) for fault in own)
    ]
    own = [fault for fault in own if not any(_is_about(each, fault) for each in unowned)]
    return evaluated.but(faults=tuple(own), unbuilt=(*unbuilt, *unowned))


def _has_owner_of(instruction: Instruction, unbuilt: Unbuilt) -> bool:
    """Whether the files get an owner by a name, which a file that is not built may have."""
    flag = instruction.flag("chown")
    names = [part for part in (flag.value or "").split(":") if part and not part.isdigit()] if flag else []
    return bool(names) and any(map(unbuilt.may_bring, ("/etc/passwd", "/etc/group")))


def _is_about(instruction: Instruction, fault: Fault) -> bool:
    return instruction.span.line <= fault.span.line <= instruction.last_line


def _unplanned(evaluated: Evaluated, error: ScratchError) -> Finding:
    """What keeps the whole image from being planned, e.g. a value that no config can have."""
    from rootless_scratch.rules.containerfile.sheet import Sheet

    foreign = (each for each in evaluated.settled.values() if not is_utf8(each.original))
    at = next(foreign, evaluated.stage.begin)
    return Sheet(evaluated.document).finding("instruction-refused", "error", at, error.message, error.fix)
