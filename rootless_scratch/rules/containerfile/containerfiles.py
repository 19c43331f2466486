"""Judgement of a Containerfile: as it is written, and of the image that its last stage comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.rules.containerfile.arrays import judge_arrays
from rootless_scratch.rules.containerfile.instructions import (
    judge_arguments,
    judge_dropped,
    judge_faults,
    judge_maintainers,
    judge_runs,
    judge_workdirs,
)
from rootless_scratch.rules.containerfile.located import located
from rootless_scratch.rules.containerfile.noted import judge_noted
from rootless_scratch.rules.containerfile.secrets import judge_secrets, judge_variables
from rootless_scratch.rules.containerfile.sheet import Sheet
from rootless_scratch.rules.containerfile.unbuilt import Unbuilt, judge_unbuilt, refused_copies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rootless_scratch.containerfile.document import Document, Fault
    from rootless_scratch.containerfile.evaluated import Evaluated
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.rootfs import File
    from rootless_scratch.rules.view import ImageView

_RANK: Final = {"error": 0, "warning": 1, "info": 2}

_FOLLOWS: Final = {
    "shell-form": ("json-without-end", "json-not-valid"),
    "healthcheck-unusable": ("json-without-end", "json-not-valid"),
    "arguments-in-shell-form": ("json-without-end", "json-not-valid"),
    "instruction-refused": ("run-in-scratch", "containerfile-syntax"),
}
"""Rules that have nothing to add where another one speaks of the same line, but how grave it is."""


def judge_document(document: Document, faults: Iterable[Fault] | None = None) -> tuple[Finding, ...]:
    """Judge a file as it is written, without its context; `faults` are those of the document unless given."""
    sheet = Sheet(document)
    return in_order(
        (
            *judge_faults(document.faults if faults is None else faults, document, sheet),
            *judge_arrays(document, sheet),
            *judge_maintainers(document, sheet),
            *judge_runs(document, sheet, None, None),
            *judge_variables(document, sheet),
        )
    )


def judge_containerfile(
    evaluated: Evaluated,
    view: ImageView,
    findings: Iterable[Finding],
    *,
    content: Callable[[File], bytes | None],
    beyond_oci: bool = False,
) -> tuple[Finding, ...]:
    """Judge a file and its image, about which `findings` are known already; each comes with its line.

    `view` is the image, `content` is as judge_image has it. `beyond_oci` is whether the image has keys that OCI
    has not.
    """
    document = evaluated.document
    sheet = Sheet(document)
    # What could not be copied would be there too, so that nothing is told twice.
    unknown = Unbuilt(document, evaluated.unbuilt, refused_copies(evaluated))
    runs = tuple(judge_runs(document, sheet, evaluated, view))
    return in_order(
        (
            *judge_faults(evaluated.faults, document, sheet),
            *judge_arrays(document, sheet),
            *judge_noted(evaluated, sheet),
            *unknown.certain(runs, view),
            *located(findings, evaluated, view, sheet=sheet, unbuilt=unknown),
            *judge_secrets(evaluated, sheet, content),
            *judge_variables(document, sheet),
            *judge_arguments(evaluated, view, sheet),
            *judge_workdirs(evaluated, view, sheet),
            *(() if beyond_oci else judge_dropped(evaluated, sheet)),
            *judge_unbuilt(evaluated.unbuilt, sheet),
            *judge_maintainers(document, sheet),
        )
    )


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Each once, the grave ones first and then by their lines, without what only follows from another."""
    every = list(dict.fromkeys(findings))
    at: dict[tuple[str, int], int] = {}
    for number, each in enumerate(every):
        if each.location is not None:
            at.setdefault((each.rule, each.location.line), number)
    kept: dict[int, Finding] = dict(enumerate(every))
    for number, each in enumerate(every):
        line = 0 if each.location is None else each.location.line
        causes = (at.get((rule, line)) for rule in _FOLLOWS.get(each.rule, ()))
        cause = next((cause for cause in causes if cause is not None), None)
        if cause is not None:
            del kept[number]
            if _RANK[each.severity] < _RANK[kept[cause].severity]:
                kept[cause] = msgspec.structs.replace(kept[cause], severity=each.severity)
    return tuple(sorted(kept.values(), key=_rank))


def _rank(finding: Finding) -> tuple[int, int, int]:
    line = (finding.location.line, finding.location.column) if finding.location is not None else (0, 0)
    return (_RANK[finding.severity], *line)
