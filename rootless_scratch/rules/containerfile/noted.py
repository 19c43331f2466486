"""What an instruction did that a reader would not expect: cases that the evaluation notes become findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from rootless_scratch.expressions import expression
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.containerfile.document import Document, Instruction, Token
    from rootless_scratch.containerfile.evaluated import Evaluated, Noted
    from rootless_scratch.findings import Finding
    from rootless_scratch.rules.containerfile.sheet import Sheet


class _Case(NamedTuple):
    """How a case is told; `{subject}` is the argument, `{0}` the first value, `{name}` the instruction."""

    message: str
    fix: str


CASES: Final[dict[str, _Case]] = {
    "undeclared-argument": _Case(
        "No ARG and no ENV sets {0} here, so ${0} is empty.",
        "Declare it above by `ARG {0}`, or correct its name; `${{{0}:-VALUE}}` has a value for that case.",
    ),
    "argument-not-redeclared": _Case(
        "{0} is declared outside of this stage only, so ${0} is empty here.",
        "Declare it again in the stage, above this line: `ARG {0}`.",
    ),
    "pattern-matches-nothing": _Case(
        "The pattern {subject} matches nothing, and what it stands for is missing in the image.",
        "Correct it, or remove it.",
    ),
    "several-sources-one-file": _Case(
        "{name} has several sources, and the destination {0} does not end in `/`: some builders make a directory "
        "of it, one fails, and one leaves the last file alone.",
        "End the destination in `/`.",
    ),
    "url-not-unpacked": _Case(
        "{name} fetches an archive, and does not unpack what comes from a URL.",
        "Fetch and unpack it in an earlier stage, or add it to the context.",
    ),
    "special-file": _Case(
        "{0} is a pipe, a socket or a device, which {name} leaves out.",
        "Leave it out by a line of .dockerignore, or make the archive without it.",
    ),
}
"""By what is noted; each is a warning."""

_ELSEWHERE: Final = frozenset({"json-without-end", "json-not-valid", "json-with-rest"})
"""Cases that can be seen in the text of any stage (arrays.py)."""

_ARCHIVE: Final = expression(r"https?://[^\s?#]+\.(?:tar(?:\.\w+)?|t[gbx]z|tzst)(?:[?#]\S*)?")


def judge_noted(evaluated: Evaluated, sheet: Sheet) -> Iterator[Finding]:
    """Each case as a finding at its line."""
    for noted in evaluated.noted:
        if noted.what not in _ELSEWHERE:
            yield _finding(noted, evaluated.document, sheet)
    known = {each.instruction for each in evaluated.noted if each.what == "url-not-unpacked"}
    for each in evaluated.steps:
        if each.name == "ADD" and each not in known and each.flag("unpack") is None:
            for token in each.tokens[:-1]:
                if _ARCHIVE.fullmatch(token.raw.strip("\"'")):
                    case = CASES["url-not-unpacked"]
                    yield sheet.finding(
                        "url-not-unpacked", "warning", token, case.message.format(name="ADD"), case.fix
                    )


def _is_below(noted: Noted, document: Document) -> bool:
    """Whether the stage declares the variable, and only after the line that uses it."""
    line = noted.instruction.span.line
    numbers = [stage for stage in document.stages if stage.begin.span.line < line]
    return bool(numbers) and any(
        name.raw == noted.values[0]
        for each in numbers[-1].instructions
        if each.name == "ARG" and each.span.line > line
        for name, _ in each.pairs
    )


def _finding(noted: Noted, document: Document, sheet: Sheet) -> Finding:
    case = CASES[noted.what]
    subject = noted.token.raw if noted.token is not None else noted.instruction.text
    values = [shown(value) for value in noted.values]
    texts = {"subject": shown(subject), "name": noted.instruction.name}
    at: Instruction | Token = noted.instruction if noted.token is None else _closed(noted.token, sheet)
    corrected = None
    fix = case.fix
    if noted.what == "undeclared-argument" and _is_below(noted, document):
        fix = "Move `ARG {0}` above this line: it holds from there on."
    if noted.what == "argument-not-redeclared" and at.span.line == noted.instruction.span.line:
        first = noted.instruction.span.but(end_line=at.span.end_line)
        corrected = "\n".join((f"ARG {noted.values[0]}", *sheet.lines(first)))
    if noted.what == "several-sources-one-file" and noted.instruction.exec_form is None:
        at = noted.instruction.tokens[-1]
        corrected = sheet.replaced(at.span, f"{noted.instruction.tokens[-1].raw}/")
    return sheet.finding(
        noted.what,
        "warning",
        at,
        case.message.format(*values, **texts),
        fix.format(*values, **texts),
        subject=subject,
        corrected=corrected,
    )


def _closed(token: Token, sheet: Sheet) -> Token:
    """A variable with the brace behind its name."""
    span = token.span
    if not token.raw.startswith("${") or sheet.line(span.end_line)[span.end_column - 1 :][:1] != "}":
        return token
    return token.but(raw=f"{token.raw}}}", span=span.but(end_column=span.end_column + 1))
