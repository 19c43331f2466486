"""The doctor's judgement: from the facts of a host to what works there, why not, and what to do.

An operation works where no rule forbids it. The rules on rights (user namespaces, ids) are in host_rights.py.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, get_args

import msgspec

from rootless_scratch.command import install_hint
from rootless_scratch.host.environment import socket_unit
from rootless_scratch.rules.host.judged import Judged, Operation, forbid, remark
from rootless_scratch.rules.host.rights import judge_rights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.findings import Finding
    from rootless_scratch.host.facts import HostFacts
    from rootless_scratch.host.storage import Location

OLDEST = {"podman": (4, 3), "buildah": (1, 28)}
"""What this package is tested with, from the oldest on."""

_LITTLE = 1 << 30
_TOO_LITTLE = 16 << 20
_NETWORK_FILE_SYSTEMS = frozenset(
    # containers/storage refuses overlay on these; the names are those of /proc/filesystems.
    ("nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "ceph", "afs", "9p", "fuse.sshfs", "beegfs", "panfs")
)
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
    findings: tuple[Finding, ...]

    def operation(self, name: Operation) -> OperationOutlook:
        """Look one operation up."""
        return next(each for each in self.operations if each.name == name)


def judge_host(facts: HostFacts) -> HostJudgement:
    """Judge every operation by the same facts; pure."""
    rules = (_tools, judge_rights, _runtime, _network, _limits, _storage, _session)
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
                fix=install_hint(name),
            )
        elif name in OLDEST and tool.version and tuple(map(int, tool.version.split("."))) < OLDEST[name]:
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
        fix = install_hint("crun")
    elif runtime is None:
        rule = "host-runtime-hybrid"
        message = "cgroup v1 and v2 are mounted side by side (hybrid) here, which crun refuses, and runc is not "
        message += "installed."
        fix = install_hint("runc")
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
    yield forbid("run", rule=rule, subject="runtime", message=message, fix=fix)


def _network(facts: HostFacts) -> Iterator[Judged]:
    rule = "host-network-helper"
    if facts.identity.rootful:
        if facts.network.bridge is None:
            message = "Neither netavark nor the CNI plugins, which connect containers of root, are here."
            yield forbid("network", rule=rule, subject="network", message=message, fix=install_hint("netavark"))
        return
    if facts.tool("slirp4netns").path is None and facts.tool("pasta").path is None:
        message = "Neither pasta nor slirp4netns, which connect containers without root, is installed."
        fix = "Install one: `sudo apt-get install passt slirp4netns` (Debian, Ubuntu) or `sudo dnf install passt` "
        fix += "(Fedora, RHEL); until then containers run with `--network none`."
        yield forbid("network", rule=rule, subject="network", message=message, fix=fix)
    if facts.network.tun is not None:
        yield forbid(
            "network",
            rule="host-tun",
            subject="/dev/net/tun",
            message=f"/dev/net/tun cannot be opened ({facts.network.tun}), "
            "so containers get no network of their own.",
            fix="`sudo modprobe tun && sudo chmod 0666 /dev/net/tun`, or give the CI container "
            "`--device /dev/net/tun`; until then containers run with `--network none`.",
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
                fix="`sudo systemctl edit user@.service`, add `[Service]` and "
                "`Delegate=cpu cpuset io memory pids`, then log in again.",
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


def _storage(facts: HostFacts) -> Iterator[Judged]:
    storage = facts.storage
    yield from _room(
        storage.images,
        ("build-buildah", "run"),
        "image storage",
        "set `graphroot` in ~/.config/containers/storage.conf",
    )
    yield from _room(
        storage.temporary, ("build-direct", "build-buildah", "push"), "temporary directory", "set TMPDIR"
    )
    if not storage.state.writable:
        yield from _room(storage.state, ("build-buildah", "run"), "state directory", "set XDG_STATE_HOME")
    if storage.images.noexec:
        yield forbid(
            "run",
            rule="host-storage-noexec",
            subject=storage.images.path,
            message=f"{storage.images.path} is on a file system mounted noexec: no container starts from it.",
            fix="Set `graphroot` in ~/.config/containers/storage.conf to a directory on another file system.",
        )
    if storage.images.fstype in _NETWORK_FILE_SYSTEMS:
        yield remark(
            "build-buildah",
            "run",
            severity="warning",
            rule="host-storage-network-file-system",
            subject=storage.images.path,
            message=f"{storage.images.path} is on {storage.images.fstype}, which cannot keep the owners of "
            "subordinate ids.",
            fix="Set `graphroot` in ~/.config/containers/storage.conf to a directory on a local disk.",
        )
    if storage.driver == "vfs":
        yield remark(
            "build-buildah",
            "run",
            rule="host-storage-vfs",
            subject=storage.images.path,
            message="The storage driver is vfs, which copies every layer in full: slow for big programs.",
            fix='Put `[storage]` and `driver = "overlay"` into ~/.config/containers/storage.conf '
            "(an existing storage must be emptied with `podman system reset` first).",
        )
    if storage.policy is None:
        yield forbid(
            "build-buildah",
            "push",
            rule="host-policy-missing",
            subject="policy.json",
            message="There is no readable policy.json, without which buildah and skopeo refuse to work.",
            fix="`mkdir -p ~/.config/containers && "
            """echo '{"default":[{"type":"insecureAcceptAnything"}]}' > ~/.config/containers/policy.json`""",
        )


def _room(location: Location, operations: tuple[Operation, ...], what: str, move: str) -> Iterator[Judged]:
    at, left = f"The {what} {location.path}", f"{location.free >> 20} MiB left"
    fix = f"Free some space (`podman image prune`), or {move} to a directory on another disk."
    if not location.writable:
        message = f"{at} cannot be written by this user."
        fix = f"Give this user a directory and {move} to it."
        yield forbid(*operations, rule="host-not-writable", subject=location.path, message=message, fix=fix)
    elif location.free < _TOO_LITTLE:
        yield forbid(
            *operations, rule="host-disk-full", subject=location.path, message=f"{at} has {left}.", fix=fix
        )
    elif location.free < _LITTLE:
        yield remark(
            *operations,
            severity="warning",
            rule="host-disk-space",
            subject=location.path,
            message=f"{at} has only {left}; a build needs about three times the size of its files.",
            fix=fix,
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
            message=f"{problem[0].upper()}{problem[1:]}, so `run` starts a private service each time.",
            fix=f"Nothing needs to be done; `{socket_unit('enable --now', uid=facts.identity.uid)}` saves the "
            "start.",
        )
