"""One judgement about a program, a plan, an image or a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

Severity = Literal["error", "warning", "info"]
Verdict = Literal["starts", "fails", "unknown"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that spoke: what it saw in `subject`, and what to do about it.

    `rule` is stable and documented in docs/rules.md; `message` and `fix` are one sentence each.
    """

    rule: str
    severity: Severity
    subject: str
    message: str
    fix: str

    @classmethod
    def error(cls, *, rule: str, subject: str, message: str, fix: str) -> Finding:
        """One that forbids a build."""
        return cls(rule=rule, severity="error", subject=subject, message=message, fix=fix)

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


def errors_of(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Those findings that forbid a build."""
    return tuple(finding for finding in findings if finding.severity == "error")
