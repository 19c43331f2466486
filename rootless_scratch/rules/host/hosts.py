"""The doctor's judgement: from the facts of a host to what works there, why not, and what to do.

An operation works where no rule forbids it. The rules on rights (user namespaces, ids), on storage and on quotas
are in modules of their own.
"""

from __future__ import annotations

import os
import shlex
from itertools import chain
from typing import TYPE_CHECKING, get_args

import msgspec

from rootless_scratch.host.environment import socket_unit
from rootless_scratch.rules.host.judged import HostFinding, Judged, Operation, Repair, forbid, remark
from rootless_scratch.rules.host.quotas import judge_quotas
from rootless_scratch.rules.host.repairs import as_root, install
from rootless_scratch.rules.host.rights import judge_rights
from rootless_scratch.rules.host.storage import judge_storage
from rootless_scratch.rules.host.workarounds import judge_workarounds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from rootless_scratch.host.facts import HostFacts

OLDEST = {"podman": (4, 3), "buildah": (1, 28)}
"""What this package is tested with, from the oldest on."""

PASTA_SINCE = (5, 0)
"""The podman whose default is pasta; before, it is slirp4netns."""

PAUSE_MENDED = (6, 0)
"""The podman that removes by itself what is left of a pause process."""

BOOTS_COMPARED = (5, 1)
"""The podman that refuses what is left from before the last boot; before, it takes no notice."""

_ORDER = {"error": 0, "warning": 1, "info": 2}
_LIMIT_CONTROLLERS = ("cpu", "memory", "pids")


class OperationOutlook(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one operation works on this host, and the rules that have something to say about it."""

    name: Operation
    works: bool
    findings: tuple[str, ...]


class HostJudgement(msgspec.Struct, frozen=True, kw_only=True):
    """All operations, and the findings behind them, the gravest first."""

    operations: tuple[OperationOutlook, ...]
    findings: tuple[HostFinding, ...]

    def operation(self, name: Operation) -> OperationOutlook:
        """Look one operation up."""
        return next(each for each in self.operations if each.name == name)

    def of(self, names: Collection[Operation]) -> HostJudgement:
        """The same of these operations alone."""
        operations = tuple(each for each in self.operations if each.name in names)
        rules = {rule for each in operations for rule in each.findings}
        return HostJudgement(
            operations=operations, findings=tuple(each for each in self.findings if each.rule in rules)
        )


def judge_host(facts: HostFacts) -> HostJudgement:
    """Judge every operation by the same facts; pure."""
    rules = (
        _tools,
        judge_rights,
        _runtime,
        _network,
        _limits,
        judge_storage,
        judge_quotas,
        judge_workarounds,
        _session,
        _debug,
    )
    judged = sorted(
        chain.from_iterable(rule(facts) for rule in rules), key=lambda each: _ORDER[each.finding.severity]
    )
    names: tuple[Operation, ...] = get_args(Operation)
    return HostJudgement(
        operations=tuple(
            OperationOutlook(
                name=name,
                works=not any(name in each.forbids for each in judged),
                findings=tuple(dict.fromkeys(each.finding.rule for each in judged if name in each.concerns)),
            )
            for name in names
        ),
        findings=tuple(each.finding for each in judged),
    )


def _tools(facts: HostFacts) -> Iterator[Judged]:
    wanted: tuple[tuple[str, tuple[Operation, ...]], ...] = (
        ("buildah", ("build-buildah",)),
        ("podman", ("run",)),
        ("conmon", ("run",)),
        ("skopeo", ("push",)),
    )
    for name, operations in wanted:
        tool = facts.tool(name)
        if tool.path is None:
            yield forbid(
                *operations,
                rule=f"host-{name}-missing",
                subject=name,
                message=f"{name} is not installed or not in PATH.",
                evidence=f"PATH: no {name}",
                fix=install(facts, name),
            )
        elif name in OLDEST and tool.version and tool.release < OLDEST[name]:
            oldest = ".".join(str(number) for number in OLDEST[name])
            yield remark(
                *operations,
                severity="warning",
                rule=f"host-{name}-old",
                subject=name,
                message=f"{name} {tool.version} is older than {oldest}, the oldest that is tested.",
                fix=f"Use {name} {oldest} or later, for example from a newer release of the distribution.",
            )


def _runtime(facts: HostFacts) -> Iterator[Judged]:
    runtime = facts.cgroups.runtime
    if facts.tool("crun").path is None and facts.tool("runc").path is None:
        rule = "host-runtime-missing"
        message = "Neither crun nor runc, which start containers for podman, is installed."
        fix = install(facts, "crun")
    elif runtime is None:
        rule = "host-runtime-hybrid"
        message = "cgroup v1 and v2 are mounted side by side (hybrid) here, which crun refuses, and runc is not "
        message += "installed."
        fix = install(facts, "runc")
    else:
        if runtime.name is not None:
            yield remark(
                "run",
                rule="host-runtime-chosen",
                subject="runtime",
                message=f"Containers are started with {runtime.name}, because {runtime.reason}.",
                fix="Nothing needs to be done.",
            )
        return
    yield forbid(
        "run", rule=rule, subject="runtime", message=message, fix=fix, evidence=f"cgroups: {facts.cgroups.mode}"
    )


def _network(facts: HostFacts) -> Iterator[Judged]:
    rule = "host-network-helper"
    if facts.identity.rootful:
        if facts.network.bridge is None:
            message = "Neither netavark nor the CNI plugins, which connect containers of root, are here."
            yield forbid("network", rule=rule, subject="network", message=message, fix=install(facts, "netavark"))
        return
    if facts.tool("slirp4netns").path is None and facts.tool("pasta").path is None:
        message = "Neither pasta nor slirp4netns, which connect containers without root, is installed."
        helper = "slirp4netns" if facts.tool("podman").release < PASTA_SINCE else "pasta"
        fix = install(facts, helper)
        message += " Until then containers run with `--network none`."
        yield forbid("network", rule=rule, subject="network", message=message, fix=fix, evidence="PATH: neither")
    if facts.network.tun is not None:
        yield forbid(
            "network",
            rule="host-tun",
            subject="/dev/net/tun",
            message=f"/dev/net/tun cannot be opened ({facts.network.tun}), "
            "so containers run with `--network none`.",
            fix="Start the surrounding container with `--device /dev/net/tun`."
            if facts.surroundings.in_container
            else as_root(facts, "modprobe tun", "chmod 0666 /dev/net/tun"),
            evidence=f"open(/dev/net/tun, O_RDWR): {facts.network.tun}",
        )


def _delegation(facts: HostFacts) -> str | Repair:
    if facts.surroundings.in_container:
        return (
            "Start the surrounding container with a control group of its own that it may write to: "
            "`--cgroupns=private --privileged`, or limit the whole job by its own settings."
        )
    text = "[Service]\\nDelegate=cpu cpuset io memory pids\\n"
    commands = (
        "mkdir -p /etc/systemd/system/user@.service.d",
        f"sh -c \"printf '{text}' > /etc/systemd/system/user@.service.d/delegate.conf\"",
        "systemctl daemon-reload",
    )
    return as_root(facts, *commands, end=", then log in again.")


def _debug(facts: HostFacts) -> Iterator[Judged]:
    if facts.tool("busybox").path is None:
        yield forbid(
            "debug",
            rule="host-toolbox-missing",
            subject="busybox",
            message="There is no busybox, whose tools `debug` puts beside a container; `debug --toolbox "
            "PROGRAM` takes "
            "another program.",
            fix=install(facts, "busybox"),
        )


def _limits(facts: HostFacts) -> Iterator[Judged]:
    mode = facts.cgroups.mode
    if mode == "v2":
        absent = [name for name in _LIMIT_CONTROLLERS if name not in facts.cgroups.controllers]
        if absent:
            yield forbid(
                "limits",
                rule="host-cgroup-delegation",
                subject="cgroups",
                message=f"The cgroup controllers {', '.join(absent)} are not delegated to this user, "
                "so limits on them are refused, or not enforced.",
                fix=_delegation(facts),
                evidence=f"cgroup.controllers of this user: {' '.join(facts.cgroups.controllers) or 'none'}",
            )
    elif mode == "none" or not facts.identity.rootful:
        seen = "No cgroups are mounted here" if mode == "none" else f"cgroups are {mode} here"
        yield forbid(
            "limits",
            rule="host-cgroup-limits",
            subject="cgroups",
            message=f"{seen}, where podman ignores limits on memory, processes and CPU without root.",
            fix="Boot with `systemd.unified_cgroup_hierarchy=1` on the kernel command line to get cgroup v2.",
        )


def _session(facts: HostFacts) -> Iterator[Judged]:
    if facts.runtime_dir_problem is not None:
        yield remark(
            "build-buildah",
            "run",
            rule="host-runtime-dir",
            subject="XDG_RUNTIME_DIR",
            message=f"XDG_RUNTIME_DIR is ignored: {facts.runtime_dir_problem}.",
            fix="Log in directly instead of with `su` or `sudo`, or unset XDG_RUNTIME_DIR.",
            evidence=f"stat({facts.runtime_dir})",
        )
    pause = facts.pause
    if pause.pid is not None and not pause.alive and facts.tool("podman").release < PAUSE_MENDED:
        removal = f"rm {shlex.quote(pause.path)}"
        yield forbid(
            "run",
            rule="host-pause",
            subject=pause.path,
            message="The process that keeps podman's user namespace has ended, and podman still looks for it.",
            fix=Repair(fix=f"Run `rootless-scratch doctor --fix`, or: `{removal}`.", commands=(removal,)),
            evidence=f"{pause.path}: {pause.pid}, which is no such process",
        )
    sentinel = facts.sentinel
    if sentinel.path is not None and sentinel.another_boot and facts.tool("podman").release >= BOOTS_COMPARED:
        removal = f"rm -r {shlex.quote(os.path.dirname(sentinel.path))}"
        yield forbid(
            "run",
            rule="host-runtime-left",
            subject=sentinel.path,
            message="podman's runtime directory is left from before the last boot.",
            fix=Repair(fix=f"Remove it: `{removal}`.", commands=(removal,)),
            evidence=f"{sentinel.path}: not the ID in /proc/sys/kernel/random/boot_id",
        )
    socket = facts.socket
    if socket.state == "listening":
        return
    if socket.state == "elsewhere":
        yield remark(
            "run",
            rule="host-socket-elsewhere",
            subject=socket.path,
            message=f"`run` and `debug` use the podman service {socket.path}, which is not examined here.",
            fix="Nothing needs to be done; `rootless-scratch doctor` on that host reports on it.",
        )
        return
    problem = {
        "absent": f"no podman service listens at {socket.path}",
        "stale": f"the podman service that made {socket.path} has ended",
        "forbidden": f"{socket.path} may not be opened by this user",
        "remote": f"{socket.path} is neither the address of a unix socket nor one of ssh",
    }[socket.state]
    if socket.named:
        yield forbid(
            "run",
            rule="host-socket-named",
            subject="CONTAINER_HOST",
            message=f"CONTAINER_HOST is set, but {problem}.",
            fix=f"Unset CONTAINER_HOST, or start that service (`{socket_unit('start', uid=facts.identity.uid)}`).",
        )
    else:
        yield remark(
            "run",
            rule="host-socket",
            subject=socket.path,
            message=f"{problem[0].upper()}{problem[1:]}, so `run` starts one of its own, which waits for the next "
            "call where runs follow each other.",
            fix=f"Nothing needs to be done; `{socket_unit('enable --now', uid=facts.identity.uid)}` saves the "
            "start.",
        )
