"""One judgement about a program, a plan, an image or a host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

Severity = Literal["error", "warning", "info"]
Verdict = Literal["starts", "fails", "unknown"]


class Location(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The part of a text file that a finding is about: `text` is its first line, whole, `end_column` is exclusive.

    Lines and columns count characters from 1. `corrected` is what to write in place of the lines from `line` to
    `end_line`, None where no text can mend it.
    """

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    text: str = ""
    corrected: str | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rule that spoke: what it saw in `subject`, and what to do about it.

    `rule` is stable and documented in docs/rules.md; `message` and `fix` are one sentence each. `aliases` are ids
    that the same cause had after a run when it had another before. `location` is set where it is about a line.
    """

    rule: str
    severity: Severity
    subject: str
    message: str
    fix: str
    aliases: tuple[str, ...] = ()
    location: Location | None = None

    @classmethod
    def error(cls, *, rule: str, subject: str, message: str, fix: str, aliases: tuple[str, ...] = ()) -> Finding:
        """One that forbids a build."""
        return cls(rule=rule, severity="error", subject=subject, message=message, fix=fix, aliases=aliases)

    @classmethod
    def warning(cls, *, rule: str, subject: str, message: str, fix: str) -> Finding:
        """One that may not matter."""
        return cls(rule=rule, severity="warning", subject=subject, message=message, fix=fix)

    @classmethod
    def info(cls, *, rule: str, subject: str, message: str, fix: str) -> Finding:
        """One that is good to know."""
        return cls(rule=rule, severity="info", subject=subject, message=message, fix=fix)


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What `check` says of one subject: will it start, and the findings behind the answer."""

    subject: str
    verdict: Verdict
    findings: tuple[Finding, ...]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)


def of_platforms(findings: Sequence[tuple[str, Sequence[Finding]]]) -> tuple[Finding, ...]:
    """What is found in images for several platforms, each once: with the platforms, unless it holds for all."""
    where: dict[Finding, list[str]] = {}
    for platform, found in findings:
        for each in dict.fromkeys(found):
            where.setdefault(each, []).append(platform)
    return tuple(
        each
        if len(platforms) == len(findings)
        else msgspec.structs.replace(each, message=f"For {' and '.join(platforms)}: {each.message}")
        for each, platforms in where.items()
    )


def errors_of(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Those findings that forbid a build."""
    return tuple(finding for finding in findings if finding.severity == "error")
