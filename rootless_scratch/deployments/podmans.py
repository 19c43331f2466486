"""The options of `podman run` that a unit has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rootless_scratch.deployments.workload import binary

if TYPE_CHECKING:
    from rootless_scratch.deployments.workload import Health, Workload
    from rootless_scratch.engine.request.request import Memory, Mount, Port


def notes_of_host(load: Workload) -> tuple[str, ...]:
    """What a host cannot have, or is not to have by itself."""
    notes = list(load.notes)
    left = {(port, protocol) for port, protocol in load.exposed} - {
        (port.container, port.protocol) for port in load.published()
    }
    if left and not load.ports:
        ports = ", ".join(f"{port}/{protocol}" for port, protocol in sorted(left))
        notes.append(f"The image's ports {ports} are not published: a user may not; use --publish HOST:PORT.")
    return tuple(notes)


def notes_of_unit(load: Workload) -> tuple[str, ...]:
    """The same for a unit."""
    several = ("One unit starts one container; the number of replicas is left out.",) if load.replicas > 1 else ()
    return (*notes_of_host(load), *several)


def published(port: Port) -> str:
    """The value of `--publish`."""
    address = f"[{port.address}]" if ":" in port.address else port.address
    host = str(port.host or "")
    front = f"{address}:{host}:" if address else f"{host}:" if host else ""
    return f"{front}{port.container}/{port.protocol}"


def mounted(mount: Mount) -> str:
    """The value of `--volume`."""
    options = ",".join((*(("ro",) if mount.read_only else ()), *mount.options))
    return ":".join(filter(None, (mount.source, mount.target, options)))


def in_memory(memory: Memory) -> str:
    """The value of `--tmpfs`."""
    return ":".join(filter(None, (memory.target, ",".join(memory.options))))


def health_options(health: Health | None) -> tuple[str, ...]:
    """The health check; podman reads an array of one word as a line for a shell, unless it begins with CMD."""
    if health is None:
        return ()
    alone = len(health.command) == 1
    command = f"CMD {health.command[0]}" if alone else json.dumps(health.command, ensure_ascii=False)
    return (
        f"--health-cmd={command}",
        f"--health-interval={health.interval}s",
        f"--health-timeout={health.timeout}s",
        f"--health-retries={health.retries}",
        *((f"--health-start-period={health.start_period}s",) if health.start_period else ()),
    )


def memory_size(size: int) -> str:
    """The value of `--memory`."""
    number, unit = binary(size)
    return f"{number}{unit or 'b'}"


def other_options(load: Workload) -> tuple[str, ...]:
    """What quadlet had no keys for in podman 4.4."""
    return (
        *(f"--tmpfs={in_memory(memory)}" for memory in load.memories),
        *health_options(load.health),
        *((f"--stop-signal={load.stop_signal}",) if load.stop_signal else ()),
        f"--stop-timeout={load.seconds}",
        *((f"--memory={memory_size(load.memory)}",) if load.memory else ()),
        *((f"--cpus={load.cpus:g}",) if load.cpus else ()),
        *((f"--pids-limit={load.pids}",) if load.pids else ()),
    )
