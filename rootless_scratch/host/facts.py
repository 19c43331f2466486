"""All that the doctor looks at, read and not judged."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from rootless_scratch.errors import HostError, redacted
from rootless_scratch.host.cgroups import cgroup_mode, choose_runtime, delegated_controllers
from rootless_scratch.host.containers_conf import has_keyring
from rootless_scratch.host.environment import home_problem, runtime_dir_problem
from rootless_scratch.host.identity import (
    Identity,
    MapHelper,
    SubordinateIds,
    read_identity,
    read_map_helper,
    read_subordinate_ids,
)
from rootless_scratch.host.namespaces import NamespaceQuestions, UserNamespaces
from rootless_scratch.host.probing import Question
from rootless_scratch.host.quotas import Quotas, read_quotas
from rootless_scratch.host.storage import Storage, StorageQuestion
from rootless_scratch.host.surroundings import Surroundings, read_surroundings
from rootless_scratch.processes import arguments_of, text
from rootless_scratch.spawn import find

if TYPE_CHECKING:
    from rootless_scratch.host.settings import Workaround

TOOLS = ("podman", "buildah", "runc", "crun", "conmon", "slirp4netns", "pasta", "skopeo", "busybox")
VERSIONS_MATTER = ("podman", "buildah")

_BRIDGES = (
    "/usr/lib/podman/netavark",
    "/usr/libexec/podman/netavark",
    "/usr/lib/cni/bridge",
    "/usr/libexec/cni/bridge",
    "/opt/cni/bin/bridge",
)
_PODMANS = ("conmon", "crun", "runc")
_FIXED = ("/usr/libexec/podman", "/usr/lib/podman", "/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin")
CgroupMode = Literal["v2", "hybrid", "v1", "none"]


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A program: None where it is not found, or where its version was not asked for or could not be read."""

    name: str
    path: str | None
    version: str | None = None

    @property
    def release(self) -> tuple[int, ...]:
        """The version in numbers; (0,) where it is not known."""
        return tuple(map(int, (self.version or "0").split(".")))


class Socket(msgspec.Struct, frozen=True, kw_only=True):
    """The podman service that `run` would find: `named` by the environment, else the user's own.

    One that is `elsewhere` is on another host, or known to podman by a name; it is not asked.
    """

    path: str
    named: bool
    state: Literal["listening", "stale", "absent", "forbidden", "remote", "elsewhere"]


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """The process that keeps podman's user namespace, by its file; `pid` is None where there is no such file.

    One that is not `alive` makes podman before 6.0 fail.
    """

    path: str
    pid: int | None
    alive: bool


class Sentinel(msgspec.Struct, frozen=True, kw_only=True):
    """The file by which podman knows whether the host has been booted since it was written.

    `path` is None where there is none, or one without a boot ID. One of `another_boot` makes podman from 5.1 on
    fail.
    """

    path: str | None
    another_boot: bool


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


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A work-around that tools are given, as settings.py has it."""

    rule: str
    sentence: str


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One host, as one user sees it."""

    identity: Identity
    surroundings: Surroundings
    tools: tuple[Tool, ...]
    subuids: SubordinateIds
    subgids: SubordinateIds
    map_helpers: tuple[MapHelper, ...]
    user_namespaces: UserNamespaces
    cgroups: Cgroups
    network: Network
    storage: Storage
    quotas: Quotas
    home: str
    home_problem: str | None
    runtime_dir: str | None
    runtime_dir_problem: str | None
    socket: Socket
    pause: Pause
    sentinel: Sentinel
    workarounds: tuple[Taken, ...] = ()

    def tool(self, name: str) -> Tool:
        """Look one program of TOOLS up."""
        return next(tool for tool in self.tools if tool.name == name)


def read_host(
    *,
    environment: Mapping[str, str],
    environ: Mapping[str, str] | None = None,
    workarounds: Sequence[Workaround] = (),
) -> HostFacts:
    """Read everything; takes a tenth of a second or two. Leaves no process behind, and changes nothing.

    What is tried is tried in children, all at once. `environment` is what the tools are given, by `workarounds`,
    and `environ` what the user has set (by default os.environ).
    """
    own = os.environ if environ is None else environ
    identity = read_identity()
    namespaces = NamespaceQuestions(identity, environment=environment)
    storage = StorageQuestion(environment=environment)
    versions = {
        name: Question([name, "--version"], environment=environment) for name in VERSIONS_MATTER if find(name)
    }
    runtime_dir = own.get("XDG_RUNTIME_DIR")
    return HostFacts(
        identity=identity,
        surroundings=read_surroundings(own),
        subuids=read_subordinate_ids("subuid", identity, environment=environment),
        subgids=read_subordinate_ids("subgid", identity, environment=environment),
        map_helpers=(read_map_helper("newuidmap"), read_map_helper("newgidmap")),
        cgroups=_read_cgroups(identity),
        network=Network(tun=_tun_problem(), bridge=next(filter(os.path.exists, _BRIDGES), None)),
        quotas=read_quotas(identity.uid, keyring=has_keyring(environment, rootful=identity.rootful)),
        home=environment["HOME"],
        home_problem=home_problem(environment["HOME"]),
        runtime_dir=runtime_dir,
        runtime_dir_problem=runtime_dir_problem(runtime_dir),
        socket=_read_socket(own, identity, environment),
        pause=_read_pause(identity, environment),
        sentinel=_read_sentinel(identity, environment),
        tools=tuple(Tool(name=name, path=_path_of(name), version=_version(versions.get(name))) for name in TOOLS),
        user_namespaces=namespaces.answer(),
        storage=storage.answer(rootful=identity.rootful),
        workarounds=tuple(Taken(rule=each.rule, sentence=each.sentence) for each in workarounds),
    )


def _read_pause(identity: Identity, environment: Mapping[str, str]) -> Pause:
    places = _podman_directories(identity, environment)
    for place in places:
        path = f"{place}/pause.pid"
        number = text(path)
        if number.isascii() and number.isdigit():
            try:
                name = os.path.basename(b"".join(arguments_of(int(number))[:1]))
            except OSError:
                name = b""
            return Pause(path=path, pid=int(number), alive=name in (b"catatonit", b"podman"))
    return Pause(path=f"{places[0]}/pause.pid", pid=None, alive=False)


def _read_sentinel(identity: Identity, environment: Mapping[str, str]) -> Sentinel:
    """As libpod.Runtime.checkBootID does it."""
    boot = text("/proc/sys/kernel/random/boot_id").strip()
    for place in _podman_directories(identity, environment):
        path = f"{place}/alive"
        noted = text(path).strip()
        if noted:
            return Sentinel(path=path, another_boot=bool(boot) and noted != boot)
    return Sentinel(path=None, another_boot=False)


def _podman_directories(identity: Identity, environment: Mapping[str, str]) -> list[str]:
    """Where podman keeps what is to vanish with a boot: pkg/util.GetRootlessRuntimeDir."""
    if identity.rootful:
        return ["/run/libpod"]
    named = environment.get("XDG_RUNTIME_DIR")
    shared = environment.get("TMPDIR") or "/tmp"  # noqa: S108 - only read
    others = (f"{shared}/podman-run-{identity.uid}", f"{shared}/storage-run-{identity.uid}")
    return [f"{place}/libpod/tmp" for place in ([named] if named else [f"/run/user/{identity.uid}", *others])]


def _path_of(name: str) -> str | None:
    """Where podman finds it, which looks for its own helpers in fixed directories first: containers.conf(5)."""
    fixed = (f"{directory}/{name}" for directory in _FIXED) if name in _PODMANS else ()
    return next((path for path in fixed if find(path)), None) or find(name)


def _version(question: Question | None) -> str | None:
    if question is None:
        return None
    try:
        number = re.search(r"\d+\.\d+(?:\.\d+)?", question.answer().text)
    except HostError:
        return None
    return number[0] if number else None


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
