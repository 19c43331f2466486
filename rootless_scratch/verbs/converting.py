"""A Containerfile as values of scratch.toml: its files as copies, its config as options.

What other stages and images bring is not there to be looked at: such a file is expected beside the scratch.toml.
"""

from __future__ import annotations

import os
import posixpath
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rootless_scratch.containerfile.others import NoOthers
from rootless_scratch.containerfile.own_options import ALLOWED, own_options
from rootless_scratch.containerfile.request import FileRequest
from rootless_scratch.data import Data
from rootless_scratch.errors import RefusedError
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.spec import NONROOT, Spec
from rootless_scratch.image.write.spectext import Filled
from rootless_scratch.rules.containerfile.containerfiles import judge_document
from rootless_scratch.verbs.copylines import CopyLines
from rootless_scratch.verbs.file_parts import file_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootless_scratch.containerfile.document import Document, Fault, Instruction, Span, Stage
    from rootless_scratch.containerfile.evaluated import Evaluated
    from rootless_scratch.containerfile.origins import Origin
    from rootless_scratch.containerfile.others import Base
    from rootless_scratch.containerfile.stages import Other
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.rootfs import Entry
    from rootless_scratch.image.spec import Part

_KNOWN = {
    **dict.fromkeys(("ca-certificates", "ca-bundle", "/etc/ssl/certs"), "ca-certificates"),
    **dict.fromkeys(("/etc/passwd", "/etc/group"), "nonroot"),
    "zoneinfo": "tzdata",
    "/etc/nsswitch.conf": "nsswitch",
}
"""By a part of a path: the essential that brings such files from this host."""

_COPYING = ("COPY", "ADD")
_HIDDEN = frozenset('$*?[\\"')


class Converted(Data):
    """Values by their keys, what cannot be said by them, and files that other stages bring.

    `is_whole` tells that nothing lacks of the image's files.
    """

    filled: dict[str, Filled]
    remarks: tuple[str, ...]
    missing: tuple[str, ...]
    findings: tuple[Finding, ...]
    is_whole: bool


class _Elsewhere(Data):
    """What instructions copy from other stages and images."""

    programs: list[str]
    copies: list[str]
    essentials: list[str]
    reasons: list[str]
    remarks: list[str]
    missing: list[str]


def convert(path: str, directory: str) -> Converted:
    """What the last stage of a Containerfile says, for a file in `directory`; its context is where it lies itself.

    Raises RefusedError for what cannot be read or evaluated, SourceError, HostError.
    """
    context = os.path.dirname(path) or "."
    request = FileRequest().with_options({"file": path, "context": context}, "A Containerfile")
    with HostFiles() as opened, ExitStack() as kept:
        unmade = _Unmade()
        file = file_parts(request, {}, kept, opened, lambda _platform: unmade)
        (evaluated,), (part,) = file.evaluated, file.parts
        apart = _copies_from_elsewhere(evaluated.document, evaluated, unmade)
        lines = CopyLines(evaluated, context=context, directory=directory)
    elsewhere = _elsewhere(apart, part, directory)
    filled = dict(_of_config(part.spec))
    programs, copies = [*lines.programs, *elsewhere.programs], [*lines.copies, *elsewhere.copies]
    values: dict[str, tuple[list[str], str, list[str]]] = {
        "programs": (programs, "The program, which is the entrypoint.", elsewhere.reasons if programs else []),
        "copy": (copies, "What COPY and ADD bring.", [] if programs else elsewhere.reasons),
        "mkdir": (lines.directories, "Directories without files, or with an owner or a mode of their own.", []),
        "symlink": (lines.symlinks, "Symbolic links.", []),
        "with": (elsewhere.essentials, "In place of the files that COPY --from takes from other images.", []),
    }
    for key, (value, reason, listed) in values.items():
        if value:
            filled[key] = Filled(value, reason, tuple(listed))
    filled |= _of_own_options(evaluated.document, elsewhere.essentials)
    # A first program that is nothing but the entrypoint says so itself.
    if programs and filled.get("entrypoint") and list(part.spec.entrypoint or ()) == [_destination(programs[0])]:
        del filled["entrypoint"]
    remarks = (*lines.remarks, *elsewhere.remarks, *_beyond(evaluated, evaluated.document))
    found = judge_document(evaluated.document)
    findings = tuple(each for each in found if each.severity != "error")
    return Converted(
        filled=filled,
        remarks=remarks,
        missing=tuple(elsewhere.missing),
        findings=findings,
        is_whole=not (elsewhere.missing or elsewhere.remarks or lines.remarks),
    )


def _destination(program: str) -> str:
    source, colon, path = program.rpartition(":/")
    return f"/{path}" if colon else f"/{posixpath.basename(source or program)}"


class _Unmade(NoOthers):
    """Refuses what is not made here, and keeps which parts of the file asked for it."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def origin_of(self, other: Other) -> Origin:
        self.spans.append(other.span)
        return super().origin_of(other)

    def base_of(self, other: Other) -> Base:
        self.spans.append(other.span)
        return super().base_of(other)


def _copies_from_elsewhere(document: Document, evaluated: Evaluated, unmade: _Unmade) -> list[Instruction]:
    """Those that could not be evaluated because they need another stage or an image; all else is refused."""
    target = evaluated.stage
    absent = [fault for fault in evaluated.faults if fault.span in unmade.spans]
    # What is wrong below the base of a stage that is not there may be right.
    without = [
        stage for stage in document.stages if stage is not target and any(_is_in(fault, stage) for fault in absent)
    ]
    names = {name for stage in without for name in (str(stage.number), (stage.name or "").lower())}
    left = [
        fault
        for fault in evaluated.faults
        if fault in document.faults or not any(_is_in(fault, stage) for stage in without)
    ]
    left = [fault for fault in left if not fault.tolerated]
    found: list[Instruction] = []
    for each in target.instructions:
        flag = each.flag("from") if each.name in _COPYING else None
        here = [fault for fault in left if each.span.line <= fault.span.line <= each.last_line]
        is_absent = any(fault in absent for fault in here)
        if flag is not None and (is_absent or (flag.value or "").lower() in names):
            found.append(each)
            left = [fault for fault in left if fault not in here]
    if left:
        raise RefusedError(judge_document(document, left))
    return found


def _is_in(fault: Fault, stage: Stage) -> bool:
    last = stage.instructions[-1].last_line if stage.instructions else stage.begin.last_line
    return stage.begin.span.line <= fault.span.line <= last


def _elsewhere(instructions: Iterable[Instruction], part: Part, directory: str) -> _Elsewhere:
    found = _Elsewhere([], [], [], [], [], [])
    # Beside a command alone a program would be the entrypoint.
    entrypoint = (part.spec.entrypoint or ("",))[0]
    for each in instructions:
        flag = each.flag("from")
        *sources, last = each.exec_form or [token.raw for token in each.tokens]
        where = f"of {flag.value if flag is not None else ''} (line {each.span.line})"
        for source in sources:
            essential = next((name for key, name in _KNOWN.items() if key in source or key in last), None)
            pair = _expected(source, last, part.spec.workdir)
            if essential is not None:
                found.essentials.extend({essential}.difference(found.essentials))
            elif pair is None:
                found.remarks.append(f"{source} {where}, which goes to {last}: add what it stands for to `copy`.")
            else:
                _expect(found, pair, f"{source} {where}", entrypoint=entrypoint, directory=directory)
    there = {each.path for each in _entries(part)}
    if found.remarks and entrypoint.startswith("/") and not found.programs and entrypoint not in there:
        pair = posixpath.basename(entrypoint), entrypoint
        _expect(found, pair, "the entrypoint", entrypoint=entrypoint, directory=directory)
    return found


def _entries(part: Part) -> tuple[Entry, ...]:
    return () if part.contents is None else part.contents.entries


def _expect(found: _Elsewhere, pair: tuple[str, str], reason: str, *, entrypoint: str, directory: str) -> None:
    """A file beside the scratch.toml, by its name, and where it goes."""
    name, path = pair
    is_program = path == entrypoint and not found.programs
    (found.programs if is_program else found.copies).append(f"{name}:{path}")
    found.reasons.append(f"{name}, expected beside this file: {reason}")
    if not os.path.exists(os.path.join(directory, name)):
        found.missing.append(name)


def _expected(source: str, last: str, workdir: str) -> tuple[str, str] | None:
    """What a source is called beside the file, and its path in the image; None where variables hide it."""
    name = posixpath.basename(source.rstrip("/"))
    is_below = last.endswith(("/", "."))
    if _HIDDEN & {*name} and not is_below:
        name = posixpath.basename(last)
    if not name or _HIDDEN & {*name, *last}:
        return None
    target = posixpath.join(workdir, last)
    return name, posixpath.normpath(posixpath.join(target, name) if is_below else target)


def _of_config(spec: Spec) -> Iterator[tuple[str, Filled]]:
    """What instructions set; what is the default anyway is left out."""
    plain = {
        "entrypoint": list(spec.entrypoint or ()),
        "cmd": list(spec.cmd or ()),
        "env": dict(spec.env),
        "labels": dict(spec.labels),
        "ports": [int(port.removesuffix("/tcp")) if port.endswith("/tcp") else port for port in spec.ports],
        "volumes": list(spec.volumes),
        "stop-signal": spec.stop_signal,
        "user": "" if spec.user == NONROOT else spec.user,
        "workdir": "" if spec.workdir == "/" else spec.workdir,
    }
    return ((key, Filled(value)) for key, value in plain.items() if value)


def _of_own_options(document: Document, essentials: Iterable[str]) -> Iterator[tuple[str, Filled]]:
    """What the file sets in comments for us; `essentials` come in place of files of other images."""
    values, _ = own_options(document.text)
    for option in ALLOWED.values():
        value = values.get(option.name)
        if value is None:
            continue
        if option.name == "essentials":
            names = {part.partition("=")[0] for each in value for part in each.split(",")}
            value = (*value, *(name for name in essentials if name not in names))
        yield option.key, Filled(list(value) if option.kind.many else value)


def _beyond(evaluated: Evaluated, document: Document) -> Iterator[str]:
    """Instructions that no key stands for."""
    settled = {each.span.line: each for each in evaluated.settled.values()}
    for line, each in sorted(settled.items()):
        if each.name in ("HEALTHCHECK", "ONBUILD", "SHELL", "MAINTAINER"):
            yield f"Line {line} of {os.path.basename(document.path)}, {each.name}, has no key here."
