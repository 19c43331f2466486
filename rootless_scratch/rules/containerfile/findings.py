"""What parsing and working off a Containerfile has met, as findings with line and column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.findings import Finding, Location, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless_scratch.containerfile.document import Document, Fault, Span
    from rootless_scratch.containerfile.evaluated import Evaluated

_SYNTAX = "containerfile-syntax"
_REFUSED = "instruction-refused"
_NO_MATTER = frozenset({"no-command", "no-platform"})
"""An image without a command is one that others take files from, or begin with."""

_NOTED = {
    "argument-not-redeclared": (
        "${0} is empty here: its ARG stands before FROM, and no ARG of this stage takes it over.",
        "Add the line `ARG {0}` above, in this stage.",
    ),
    "undeclared-argument": (
        "${0} is empty here: neither ARG nor ENV sets it.",
        "Declare it with ARG or ENV above, or write `\\${0}` for the characters themselves.",
    ),
    "pattern-matches-nothing": (
        "The pattern {0!r} matches nothing.",
        "Correct it, or remove it: builders differ in whether that is an error.",
    ),
}


def findings_of(
    document: Document,
    evaluated: Evaluated | None,
    also: tuple[Fault, ...] = (),
    image: Iterable[Finding] = (),
) -> tuple[Finding, ...]:
    """All faults as errors and what was noted as warnings, in the order of their lines, then those of the `image`.

    `evaluated` is None where no stage could be worked off, `also` are faults that are in neither.
    """
    faults = dict.fromkeys((*(document.faults if evaluated is None else evaluated.faults), *also))
    unread = set(document.faults)
    found = [
        _at(document, each.span, "error", _SYNTAX if each in unread else _REFUSED, (each.message, each.fix))
        for each in faults
    ]
    for each in () if evaluated is None else evaluated.noted:
        message, fix = (text.format(*each.values) for text in _NOTED.get(each.what, ("", "")))
        if message:
            span = each.token.span if each.token else each.instruction.span
            found.append(_at(document, span, "warning", each.what, (message, fix)))
    found.sort(key=lambda each: (each.location.line, each.location.column) if each.location else (0, 0))
    return tuple(dict.fromkeys((*found, *(each for each in image if each.rule not in _NO_MATTER))))


def _at(document: Document, span: Span, severity: Severity, rule: str, texts: tuple[str, str]) -> Finding:
    location = location_of(document, span)
    where = f"{location.path}:{location.line}:{location.column}"
    found = Finding.error(rule=rule, subject=document.path, message=f"{where}: {texts[0]}", fix=texts[1])
    return msgspec.structs.replace(found, severity=severity, location=location)


def location_of(document: Document, span: Span) -> Location:
    """A part of the file, with its first line."""
    lines = document.text.split("\n")
    return Location(
        path=document.path,
        line=span.line,
        column=span.column,
        end_line=span.end_line,
        end_column=span.end_column,
        text=lines[span.line - 1].rstrip("\r") if span.line <= len(lines) else "",
    )
