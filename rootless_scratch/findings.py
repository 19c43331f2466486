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
