"""What a rule on hosts says: a finding, and the operations that it forbids or only concerns."""

from __future__ import annotations

from typing import Literal

import msgspec

from rootless_scratch.findings import Finding, Severity

Operation = Literal["build-direct", "build-buildah", "run", "network", "limits", "push"]

_NEEDS_RUN: tuple[Operation, ...] = ("network", "limits")
"""These are properties of a running container, so what forbids `run` forbids them."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A finding about the host; `forbids` is a part of `concerns`."""

    finding: Finding
    forbids: frozenset[Operation]
    concerns: frozenset[Operation]


def forbid(*operations: Operation, rule: str, message: str, fix: str, subject: str = "host") -> Judged:
    """Say that these operations do not work; an error where building or running is among them."""
    severity: Severity = "error" if {"build-buildah", "run"} & set(operations) else "warning"
    reach = frozenset(operations) | (frozenset(_NEEDS_RUN) if "run" in operations else frozenset())
    finding = Finding(rule=rule, severity=severity, subject=subject, message=message, fix=fix)
    return Judged(finding=finding, forbids=reach, concerns=reach)


def remark(
    *operations: Operation,
    rule: str,
    message: str,
    fix: str,
    severity: Severity = "info",
    subject: str = "host",
) -> Judged:
    """Say what there is to know about operations that work."""
    finding = Finding(rule=rule, severity=severity, subject=subject, message=message, fix=fix)
    return Judged(finding=finding, forbids=frozenset(), concerns=frozenset(operations))
