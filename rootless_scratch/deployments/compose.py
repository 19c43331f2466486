"""A container as a file of the Compose Specification, for docker compose and podman-compose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rootless_scratch.deployments.facts import service_name
from rootless_scratch.deployments.podmans import in_memory, memory_size, mounted, notes_of_host, published
from rootless_scratch.deployments.workload import heading
from rootless_scratch.deployments.yamltext import yaml

if TYPE_CHECKING:
    from rootless_scratch.deployments.workload import Workload


def compose(load: Workload) -> tuple[str, tuple[str, ...]]:
    """The text, and what it could not say."""
    notes = notes_of_host(load)
    if load.replicas > 1 and any(port.host for port in load.published()):
        notes = (*notes, "Several replicas cannot have one port of the host; leave the number of it out.")
    user = None if load.uid is None else str(load.uid) if load.gid is None else f"{load.uid}:{load.gid}"
    mounts = (*load.data, *load.mounts)
    service = {
        "image": load.image,
        "container_name": load.name if load.replicas == 1 else None,
        "command": list(load.arguments),
        "user": user,
        "read_only": not load.writable,
        "cap_drop": ["ALL"],
        "cap_add": list(load.capabilities),
        "security_opt": ["no-new-privileges:true"],
        "environment": [f"{name}={value}" for name, value in load.env],
        "ports": [published(port) for port in load.published()],
        "volumes": [mounted(mount) for mount in mounts],
        "tmpfs": [*map(_temporary, load.in_memory()), *map(in_memory, load.memories)],
        "healthcheck": _health(load),
        "stop_signal": load.stop_signal,
        "stop_grace_period": f"{load.seconds}s",
        "mem_limit": load.memory and memory_size(load.memory),
        "cpus": load.cpus,
        "pids_limit": load.pids,
        "deploy": {"replicas": load.replicas} if load.replicas > 1 else None,
        "restart": "on-failure",
    }
    named = dict.fromkeys(mount.source for mount in mounts if mount.source and not mount.is_bind)
    document = {
        # A project has a stricter name than a container.
        "name": service_name(load.name),
        "services": {load.name: {key: value for key, value in service.items() if value not in (None, [])}},
        "volumes": {name: {"name": name} for name in named},
    }
    text = yaml({key: _uninterpolated(value) for key, value in document.items() if value})
    return heading(load, "compose", notes) + text, notes


def _temporary(path: str) -> str:
    return f"{path}:mode={'1777' if 'tmp' in path else '0755'}"


def _health(load: Workload) -> dict[str, object] | None:
    if load.health is None:
        return None
    health = {
        "test": ["CMD", *load.health.command],
        "interval": f"{load.health.interval}s",
        "timeout": f"{load.health.timeout}s",
        "retries": load.health.retries,
    }
    return health | ({"start_period": f"{load.health.start_period}s"} if load.health.start_period else {})


def _uninterpolated(value: object) -> object:
    """The same, so that no variable of the caller's takes a place in it."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _uninterpolated(each) for key, each in value.items()}
    return [_uninterpolated(each) for each in value] if isinstance(value, list) else value
