"""From what was asked for to the container that podman makes (its SpecGenerator).

Unknown keys of a SpecGenerator are accepted and ignored by the service, so every key here is one whose effect
a test has seen from inside a container.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rootless_scratch.engine.container.lease import OWNER_LABEL
from rootless_scratch.engine.request.options import NETWORKS
from rootless_scratch.host.capabilities import CAP_SYS_RESOURCE, effective_capabilities

if TYPE_CHECKING:
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


def generator(asked: Request, *, name: str, owner: str, network: str) -> dict[str, Any]:
    """The SpecGenerator: what was asked for, hardened.

    The root is read-only (WRITABLE lies in memory), there is no capability, no way to new privileges, and
    podman's own seccomp filter; the user is the image's unless the caller named one. `Request` has a way out
    of each.
    """
    taken = {mount.target.rstrip("/") for mount in asked.mounts}
    taken |= {memory.target.rstrip("/") for memory in asked.memories}
    spec: dict[str, Any] = {
        "image": asked.image,
        "name": asked.name or name,
        "labels": dict(asked.labels) | {OWNER_LABEL: owner},
        "env": dict(asked.env),
        "read_only_filesystem": not asked.writable,
        "cap_drop": ["all"],
        "no_new_privileges": not asked.allow_new_privileges,
        "netns": {"nsmode": network if network in NETWORKS else "bridge"},
        "mounts": [_in_memory(path) for path in _writable(asked) if path not in taken]
        + [_memory(memory) for memory in asked.memories]
        + [_bind(mount) for mount in asked.mounts if mount.source.startswith("/")],
        "volumes": [_volume(mount) for mount in asked.mounts if not mount.source.startswith("/")],
        # What is attached is the output; conmon need not write it to the disk unless somebody may ask for it.
        "log_configuration": {"driver": "k8s-file" if asked.stays else "none"},
        "systemd": "false",
        "r_limits": _limits(asked.ulimits),
    }
    if network not in NETWORKS:
        spec["Networks"] = {network: {}}
    if asked.ports:
        spec["portmappings"] = [_mapping(port) for port in asked.ports]
    if asked.timeout is not None:
        spec["timeout"] = max(1, round(asked.timeout)) if asked.detach else int(asked.timeout) + TIMEOUT_MARGIN
    return spec | _program(asked) | _rights(asked) | _resources(asked) | _beside(asked)


def _writable(asked: Request) -> tuple[str, ...]:
    """Below a read-only root podman 4.3 has no place for the secrets, but for a tmpfs of ours."""
    return (*WRITABLE, "/run/secrets") if any(not secret.variable for secret in asked.secrets) else WRITABLE


def _program(asked: Request) -> dict[str, Any]:
    """What is started, and what it finds."""
    spec: dict[str, Any] = {}
    if asked.arguments:
        spec["command"] = list(asked.arguments)
    if asked.entrypoint is not None:
        spec["entrypoint"] = list(asked.entrypoint)
    if asked.workdir is not None:
        spec["work_dir"] = asked.workdir
    if asked.tty:
        spec["terminal"] = True
    if asked.interactive:
        spec["stdin"] = True
    if asked.init:
        spec["init"] = True
    if asked.health_cmd is not None:
        spec["healthconfig"] = {"Test": ["CMD", *asked.health_cmd], **_HEALTH}
    if asked.secrets:
        spec["secrets"] = [_secret(secret) for secret in asked.secrets if not secret.variable]
        spec["secret_env"] = {secret.target: secret.name for secret in asked.secrets if secret.variable}
    return spec


def _rights(asked: Request) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    if asked.user is not None:
        spec["user"] = asked.user
    if asked.userns is not None:
        mode, _, value = asked.userns.partition(":")
        spec["userns"] = {"nsmode": mode, "value": value}
    if asked.cap_add:
        spec["cap_add"] = list(asked.cap_add)
    if asked.seccomp is not None:
        spec["seccomp_profile_path"] = asked.seccomp
    return spec


def _beside(asked: Request) -> dict[str, Any]:
    """The namespaces of another container in place of its own, or the files of an image, read-only."""
    beside = asked.beside
    if beside is None:
        return {}
    spec: dict[str, Any] = {key: {"nsmode": mode, "value": whose} for key, mode, whose in beside.namespaces}
    if beside.image is not None:
        spec["image_volumes"] = [{"source": beside.image, "destination": beside.place, "rw": False}]
    return spec


def _resources(asked: Request) -> dict[str, Any]:
    """Limits of control groups: OCI runtime-spec v1.1 config-linux.md."""
    limits: dict[str, Any] = {}
    if asked.memory is not None:
        # With as much swap again, as `podman run --memory` has it.
        limits["memory"] = {"limit": asked.memory, "swap": asked.memory * 2}
    if asked.cpus is not None:
        limits["cpu"] = {"period": CPU_PERIOD, "quota": round(asked.cpus * CPU_PERIOD)}
    if asked.pids_limit is not None:
        limits["pids"] = {"limit": asked.pids_limit}
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
    mode = "ro" if mount.read_only else "rw"
    return {
        "type": "bind",
        "source": mount.source,
        "destination": mount.target,
        "options": ["rbind", mode, "nosuid", "nodev"],
    }


def _volume(mount: Mount) -> dict[str, Any]:
    mode = "ro" if mount.read_only else "rw"
    return {"Name": mount.source, "Dest": mount.target, "Options": [mode]}


def _secret(secret: Secret) -> dict[str, Any]:
    return {
        "Source": secret.name,
        "Target": secret.target,
        "UID": secret.uid,
        "GID": secret.gid,
        "Mode": secret.mode,
    }


def _mapping(port: Port) -> dict[str, Any]:
    mapping: dict[str, Any] = {"container_port": port.container, "protocol": port.protocol}
    if port.host:
        mapping["host_port"] = port.host
    if port.address:
        mapping["host_ip"] = port.address
    return mapping


def _limits(asked: tuple[Limit, ...]) -> list[dict[str, Any]]:
    """The limits asked for, and our own where podman would ask for higher ones than this root may set.

    For root podman asks for 1048576 files and processes, which fails in CI containers whose root has no
    CAP_SYS_RESOURCE (`error setting rlimit type 7: operation not permitted`).
    """
    limits = [{"type": limit.name, "soft": limit.soft, "hard": limit.hard} for limit in asked]
    if os.geteuid() != 0 or effective_capabilities() >> CAP_SYS_RESOURCE & 1:
        return limits
    import resource

    taken = {limit.name for limit in asked}
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
