"""Rules on instructions as they are written: what cannot run, what is dropped, and what is out of use."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.containerfile.reducing import needed_stages
from rootless_scratch.expressions import expression
from rootless_scratch.rules.access import WRITE, obstacle
from rootless_scratch.rules.advice import shown
from rootless_scratch.rules.containerfile.sheet import exec_array
from rootless_scratch.rules.image.commands import exec_form

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootless_scratch.containerfile.document import Document, Fault, Instruction, Stage
    from rootless_scratch.containerfile.evaluated import Evaluated
    from rootless_scratch.findings import Finding, Severity
    from rootless_scratch.rules.containerfile.sheet import Sheet
    from rootless_scratch.rules.view import ImageView

_AUTHORS: Final = "org.opencontainers.image.authors"
_SHELL_ARGV: Final = 3
_BRINGING: Final = ("COPY", "ADD")
_FROM_ELSEWHERE: Final = expression(r"(?:^|,)(?:from=|type=(?:cache|tmpfs|bind))")

_DROPPED: Final = {
    "HEALTHCHECK": "engines that read the image do not check it",
    "ONBUILD": "images that are built from this one do nothing of it",
    "SHELL": "it only matters for the instructions below it",
}
"""What docker's format has and OCI's has not, and what that means."""


def judge_faults(faults: Iterable[Fault], document: Document, sheet: Sheet) -> Iterator[Finding]:
    """Say what of the file cannot be read, and what cannot be done."""
    copies = [
        (each.span.line, each.last_line)
        for stage in document.stages
        for each in stage.instructions
        if each.name in _BRINGING
    ]
    unread = set(document.faults)
    for fault in faults:
        rule = fault.what or "instruction-refused"
        if fault in unread:
            rule = "containerfile-syntax"
        elif not fault.what and any(first <= fault.span.line <= last for first, last in copies):
            rule = "copy-refused"
        severity: Severity = "warning" if fault.tolerated else "error"
        yield sheet.finding(rule, severity, fault.span, fault.message, fault.fix)


def judge_maintainers(document: Document, sheet: Sheet) -> Iterator[Finding]:
    """Name what took the place of MAINTAINER."""
    for stage in document.stages:
        for each in stage.instructions:
            if each.name == "MAINTAINER":
                value = (
                    each.text.strip().strip("\"'").replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
                )
                label = f'LABEL {_AUTHORS}="{value}"'
                yield sheet.finding(
                    "maintainer-deprecated",
                    "info",
                    each,
                    "MAINTAINER is deprecated.",
                    f"Write it as a label: `{label}`.",
                    corrected=sheet.replaced(each.span, label),
                )


def judge_dropped(evaluated: Evaluated, sheet: Sheet) -> Iterator[Finding]:
    """Say which instructions leave nothing in an image of OCI's format."""
    check = evaluated.settled.get("healthcheck")
    # What ONBUILD of another stage of the file says has been done.
    for each in (*([check] if check is not None else ()), *evaluated.stage.instructions):
        if each.name not in _DROPPED or (each.inner is not None and each.inner.name == "NONE"):
            continue
        if each.name == "HEALTHCHECK" and each is not check:
            continue
        yield sheet.finding(
            "dropped-by-oci",
            "info",
            each,
            f"OCI images have no {each.name}, so {_DROPPED[each.name]}.",
            "Remove the line, or keep it by `--compat docker` where an engine needs it.",
        )


def judge_workdirs(evaluated: Evaluated, view: ImageView, sheet: Sheet) -> Iterator[Finding]:
    """Say which directory WORKDIR makes for another user than the one that the program runs as."""
    path = view.config.working_dir
    entry = view.tree.resolve(path)
    made = None if entry is None else evaluated.brought.get(entry.path)
    if entry is None or made is None or made.name != "WORKDIR":
        return
    if (obstacle(view.account, view.tree.walk(path), WRITE) or (None, ""))[1] == "no":
        yield sheet.finding(
            "working-directory-not-writable",
            "info",
            made,
            f"WORKDIR makes {shown(entry.path)} for {entry.uid}:{entry.gid}, and the user "
            f"{shown(view.config.user)} may not write to it.",
            "Write WORKDIR below USER, if the program is to write there.",
            subject=entry.path,
        )


def judge_arguments(evaluated: Evaluated, view: ImageView, sheet: Sheet) -> Iterator[Finding]:
    """Say where CMD in shell form hands a shell to the entrypoint, in place of arguments."""
    entrypoint, cmd = evaluated.settled.get("entrypoint"), evaluated.settled.get("cmd")
    argv = evaluated.config.cmd or ()
    if entrypoint is None or entrypoint.exec_form is None or cmd is None or cmd.exec_form is not None:
        return
    if len(argv) < _SHELL_ARGV or not evaluated.config.entrypoint:
        return
    span = sheet.arguments(cmd)
    # Where that only splits, so does shlex; what is a program's name there is an argument here.
    meant = shlex.split(argv[2]) if exec_form(view, argv[2]) else ()
    array = exec_array(meant) if meant else None
    fix = "Write the arguments as a JSON array"
    yield sheet.finding(
        "arguments-in-shell-form",
        "warning",
        span,
        f"CMD is in shell form, so the entrypoint {shown(evaluated.config.entrypoint[0])} gets the arguments "
        f"{shown(argv[0])}, -c and this text.",
        f"{fix}: `CMD {array}`." if array else f"{fix}; nobody expands what only a shell does.",
        subject=argv[2],
        corrected=None if array is None else sheet.replaced(span, array),
    )


def judge_runs(
    document: Document, sheet: Sheet, evaluated: Evaluated | None, view: ImageView | None
) -> Iterator[Finding]:
    """Say which RUN finds nothing to run, in stages that begin with nothing; those of no use only warn."""
    needed = None if evaluated is None else needed_stages(document, evaluated.stage)
    for stage in document.stages:
        if stage.base.raw.strip("\"'") != "scratch":
            continue
        known = view if evaluated is not None and stage == evaluated.stage else None
        for finding in _judge_stage(stage, sheet, evaluated if known else None, known):
            is_needed = needed is None or stage.number in needed
            yield finding if is_needed else msgspec.structs.replace(finding, severity="warning")


def _judge_stage(
    stage: Stage, sheet: Sheet, evaluated: Evaluated | None, view: ImageView | None
) -> Iterator[Finding]:
    shell = "/bin/sh"
    is_empty = True
    for each in stage.instructions:
        if each.name in _BRINGING:
            is_empty = False
        elif each.name == "SHELL" and each.exec_form:
            shell = each.exec_form[0]
        elif each.name == "RUN" and not _has_mounts(each):
            program = each.exec_form[0] if each.exec_form else shell
            if is_empty or (
                view is not None and evaluated is not None and not _is_there(program, each, evaluated, view)
            ):
                yield _cannot_run(each, program, sheet)


def _has_mounts(run: Instruction) -> bool:
    """Whether something may be mounted into the stage, from which programs can come."""
    return any(flag.name == "mount" and _FROM_ELSEWHERE.search(flag.value or "") for flag in run.flags)


def _is_there(program: str, run: Instruction, evaluated: Evaluated, view: ImageView) -> bool:
    """Whether a program is in the stage when RUN needs it; those looked up in PATH are let be."""
    if "/" not in program:
        return True
    entry = view.tree.resolve(program)
    brought = evaluated.brought.get(program if entry is None else entry.path)
    if brought is None:
        return entry is not None
    # What is not there at the end may have been removed by a RUN, this one or a later one.
    return brought.span.line < run.span.line


def _cannot_run(run: Instruction, program: str, sheet: Sheet) -> Finding:
    if run.exec_form:
        message = f"RUN starts {shown(program)}, which this stage does not have: it begins with nothing."
        fix = "Copy it into the stage first, or run it in a stage that has it and copy what it makes."
    else:
        message = f"RUN needs the shell {shown(program)}, and a stage that begins with `scratch` has none."
        fix = "Run it in an earlier stage, and copy what it makes by `COPY --from=STAGE`; or run a program of the "
        fix += 'stage without a shell: `RUN ["/PROGRAM"]`.'
    return sheet.finding("run-in-scratch", "error", sheet.arguments(run), message, fix, subject=program)
