"""What a rule on hosts says: a finding, and the operations that it forbids or only concerns."""

from __future__ import annotations

from typing import Literal

import msgspec

from rootless_scratch.findings import Finding, Severity
from rootless_scratch.host.causes import cause_in
from rootless_scratch.rules.advice import listed
from rootless_scratch.troubles import Trouble, trouble_in

Operation = Literal["build-direct", "build-buildah", "run", "network", "limits", "push", "debug"]

_NEEDS_RUN: tuple[Operation, ...] = ("network", "limits", "debug")
"""These need a running container, so what forbids `run` forbids them."""


class HostFinding(Finding, frozen=True, kw_only=True, omit_defaults=True):
    """A finding with the `evidence` for it: what was read or tried, and what came of it.

    `effect` says which operations it stops, `commands` repair it, and `needs_root` says who can run them.
    """

    evidence: str = ""
    effect: str = ""
    commands: tuple[str, ...] = ()
    needs_root: bool = False


def limit_in(problem: str) -> Trouble | None:
    """The limit or full disk of which a tool's message speaks; None where it speaks of namespaces."""
    return None if cause_in(problem) is not None else trouble_in(problem)


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence, and the commands of it that can be run as they stand."""

    fix: str
    commands: tuple[str, ...] = ()
    needs_root: bool = False


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A finding about the host; `forbids` is a part of `concerns`."""

    finding: HostFinding
    forbids: frozenset[Operation]
    concerns: frozenset[Operation]


def forbid(
    *operations: Operation, rule: str, message: str, fix: str | Repair, subject: str = "host", evidence: str = ""
) -> Judged:
    """Say that these operations do not work.

    An error where building or running is among them,
    and good to know where it is `debug` alone.
    """
    severity: Severity = "error" if {"build-buildah", "run"} & set(operations) else "warning"
    if operations == ("debug",):
        severity = "info"
    reach = frozenset(operations) | (frozenset(_NEEDS_RUN) if "run" in operations else frozenset())
    stopped = [name for name in operations if name not in _NEEDS_RUN or "run" not in operations]
    effect = f"{listed(stopped)} {'do' if len(stopped) > 1 else 'does'} not work"
    return _judged(
        severity=severity,
        rule=rule,
        message=message,
        fix=fix,
        subject=subject,
        evidence=evidence,
        effect=effect,
        forbids=reach,
        concerns=reach,
    )


def remark(
    *operations: Operation,
    rule: str,
    message: str,
    fix: str | Repair,
    severity: Severity = "info",
    subject: str = "host",
    evidence: str = "",
    stops: tuple[Operation, ...] = (),
) -> Judged:
    """Say what there is to know about operations that work, unless they are among those that it `stops`."""
    return _judged(
        severity=severity,
        rule=rule,
        message=message,
        fix=fix,
        subject=subject,
        evidence=evidence,
        effect=f"{listed(operations)} {'work' if len(operations) > 1 else 'works'}"
        + (f", {listed(stops)} does not" if stops else ""),
        forbids=frozenset(stops),
        concerns=frozenset((*operations, *stops)),
    )


def _judged(
    *,
    severity: Severity,
    rule: str,
    message: str,
    fix: str | Repair,
    subject: str,
    evidence: str,
    effect: str,
    forbids: frozenset[Operation],
    concerns: frozenset[Operation],
) -> Judged:
    repair = Repair(fix=fix) if isinstance(fix, str) else fix
    finding = HostFinding(
        rule=rule,
        severity=severity,
        subject=subject,
        message=message,
        fix=repair.fix,
        evidence=evidence,
        effect=effect,
        commands=repair.commands,
        needs_root=repair.needs_root,
    )
    return Judged(finding=finding, forbids=forbids, concerns=concerns)
