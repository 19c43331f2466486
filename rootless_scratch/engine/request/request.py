"""What a run was asked for, read and checked, and what it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.engine.request.destination import destination_of

if TYPE_CHECKING:
    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.engine.request.destination import Destination


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """`source` is an absolute path of the host or the name of a volume."""

    source: str
    target: str
    read_only: bool


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """A place in memory, with the options of mount(8) for tmpfs."""

    target: str
    options: tuple[str, ...]


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the container to be reached on the host; `host` 0 lets podman choose a free one."""

    address: str
    host: int
    container: int
    protocol: str


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that podman knows: a file below /run/secrets (or at an absolute `target`), or a variable."""

    name: str
    target: str
    variable: bool
    uid: int
    gid: int
    mode: int


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of setrlimit(2); -1 is unlimited."""

    name: str
    soft: int
    hard: int


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What a container is put beside, by `debug`.

    `namespaces` are those of a running container that it joins: a key of podman's SpecGenerator, a mode, and
    whose they are. `image` is one whose files it sees at `mountpoint`.
    """

    namespaces: tuple[tuple[str, str, str], ...] = ()
    image: str | None = None
    mountpoint: str = ""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller asked for, read and checked; `network` None leaves the choice to us."""

    image: str
    arguments: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    network: str | None = None
    mounts: tuple[Mount, ...] = ()
    memories: tuple[Memory, ...] = ()
    secrets: tuple[Secret, ...] = ()
    ports: tuple[Port, ...] = ()
    user: str | None = None
    userns: str | None = None
    workdir: str | None = None
    entrypoint: tuple[str, ...] | None = None
    platform: Platform | None = None
    pull: bool = False
    timeout: float | None = None
    name: str | None = None
    replace: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    keep: bool = False
    detach: bool = False
    tty: bool = False
    interactive: bool = False
    detach_keys: bytes = b""
    init: bool = False
    health_cmd: tuple[str, ...] | None = None
    memory: int | None = None
    cpus: float | None = None
    pids_limit: int | None = None
    ulimits: tuple[Limit, ...] = ()
    strict: bool = False
    writable: bool = False
    cap_add: tuple[str, ...] = ()
    allow_new_privileges: bool = False
    seccomp: str | None = None
    beside: Beside | None = None
    url: str | None = None
    connection: str | None = None

    @property
    def destination(self) -> Destination | None:
        """The service that is named by these options or by the environment; raises UsageError for two at once."""
        return destination_of(self.url, self.connection)

    @property
    def stays(self) -> bool:
        """Whether the container may outlive this call, so that podman must keep its output."""
        return self.keep or self.detach or (self.tty and self.interactive and bool(self.detach_keys))
