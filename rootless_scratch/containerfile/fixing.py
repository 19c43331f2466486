"""The corrected text of a Containerfile: what findings say that its lines should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rootless_scratch.containerfile.own_options import own_options, with_options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless_scratch.findings import Finding

_ROUNDS = 20
"""A corrected line may show what else is wrong with it."""


class Judged(NamedTuple):
    """What is found about one text of the file, and the options that would mend what no line of it can."""

    findings: tuple[Finding, ...]
    missing: tuple[str, ...] = ()


class Fixed(NamedTuple):
    """The corrected text, and what is still found about it."""

    text: str
    findings: tuple[Finding, ...]


def fixed(text: str, judge: Callable[[str], Judged]) -> Fixed:
    """The text with all that can be corrected; corrected once more it stays as it is.

    `judge` is asked again after each round, as one correction may make another one needless.
    """
    seen = {text}
    judged = judge(text)
    for _ in range(_ROUNDS):
        corrected = with_corrections(text, judged.findings)
        if corrected in seen:
            break
        seen.add(corrected)
        text, judged = corrected, judge(corrected)
    for _ in range(_ROUNDS):
        missing = missing_options(text, judged.missing)
        after = judge(with_options(text, missing)) if missing else judged
        if len(after.findings) >= len(judged.findings):
            break
        text, judged = with_options(text, missing), after
    return Fixed(text, judged.findings)


def with_corrections(text: str, findings: Sequence[Finding]) -> str:
    """The text with the lines that findings correct; of two for the same line the first."""
    lines = text.split("\n")
    taken: set[int] = set()
    corrections: dict[int, tuple[int, str]] = {}
    for finding in findings:
        where = finding.location
        if where is None or where.corrected is None:
            continue
        span = range(where.line, where.end_line + 1)
        if taken.isdisjoint(span):
            taken.update(span)
            corrections[where.line] = (where.end_line, where.corrected)
    for line in sorted(corrections, reverse=True):
        last, corrected = corrections[line]
        end = "\r" if lines[last - 1].endswith("\r") else ""
        lines[line - 1 : last] = [each.removesuffix("\r") + end for each in corrected.split("\n")]
    return "\n".join(lines)


def missing_options(text: str, flags: Sequence[str]) -> tuple[str, ...]:
    """Those of the options that the file does not have yet."""
    values, _ = own_options(text)
    essentials = set(",".join(values.get("essentials", ())).split(","))
    found: list[str] = []
    for flag in flags:
        name, _, value = flag.partition("=")
        if name == "--bundle-libraries" and values.get("bundle_libraries"):
            continue
        if name == "--with" and value in essentials:
            continue
        found.append(flag)
    return tuple(found)
