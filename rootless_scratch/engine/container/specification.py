"""From what was asked for to the container that podman makes (its SpecGenerator).

Unknown keys of a SpecGenerator are accepted and ignored by the service, so every key here is one whose effect
a test has seen from inside a container.
"""

from __future__ import annotations

import os

from rootless_scratch import processes
from rootless_scratch.engine.container.lease import OWNER_LABEL
from rootless_scratch.engine.request.options import NETWORKS
from rootless_scratch.host.capabilities import CAP_SYS_RESOURCE, effective_capabilities
from rootless_scratch.image.capabilities import CAPABILITIES

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from typing import Any

    from rootless_scratch.engine.request.request import Limit, Memory, Mount, Port, Request, Secret

WRITABLE = ("/tmp", "/run", "/var/tmp")  # noqa: S108 - places in the container
"""In memory and writable although the root is not, as with `podman run --read-only`."""

TIMEOUT_MARGIN = 15
"""Seconds after --timeout at which podman itself ends the container, should we have been killed."""

CPU_PERIOD = 100_000
"""Microseconds in which the container gets `--cpus` times as many of processors: the kernel's own default."""

_HEALTH = {"Interval": 30_000_000_000, "Timeout": 30_000_000_000, "Retries": 3}
"""podman's own defaults, in nanoseconds; without a Timeout it refuses."""

_ROOT_LIMIT = 1_048_576
_LEAST_PID_MAX = 32_768


OVERRIDES = {
    "pidns": {"nsmode": "private"},
    "ipcns": {"nsmode": "shareable"},
    "utsns": {"nsmode": "private"},
    "umask": "0022",
}
"""What containers.conf could have otherwise for a service that is not ours; podman's own defaults."""


def generator(request: Request, *, name: str, owner: str, network: str, elsewhere: bool = False) -> dict[str, Any]:
    """The SpecGenerator: what was asked for, hardened; `elsewhere` where the caller named the service.

    The root is read-only (WRITABLE lies in memory), there is no capability, no way to new privileges, and
    podman's own seccomp filter; the user is the image's unless the caller named one. `Request` has a way out
    of each.
    """
    taken = {mount.target.rstrip("/") for mount in request.mounts}
    taken |= {memory.target.rstrip("/") for memory in request.memories}
    spec: dict[str, Any] = (OVERRIDES if elsewhere else {}) | {
        "image": request.image,
        "name": request.name or name,
        "labels": dict(request.labels) | {OWNER_LABEL: owner},
        "env": dict(pair for file in request.env_files for pair in file) | dict(request.env),
        "read_only_filesystem": not request.writable,
        # podman refuses to drop and to add all of them at once.
        "cap_drop": [] if "ALL" in request.cap_add and not request.cap_drop else ["all"],
        "no_new_privileges": not request.allow_new_privileges,
        "netns": {"nsmode": network if network in NETWORKS else "bridge"},
        "mounts": [_in_memory(path) for path in _writable(request) if path not in taken]
        + [_memory(memory) for memory in request.memories]
        + [_bind(mount) for mount in request.mounts if mount.is_bind],
        "volumes": [_volume(mount) for mount in request.mounts if not mount.is_bind],
        # What is attached is the output; conmon need not write it to the disk unless somebody may ask for it.
        "log_configuration": {"driver": (request.log_driver or "k8s-file") if request.stays else "none"},
        "systemd": "false",
        "r_limits": _limits(request.ulimits),
    }
    if network not in NETWORKS:
        spec["Networks"] = {network: {}}
    if request.ports:
        spec["portmappings"] = [_mapping(port) for port in request.ports]
    if (seconds := request.timeout) is not None:
        margin = TIMEOUT_MARGIN + (request.stop_timeout or 0)
        spec["timeout"] = max(1, round(seconds)) if request.detach else int(seconds) + margin
    if request.stop_signal is not None:
        spec["stop_signal"] = request.stop_signal
    if request.stop_timeout is not None:
        spec["stop_timeout"] = request.stop_timeout
    if request.rm and request.detach:
        spec["remove"] = True
    if request.pidns is not None:
        spec["pidns"] = {"nsmode": request.pidns}
    if request.cgroups is not None:
        spec["cgroups_mode"] = request.cgroups
    return (
        spec
        | _program(request)
        | _names(request, network)
        | _rights(request)
        | _resources(request)
        | _beside(request)
    )


def _names(request: Request, network: str) -> dict[str, Any]:
    """How it is called, and how it finds others."""
    spec: dict[str, Any] = {}
    if request.hostname is not None:
        spec["hostname"] = request.hostname
    if request.hosts:
        spec["hostadd"] = list(request.hosts)
    # podman refuses both where there is no network that could ask.
    if network != "none":
        if request.dns:
            spec["dns_server"] = list(request.dns)
        if request.dns_search:
            spec["dns_search"] = list(request.dns_search)
    return spec


def _writable(request: Request) -> tuple[str, ...]:
    """Below a read-only root podman 4.3 has no place for the secrets, but for a tmpfs of ours."""
    return (*WRITABLE, "/run/secrets") if any(not secret.variable for secret in request.secrets) else WRITABLE


def _program(request: Request) -> dict[str, Any]:
    """What is started, and what it finds."""
    return _filled(
        command=list(request.arguments),
        entrypoint=list(request.entrypoint or ()),
        work_dir=request.workdir,
        terminal=request.tty,
        stdin=request.interactive,
        init=request.init,
        healthconfig=request.health_cmd and {"Test": ["CMD", *request.health_cmd], **_HEALTH},
        secrets=[_secret(secret) for secret in request.secrets if not secret.variable],
        secret_env={secret.target: secret.name for secret in request.secrets if secret.variable},
    )


def _rights(request: Request) -> dict[str, Any]:
    mode, _, value = (request.userns or "").partition(":")
    return _filled(
        user=request.user,
        userns=request.userns and {"nsmode": mode, "value": value},
        cap_add=_added(request),
        seccomp_profile_path=request.seccomp,
        apparmor_profile=(_named(request, "apparmor") or [""])[-1],
        selinux_opts=_named(request, "label"),
        mask=_named(request, "mask"),
        unmask=_named(request, "unmask"),
        devices=[{"path": f"{each.source}:{each.target}:{each.access}"} for each in request.devices],
    )


def _named(request: Request, key: str) -> list[str]:
    """What `--security-opt` says by this key."""
    return [value for name, value in request.security if name == key]


def _filled(**keys: Any) -> dict[str, Any]:  # noqa: ANN401 - podman's own structure
    """The keys that have a value."""
    return {key: value for key, value in keys.items() if value}


def _added(request: Request) -> list[str]:
    """The capabilities by name; podman leaves what is dropped of all of them to a user other than 0."""
    if "ALL" not in request.cap_add or not request.cap_drop:
        return list(request.cap_add)
    names = (f"CAP_{name.upper()}" for name in CAPABILITIES[: _last_capability() + 1])
    return [name for name in names if name not in request.cap_drop]


def _last_capability() -> int:
    try:
        return int(processes.text("/proc/sys/kernel/cap_last_cap"))
    except ValueError:
        return len(CAPABILITIES) - 1


def _beside(request: Request) -> dict[str, Any]:
    """The namespaces of another container in place of its own, or the files of an image, read-only."""
    beside = request.beside
    if beside is None:
        return {}
    spec: dict[str, Any] = {key: {"nsmode": mode, "value": whose} for key, mode, whose in beside.namespaces}
    if beside.image is not None:
        spec["image_volumes"] = [{"source": beside.image, "destination": beside.mountpoint, "rw": False}]
    return spec


def _resources(request: Request) -> dict[str, Any]:
    """Limits of control groups: OCI runtime-spec v1.1 config-linux.md."""
    limits = _filled(
        # With as much swap again, as `podman run --memory` has it.
        memory=request.memory and {"limit": request.memory, "swap": request.memory * 2},
        cpu=request.cpus and {"period": CPU_PERIOD, "quota": round(request.cpus * CPU_PERIOD)},
        pids=request.pids_limit and {"limit": request.pids_limit},
    )
    return {"resource_limits": limits} if limits else {}


def _in_memory(path: str) -> dict[str, Any]:
    mode = "mode=1777" if "tmp" in path else "mode=0755"
    return _tmpfs(path, ["rw", "nosuid", "nodev", "tmpcopyup", mode])


def _memory(memory: Memory) -> dict[str, Any]:
    """As `podman run --tmpfs`: writable by all unless said otherwise, and what the image has there is copied."""
    options = ["nosuid", "nodev", "tmpcopyup", *(each for each in memory.options if each not in ("suid", "dev"))]
    if not any(option.startswith("mode=") for option in memory.options):
        options.append("mode=1777")
    return _tmpfs(memory.target, list(dict.fromkeys(options)))


def _tmpfs(path: str, options: list[str]) -> dict[str, Any]:
    return {"type": "tmpfs", "source": "tmpfs", "destination": path, "options": options}


def _bind(mount: Mount) -> dict[str, Any]:
    depth = "bind" if "bind" in mount.options else "rbind"
    more = [each for each in mount.options if each not in ("bind", "rbind", "copy", "nocopy")]
    options = [depth, "ro" if mount.read_only else "rw", "nosuid", "nodev", *more]
    return {"type": "bind", "source": mount.source, "destination": mount.target, "options": options}


def _volume(mount: Mount) -> dict[str, Any]:
    more = [each for each in mount.options if each not in ("bind", "rbind")]
    return {"Name": mount.source, "Dest": mount.target, "Options": ["ro" if mount.read_only else "rw", *more]}


def _secret(secret: Secret) -> dict[str, Any]:
    found = {"Source": secret.name, "Target": secret.target}
    return {**found, "UID": secret.uid, "GID": secret.gid, "Mode": secret.mode}


def _mapping(port: Port) -> dict[str, Any]:
    optional = _filled(host_port=port.host, host_ip=port.address)
    return {"container_port": port.container, "protocol": port.protocol, **optional}


def _limits(ulimits: tuple[Limit, ...]) -> list[dict[str, Any]]:
    """The limits asked for, and our own where podman would ask for higher ones than this root may set.

    For root podman asks for 1048576 files and processes, which fails in CI containers whose root has no
    CAP_SYS_RESOURCE (`error setting rlimit type 7: operation not permitted`).
    """
    limits = [{"type": limit.name, "soft": limit.soft, "hard": limit.hard} for limit in ulimits]
    if os.geteuid() != 0 or effective_capabilities() >> CAP_SYS_RESOURCE & 1:
        return limits
    import resource

    taken = {limit.name for limit in ulimits}
    # podman has lowered its own limit of processes to pid_max, and can give no more than it has.
    for name, number, most in (
        ("nofile", resource.RLIMIT_NOFILE, _ROOT_LIMIT),
        ("nproc", resource.RLIMIT_NPROC, min(_ROOT_LIMIT, _pid_max())),
    ):
        if name in taken:
            continue
        # -1 is `unlimited`, which leaves podman's own wish.
        soft, hard = (most if value == -1 else min(value, most) for value in resource.getrlimit(number))
        limits.append({"type": name, "soft": soft, "hard": hard})
    return limits


def _pid_max() -> int:
    try:
        with open("/proc/sys/kernel/pid_max", encoding="ascii") as value:
            return int(value.read())
    except (OSError, ValueError):
        return _LEAST_PID_MAX
