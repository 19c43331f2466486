"""One container that is to run later: what its image says of it, and what the caller adds."""

from __future__ import annotations

import msgspec

from rootless_scratch.engine.container.specification import WRITABLE
from rootless_scratch.engine.request.request import Memory, Mount, Port

UNPRIVILEGED = 1024
"""The first port that a user may listen on: ip(7)."""

_BINARY = ((1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k"))


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A health check: a command that is run without a shell, and seconds."""

    command: tuple[str, ...]
    interval: int = 30
    timeout: int = 30
    start_period: int = 0
    retries: int = 3


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What each format says in its own words; all texts are UTF-8 without NUL.

    `image` is its name where it runs, `about` one line of what it is. `uid` is None where only the image knows its
    user, `gid` likewise. `exposed` are ports of the container with their protocols, `ports` those that the caller
    publishes on the host. `data` are volumes of the image, named here; `mounts` what the caller mounts. `seconds`
    are those from the stop signal to SIGKILL.
    """

    name: str
    image: str
    image_id: str
    about: str
    version: str = ""
    arguments: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    uid: int | None
    gid: int | None
    exposed: tuple[tuple[int, str], ...] = ()
    ports: tuple[Port, ...] = ()
    data: tuple[Mount, ...] = ()
    mounts: tuple[Mount, ...] = ()
    memories: tuple[Memory, ...] = ()
    health: Health | None = None
    stop_signal: str | None = None
    seconds: int = 10
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    replicas: int = 1
    writable: bool = False
    capabilities: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def in_memory(self) -> tuple[str, ...]:
        """Directories that are writable although the root is not, as in a `run`."""
        taken = {each.target.rstrip("/") for each in (*self.data, *self.mounts)}
        taken |= {each.target.rstrip("/") for each in self.memories}
        return () if self.writable else tuple(path for path in WRITABLE if path not in taken)

    def published(self) -> tuple[Port, ...]:
        """What is to be reached on one host: what was asked for, else the image's ports, for this host alone."""
        if self.ports:
            return self.ports
        return tuple(
            Port(address="127.0.0.1", host=port, container=port, protocol=protocol)
            for port, protocol in self.exposed
            if port >= UNPRIVILEGED and protocol != "sctp"
        )


class Generated(msgspec.Struct, frozen=True, kw_only=True):
    """A text that starts an image later, its format, the image by its name there, and what could not be said."""

    format: str
    name: str
    image: str
    text: str
    notes: tuple[str, ...] = ()


def binary(size: int) -> tuple[int, str]:
    """A number of bytes by the largest unit that leaves nothing over: g, m or k, of 1024 each, or none."""
    return next(((size // unit, name) for unit, name in _BINARY if size % unit == 0), (size, ""))


def shown(text: str) -> str:
    """A text in one line, of what can be shown alone: for comments."""
    line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return line.rstrip("\\ ")


def heading(load: Workload, verb: str, notes: tuple[str, ...], *more: str) -> str:
    """The comments that each text begins with; `#` begins one in all formats."""
    lines = (
        f"Made by `rootless-scratch generate {verb}` of the image {load.image_id[:12]}.",
        *more,
        *(f"note: {note}" for note in notes),
    )
    return "".join(f"# {shown(line)}\n" for line in lines)
