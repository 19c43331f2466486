"""From the words of a `run` to the container that podman is asked for (its SpecGenerator).

Unknown keys of a SpecGenerator are accepted and ignored by the service, so every key here is one whose effect
a test has seen from inside a container.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import msgspec

from rootless_scratch.engine.lease import OWNER_LABEL
from rootless_scratch.errors import UsageError
from rootless_scratch.host.capabilities import CAP_SYS_RESOURCE, effective_capabilities

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WRITABLE = ("/tmp", "/run", "/var/tmp")  # noqa: S108 - places in the container
"""In memory and writable although the root is not, as with `podman run --read-only`."""

TIMEOUT_MARGIN = 15
"""Seconds after --timeout at which podman itself ends the container, should we have been killed."""

_NETWORKS = ("none", "host", "private", "slirp4netns", "pasta", "bridge")
_ROOT_LIMIT = 1_048_576
_LEAST_PID_MAX = 32_768
_PORT_LIMIT = 65_535


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """`source` is an absolute path of the host or the name of a volume."""

    source: str
    target: str
    read_only: bool


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the container to be reached on the host; `host` 0 lets podman choose a free one."""

    address: str
    host: int
    container: int
    protocol: str


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller asked for, read and checked; `network` None leaves the choice to us."""

    image: str
    arguments: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    network: str | None
    mounts: tuple[Mount, ...]
    ports: tuple[Port, ...]
    user: str | None
    timeout: float | None


def parse_env(words: Iterable[str], caller: Mapping[str, str]) -> dict[str, str]:
    """`K=V`, or `K` for the caller's own value (nothing where the caller has none, as podman does it)."""
    env: dict[str, str] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not name:
            raise UsageError(f"--env {word!r} names no variable.", fix="Write NAME=VALUE, or NAME alone.")
        if separator:
            env[name] = value
        elif name in caller:
            env[name] = caller[name]
    return env


def parse_volume(word: str) -> Mount:
    """`HOST:CONTAINER[:ro|rw]`; a HOST without any `/` and `.` in front is the name of a podman volume."""
    source, target, *options = word.split(":") if ":" in word else (word, "")
    mode = options[0] if options else "rw"
    if not source or not target.startswith("/") or len(options) > 1 or mode not in ("ro", "rw"):
        raise UsageError(
            f"--volume {word!r} cannot be understood.",
            fix="Write HOST:CONTAINER, or the same with :ro or :rw behind; CONTAINER is an absolute path.",
        )
    if source.startswith((".", "/")):
        source = os.path.abspath(source)
    elif re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", source) is None:
        raise UsageError(
            f"--volume {word!r}: {source!r} is neither a path nor the name of a volume.",
            fix="Start a path with `/` or `./`; a volume's name has letters, digits and `_.-` only.",
        )
    return Mount(source=source, target=target, read_only=mode == "ro")


def parse_port(word: str) -> Port:
    """`[[IP:]HOST:]CONTAINER[/tcp|/udp|/sctp]`; IPv6 addresses in brackets."""
    match = re.fullmatch(
        r"(?:(?:(?P<address>\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(?P<host>\d*):)?(?P<container>\d+)(?:/(?P<protocol>tcp|udp|sctp))?",
        word,
    )
    numbers = [] if match is None else [int(match["host"] or 0), int(match["container"])]
    if match is None or max(numbers) > _PORT_LIMIT or numbers[1] == 0:
        raise UsageError(
            f"--publish {word!r} cannot be understood.",
            fix="Write CONTAINER, HOST:CONTAINER or IP:HOST:CONTAINER (ports from 1 to 65535), then /tcp or "
            "/udp if needed; repeat the option for more ports.",
        )
    return Port(
        address=(match["address"] or "").strip("[]"),
        host=numbers[0],
        container=numbers[1],
        protocol=match["protocol"] or "tcp",
    )


def request(
    image: str,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    network: str | None,
    volumes: Sequence[str],
    publish: Sequence[str],
    user: str | None,
    timeout: float | None,
) -> Request:
    """Read and check what was asked; raises UsageError."""
    if not image:
        raise UsageError("No image was named.", fix="Name one, for example `rootless-scratch run hello`.")
    if timeout is not None and not 0 < timeout < 1e9:  # noqa: PLR2004 - about 30 years
        raise UsageError(f"The timeout {timeout:g} is no number of seconds above 0.", fix="Write it as 30.")
    if network is not None and re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", network) is None:
        raise UsageError(
            f"--network {network!r} is not known.",
            fix=f"Use one of {', '.join(_NETWORKS)}, or the name of a network that podman knows.",
        )
    if publish and network in ("none", "host"):
        raise UsageError(
            f"Ports cannot be published with --network {network}.",
            fix="Leave out --publish: with host its ports are the host's, with none there are none.",
        )
    for word in (image, *arguments, *env, *env.values(), *volumes, user or ""):
        _check_text(word)
    for name in env:
        if not name or "=" in name:
            raise UsageError(f"{name!r} is no name of a variable.", fix="Use a name without `=`.")
    return Request(
        image=image,
        arguments=tuple(arguments),
        env=tuple(env.items()),
        network=network,
        mounts=tuple(parse_volume(word) for word in volumes),
        ports=tuple(parse_port(word) for word in publish),
        user=user,
        timeout=timeout,
    )


def generator(asked: Request, *, name: str, owner: str, network: str) -> dict[str, Any]:
    """The SpecGenerator: what was asked for, hardened.

    The root is read-only (WRITABLE lies in memory), there is no capability, no way to new privileges, and
    podman's own seccomp filter; the user is the image's unless the caller named one.
    """
    taken = {mount.target.rstrip("/") for mount in asked.mounts}
    spec: dict[str, Any] = {
        "image": asked.image,
        "name": name,
        "labels": {OWNER_LABEL: owner},
        "env": dict(asked.env),
        "read_only_filesystem": True,
        "cap_drop": ["all"],
        "no_new_privileges": True,
        "netns": {"nsmode": network if network in _NETWORKS else "bridge"},
        "mounts": [_in_memory(path) for path in WRITABLE if path not in taken]
        + [_bind(mount) for mount in asked.mounts if mount.source.startswith("/")],
        "volumes": [_volume(mount) for mount in asked.mounts if not mount.source.startswith("/")],
        # What is attached is the output; conmon need not write it to the disk a second time.
        "log_configuration": {"driver": "none"},
        "systemd": "false",
        "r_limits": _limits(),
    }
    if asked.arguments:
        spec["command"] = list(asked.arguments)
    if network not in _NETWORKS:
        spec["Networks"] = {network: {}}
    if asked.user is not None:
        spec["user"] = asked.user
    if asked.ports:
        spec["portmappings"] = [_mapping(port) for port in asked.ports]
    if asked.timeout is not None:
        spec["timeout"] = int(asked.timeout) + TIMEOUT_MARGIN
    return spec


def _check_text(word: str) -> None:
    """What goes into JSON must be text: the service would turn other bytes into question marks unasked."""
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{word!r} is not UTF-8, and podman's API can carry nothing else.", fix="Use names in UTF-8."
        ) from error
    if "\0" in word:
        raise UsageError(f"{word!r} has a NUL byte in it.", fix="Leave the NUL byte out.")


def _in_memory(path: str) -> dict[str, Any]:
    return {
        "type": "tmpfs",
        "source": "tmpfs",
        "destination": path,
        "options": ["rw", "nosuid", "nodev", "tmpcopyup", "mode=1777" if "tmp" in path else "mode=0755"],
    }


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


def _mapping(port: Port) -> dict[str, Any]:
    mapping: dict[str, Any] = {"container_port": port.container, "protocol": port.protocol}
    if port.host:
        mapping["host_port"] = port.host
    if port.address:
        mapping["host_ip"] = port.address
    return mapping


def _limits() -> list[dict[str, Any]]:
    """Our own limits, where podman would ask for higher ones than this root may set.

    For root podman asks for 1048576 files and processes, which fails in CI containers whose root has no
    CAP_SYS_RESOURCE (`error setting rlimit type 7: operation not permitted`).
    """
    if os.geteuid() != 0 or effective_capabilities() >> CAP_SYS_RESOURCE & 1:
        return []
    import resource

    limits = []
    # podman has lowered its own limit of processes to pid_max, and can give no more than it has.
    for name, number, most in (
        ("nofile", resource.RLIMIT_NOFILE, _ROOT_LIMIT),
        ("nproc", resource.RLIMIT_NPROC, min(_ROOT_LIMIT, _pid_max())),
    ):
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
