"""The doctor's rules on what is counted: open files, processes, memory, kernel keys, podman's locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.rules.host.judged import Judged, Repair, forbid, limit_in, remark
from rootless_scratch.rules.host.repairs import as_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.host.facts import HostFacts

_FEWEST_FILES, _FEW_FILES = 20, 256
_FEW_PROCESSES = 256
_FEWEST_KEYS, _FEW_KEYS = 2, 20
"""A container takes one or two."""


def judge_quotas(facts: HostFacts) -> Iterator[Judged]:
    """Whether a limit stands in the way, as measured with podman 4.3 and buildah 1.28."""
    yield from _files(facts)
    yield from _processes(facts)
    yield from _keys(facts)
    if facts.quotas.locks is not None:
        yield forbid(
            "run",
            rule="host-locks",
            subject="/dev/shm",  # noqa: S108 - where podman has them
            message=f"podman cannot have its locks: {facts.quotas.locks}.",
            fix="Start the surrounding container with a writable /dev/shm."
            if facts.surroundings.in_container
            else "Mount a writable tmpfs at /dev/shm; a file there of another user is for an administrator to "
            "remove.",
            evidence=facts.quotas.locks,
        )


def _files(facts: HostFacts) -> Iterator[Judged]:
    most = facts.quotas.open_files
    if most is None or most >= _FEW_FILES:
        return
    message = f"Only {most} files can be open at a time (`ulimit -Hn`)"
    fix = "Raise it: `ulimit -n 1024`, or `nofile` in /etc/security/limits.conf or the settings of the CI job."
    evidence = f"getrlimit(RLIMIT_NOFILE): {most}"
    if most < _FEWEST_FILES:
        message += ", too few for podman."
        yield forbid(
            "run", rule="host-resource-limit", subject="open files", message=message, fix=fix, evidence=evidence
        )
    else:
        message += ", which programs in containers share."
        yield remark(
            "run",
            severity="warning",
            rule="host-resource-limit",
            subject="open files",
            message=message,
            fix=fix,
            evidence=evidence,
        )


def _processes(facts: HostFacts) -> Iterator[Judged]:
    """What a tool met that has no room for its threads or its memory; else a limit that is low."""
    spaces = facts.user_namespaces
    problem = spaces.probe.problem or (spaces.id_map.problem if spaces.id_map else None) or ""
    trouble = limit_in(problem)
    most = facts.quotas.processes
    if trouble is not None:
        yield forbid(
            "build-buildah",
            "run",
            rule="host-resource-limit",
            subject="processes and memory",
            message=trouble.cause,
            fix=trouble.fix,
            evidence=f"buildah unshare: {problem}; RLIMIT_NPROC {most}, RLIMIT_AS {facts.quotas.memory}",
        )
    elif most is not None and most < _FEW_PROCESSES:
        yield remark(
            "build-buildah",
            "run",
            severity="warning",
            rule="host-resource-limit",
            subject="processes",
            message=f"This user may have only {most} processes and threads at a time (`ulimit -u`).",
            fix="Raise the limit: `ulimit -u 4096`, or `nproc` in /etc/security/limits.conf or in the settings "
            "of the CI "
            "job.",
            evidence=f"getrlimit(RLIMIT_NPROC): {most}",
        )


def _keys(facts: HostFacts) -> Iterator[Judged]:
    left = facts.quotas.keys
    if left is None or left >= _FEW_KEYS:
        return
    raised = as_root(facts, "sysctl -w kernel.keys.maxkeys=20000")
    fix = Repair(
        fix=f"{raised.fix[:-1]}; or set `keyring=false` below [containers] in "
        "~/.config/containers/containers.conf.",
        commands=raised.commands,
        needs_root=True,
    )
    message = f"{left} kernel keys are left to this user, of which each container takes one."
    evidence = f"/proc/key-users: {left} left"
    if left < _FEWEST_KEYS:
        message += " Without one, containers are started without a keyring of their own."
    yield remark(
        "run",
        severity="warning",
        rule="host-keys",
        subject="kernel keys",
        message=message,
        fix=fix,
        evidence=evidence,
    )
