"""All that the doctor looks at, read and not judged."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from rootless_scratch.command import ask, last_cause
from rootless_scratch.errors import CommandError, HostError, redacted
from rootless_scratch.host.cgroups import cgroup_mode, choose_runtime, delegated_controllers
from rootless_scratch.host.environment import runtime_dir_problem
from rootless_scratch.host.identity import (
    Identity,
    MapHelper,
    SubordinateIds,
    read_identity,
    read_map_helper,
    read_subordinate_ids,
)
from rootless_scratch.host.storage import Storage, read_storage
from rootless_scratch.spawn import find

TOOLS = ("podman", "buildah", "runc", "crun", "conmon", "slirp4netns", "pasta", "skopeo")
VERSIONS_MATTER = ("podman", "buildah")

_BRIDGES = (
    "/usr/lib/podman/netavark",
    "/usr/libexec/podman/netavark",
    "/usr/lib/cni/bridge",
    "/usr/libexec/cni/bridge",
    "/opt/cni/bin/bridge",
)
CgroupMode = Literal["v2", "hybrid", "v1", "none"]


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A program: None where it is not found, or where its version was not asked for or could not be read."""

    name: str
    path: str | None
    version: str | None = None


class Socket(msgspec.Struct, frozen=True, kw_only=True):
    """The podman service that `run` would find: `named` by the environment, else the user's own.

    One that is `elsewhere` is on another host, or known to podman by a name; it is not asked.
    """

    path: str
    named: bool
    state: Literal["listening", "stale", "absent", "forbidden", "remote", "elsewhere"]


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """`tun`: why /dev/net/tun cannot be opened, or None; `bridge`: what connects containers of root."""

    tun: str | None
    bridge: str | None


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """The runtime that podman will be asked for: None for its own default; `reason` where we choose."""

    name: str | None
    reason: str | None


class Cgroups(msgspec.Struct, frozen=True, kw_only=True):
    """The mode, the runtime that fits it, and the controllers that this user was given (v2 only)."""

    mode: CgroupMode
    runtime: Runtime | None
    controllers: tuple[str, ...]


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One host, as one user sees it."""

    identity: Identity
    tools: tuple[Tool, ...]
    subuids: SubordinateIds
    subgids: SubordinateIds
    map_helpers: tuple[MapHelper, ...]
    user_namespaces: UserNamespaces
    cgroups: Cgroups
    network: Network
    storage: Storage
    runtime_dir: str | None
    runtime_dir_problem: str | None
    socket: Socket

    def tool(self, name: str) -> Tool:
        """Look one program of TOOLS up."""
        return next(tool for tool in self.tools if tool.name == name)


def read_host(*, environment: Mapping[str, str], environ: Mapping[str, str] | None = None) -> HostFacts:
    """Read everything; takes a few tenths of a second, most of it buildah's. Leaves no process behind.

    `environment` is what the tools are given, `environ` what the user has set (by default os.environ).
    """
    own = os.environ if environ is None else environ
    identity = read_identity()
    runtime_dir = own.get("XDG_RUNTIME_DIR")
    return HostFacts(
        identity=identity,
        tools=tuple(_read_tool(name, environment) for name in TOOLS),
        subuids=read_subordinate_ids("subuid", identity, environment=environment),
        subgids=read_subordinate_ids("subgid", identity, environment=environment),
        map_helpers=(read_map_helper("newuidmap"), read_map_helper("newgidmap")),
        user_namespaces=read_user_namespaces(identity, environment=environment),
        cgroups=_read_cgroups(identity),
        network=Network(tun=_tun_problem(), bridge=next(filter(os.path.exists, _BRIDGES), None)),
        storage=read_storage(environment=environment, rootful=identity.rootful),
        runtime_dir=runtime_dir,
        runtime_dir_problem=runtime_dir_problem(runtime_dir),
        socket=_read_socket(own, identity, environment),
    )


def _read_tool(name: str, environment: Mapping[str, str]) -> Tool:
    path = find(name)
    if path is None or name not in VERSIONS_MATTER:
        return Tool(name=name, path=path)
    try:
        text = ask([name, "--version"], environment=environment).text
    except (CommandError, HostError):
        return Tool(name=name, path=path)
    number = re.search(r"\d+\.\d+(?:\.\d+)?", text)
    return Tool(name=name, path=path, version=number[0] if number else None)


def _read_cgroups(identity: Identity) -> Cgroups:
    try:
        choice = choose_runtime()
        runtime: Runtime | None = Runtime(name=choice.name, reason=choice.reason)
    except HostError:
        runtime = None
    mode = cgroup_mode()
    controllers = delegated_controllers(rootful=identity.rootful) if mode == "v2" else ()
    return Cgroups(mode=mode, runtime=runtime, controllers=controllers)


def _tun_problem() -> str | None:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.strerror
    return None


def _read_socket(own: Mapping[str, str], identity: Identity, environment: Mapping[str, str]) -> Socket:
    address = own.get("CONTAINER_HOST")
    if address:
        address = redacted(address)
        scheme, _, path = address.partition("://")
        if scheme == "ssh":
            return Socket(path=address, state="elsewhere", named=True)
        if scheme not in ("unix", "http+unix") or not path.startswith("/"):
            return Socket(path=address, state="remote", named=True)
        return Socket(path=path, state=_socket_state(path), named=True)
    if own.get("CONTAINER_CONNECTION"):
        return Socket(path=own["CONTAINER_CONNECTION"], state="elsewhere", named=True)
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{identity.uid}"
    path = "/run/podman/podman.sock" if identity.uid == 0 else f"{runtime}/podman/podman.sock"
    return Socket(path=path, state=_socket_state(path), named=False)


def _socket_state(path: str) -> Literal["listening", "stale", "absent", "forbidden"]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(2)
        try:
            client.connect(path)
        except PermissionError:
            return "forbidden"
        except ConnectionRefusedError:
            return "stale"
        except OSError:
            return "absent"
    return "listening"


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """The first step of making a container's namespaces that the kernel refused, with its errno; or none."""

    failed_step: str | None
    errno: int


class IdMap(msgspec.Struct, frozen=True, kw_only=True):
    """What `buildah unshare` really maps: how many ids, or why there is no map at all."""

    ids: int
    problem: str | None


class UserNamespaces(msgspec.Struct, frozen=True, kw_only=True):
    """The switches of sysctl(8), None where the kernel has none of that name; then what was tried."""

    max_user_namespaces: int | None
    unprivileged_userns_clone: int | None
    apparmor_restrict: int | None
    probe: Probe
    id_map: IdMap | None


def read_user_namespaces(identity: Identity, *, environment: Mapping[str, str]) -> UserNamespaces:
    """Switches and probes; `id_map` is None where buildah is missing or no map is needed."""
    return UserNamespaces(
        max_user_namespaces=_switch("user/max_user_namespaces"),
        unprivileged_userns_clone=_switch("kernel/unprivileged_userns_clone"),
        apparmor_restrict=_switch("kernel/apparmor_restrict_unprivileged_userns"),
        probe=probe_namespaces(environment=environment),
        id_map=None if identity.rootful or not find("buildah") else _ask_map(environment),
    )


def probe_namespaces(*, environment: Mapping[str, str]) -> Probe:
    """Make the namespaces of a container in a throw-away process."""
    program = Path(__file__).with_name("namespace_probe.py")
    answer = ask([sys.executable or "python3", "-I", "-S", str(program)], environment=environment, check=False)
    try:
        return msgspec.convert(json.loads(answer.text), Probe)
    except (ValueError, msgspec.ValidationError):
        # A seccomp filter may end the process instead of refusing.
        return Probe(failed_step="start of the probe", errno=0)


def _ask_map(environment: Mapping[str, str]) -> IdMap:
    try:
        answer = ask(["buildah", "unshare", "cat", "/proc/self/uid_map"], environment=environment)
    except CommandError as error:
        return IdMap(ids=0, problem=last_cause(error.stderr) or error.message)
    except HostError as error:
        return IdMap(ids=0, problem=error.message)
    counts = [line.split()[2] for line in answer.text.splitlines() if len(line.split()) == 3]  # noqa: PLR2004 - the fields of uid_map
    return IdMap(ids=sum(int(count) for count in counts if count.isdigit()), problem=None)


def _switch(name: str) -> int | None:
    try:
        return int((Path("/proc/sys") / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
