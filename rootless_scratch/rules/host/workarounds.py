"""The doctor's rules on what is done otherwise here: each work-around that tools are given, with its repair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.host.causes import OWN_HOME
from rootless_scratch.rules.host.judged import Judged, Operation, Repair, remark
from rootless_scratch.rules.host.storage import is_short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.findings import Severity
    from rootless_scratch.host.facts import HostFacts

_SPOOL_CHOSEN = (5, 0)
"""The podman that unpacks what it loads in TMPDIR; before, it is in /var/tmp, whatever TMPDIR says."""

_USERS: tuple[Operation, ...] = ("build-buildah", "run")
_WRITERS: tuple[Operation, ...] = ("build-buildah", "push", "debug")
_WRITE_POLICY = (
    "mkdir -p ~/.config/containers",
    """echo '{"default":[{"type":"insecureAcceptAnything"}]}' > ~/.config/containers/policy.json""",
)
_REPAIRS: dict[str, tuple[tuple[Operation, ...], Severity, str | Repair]] = {
    "host-environment": (_USERS, "info", "Nothing needs to be done; correct the variable, and it is used again."),
    "host-home": (
        _USERS,
        "warning",
        f"Set HOME to a directory of your own that lasts, e.g. {OWN_HOME}.",
    ),
    "host-disk-full": (
        _WRITERS,
        "warning",
        "Free some space there, or set TMPDIR to a directory on another disk.",
    ),
    "host-not-writable": (_WRITERS, "warning", "Set TMPDIR to a directory of your own, with some room."),
    "host-storage-overlay": (
        _USERS,
        "warning",
        "Nothing needs to be done; with a storage that works, `rootless-scratch build` the images again in it.",
    ),
}


def judge_workarounds(facts: HostFacts) -> Iterator[Judged]:
    """What tools are given in place of what they would stumble over: it all works by that."""
    for each in facts.workarounds:
        if each.rule in _REPAIRS:
            operations, severity, fix = _REPAIRS[each.rule]
            is_spool_short = operations == _WRITERS and _is_spool_short(facts)
            yield remark(
                *(name for name in operations if not (is_spool_short and name == "debug")),
                stops=("debug",) if is_spool_short else (),
                rule=each.rule,
                severity=severity,
                subject="environment",
                message=each.sentence,
                fix=fix,
                evidence=each.sentence,
            )
    if facts.storage.policy is None:
        yield remark(
            *_USERS,
            "push",
            "debug",
            rule="host-policy-missing",
            severity="warning",
            subject="policy.json",
            message="There is no readable policy.json: buildah, podman and skopeo are given one that accepts "
            "every image.",
            fix=Repair(
                fix=f"Run `rootless-scratch doctor --fix`, or: `{' && '.join(_WRITE_POLICY)}`.",
                commands=_WRITE_POLICY,
            ),
            evidence="~/.config/containers/policy.json, /etc/containers/policy.json: cannot be read",
        )


def _is_spool_short(facts: HostFacts) -> bool:
    """Whether podman has no room to load an image in."""
    spool = facts.storage.spool
    return spool is not None and is_short(spool) and facts.tool("podman").release < _SPOOL_CHOSEN
