"""Findings about an image, put to the line of the Containerfile that they are due to."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.image.rootfs import File
from rootless_scratch.rules.advice import shown
from rootless_scratch.rules.containerfile.mending import MENDERS, Case
from rootless_scratch.rules.containerfile.sheet import Sheet
from rootless_scratch.rules.containerfile.unbuilt import Unbuilt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootless_scratch.containerfile.document import Instruction
    from rootless_scratch.containerfile.evaluated import Evaluated
    from rootless_scratch.findings import Finding
    from rootless_scratch.rules.view import ImageView

_FIELDS: Final = {
    "shell-form": "command",
    "command-not-in-path": "command",
    "command-missing": "command",
    "command-by-relative-path": "command",
    "command-is-directory": "command",
    "command-repeated": "cmd",
    "healthcheck-unusable": "healthcheck",
    "user-unknown": "user",
    "group-unknown": "user",
    "id-too-high": "user",
    "privileged-port": "ports",
    "working-directory-missing": "workdir",
    "working-directory-unusable": "workdir",
    "volume-missing": "volumes",
    "volume-not-writable": "volumes",
    "volume-unusable": "volumes",
}
"""By rule: the field of the config that its subject is a part of; all others speak of a path."""

_NO_MATTER: Final = frozenset({"no-command", "no-platform"})
"""An image without a command is one that others take files from, or begin with."""


def located(
    findings: Iterable[Finding],
    evaluated: Evaluated,
    view: ImageView,
    *,
    sheet: Sheet | None = None,
    unbuilt: Unbuilt | None = None,
) -> tuple[Finding, ...]:
    """Each with its line, its fix in terms of a Containerfile, and the corrected lines where there are some.

    Findings that mean nothing of a Containerfile are left out, and those that what is `unbuilt` may make untrue.
    """
    unbuilt = unbuilt or Unbuilt(evaluated.document, ())
    sheet = sheet or Sheet(evaluated.document)
    files = (entry for entry in reversed(evaluated.entries) if isinstance(entry, File))
    paths = {entry.source: entry.path for entry in files if entry.source is not None}
    found = []
    for finding in unbuilt.certain(findings, view):
        if finding.rule in _NO_MATTER:
            continue
        path = paths.get(finding.subject, finding.subject)
        named = _named_inside(finding, path)
        instruction = _instruction(named, evaluated, view)
        case = Case(evaluated=evaluated, view=view, sheet=sheet, instruction=instruction, unbuilt=unbuilt)
        mend = MENDERS.get(finding.rule)
        mended = None if mend is None else mend(named, case)
        if mended is None:
            mended = msgspec.structs.replace(named, location=sheet.location(case.span_of(finding.rule)))
        found.append(mended)
    return tuple(found)


def _named_inside(finding: Finding, path: str) -> Finding:
    """The same about the path in the image: where stages are mounted means nothing to a reader of the file."""
    if path == finding.subject:
        return finding
    outside, inside = shown(finding.subject), shown(path)
    return msgspec.structs.replace(
        finding,
        subject=path,
        message=finding.message.replace(outside, inside),
        fix=finding.fix.replace(outside, inside),
    )


def _instruction(finding: Finding, evaluated: Evaluated, view: ImageView) -> Instruction:
    return next(_candidates(finding, evaluated, view), evaluated.stage.begin)


def _candidates(finding: Finding, evaluated: Evaluated, view: ImageView) -> Iterator[Instruction]:
    """The instructions that a finding may be due to, the likeliest first."""
    settled = evaluated.settled
    field = _FIELDS.get(finding.rule)
    if field == "user" and finding.subject != view.config.user:
        field = None
    fields = {"command": ("entrypoint", "cmd")}.get(field or "", (field,) if field else ())
    if field == "command" and evaluated.config.cmd and finding.subject == evaluated.config.cmd[0]:
        fields = ("cmd", "entrypoint")
        if evaluated.config.entrypoint and finding.subject == evaluated.config.entrypoint[0]:
            fields = ("entrypoint", "cmd")
    if field == "volumes":
        yield from (
            each
            for each in reversed(evaluated.steps)
            if each.name == "VOLUME" and any(finding.subject in token.raw for token in each.tokens)
        )
    yield from (settled[each] for each in fields if each in settled)
    yield from _bringing(finding.subject, evaluated, view)
    yield from (settled[each] for each in ("entrypoint", "cmd") if each in settled)


def _bringing(path: str, evaluated: Evaluated, view: ImageView) -> Iterator[Instruction]:
    """The instruction that brought a path, what it leads to, or the nearest directory above that is not made."""
    entry = view.tree.resolve(path) if path.startswith("/") else None
    for each in dict.fromkeys((path, posixpath.normpath(path), entry.path if entry is not None else path)):
        if each in evaluated.brought:
            yield evaluated.brought[each]
