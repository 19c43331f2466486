"""The way to the service that the caller names: a unix socket here, or by ssh one on another host."""

from __future__ import annotations

import json
import os

from rootless_scratch import command
from rootless_scratch.engine.api.http import Client
from rootless_scratch.engine.service.directory import SOCKET_PATH_LIMIT
from rootless_scratch.engine.service.local import Service, ping
from rootless_scratch.errors import EngineError
from rootless_scratch.host.environment import socket_unit

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from rootless_scratch.engine.request.destination import Destination
else:
    Protocol = object

_LIST = ("podman", "system", "connection", "list", "--format", "json")
_LISTED = "`podman system connection list` shows those that there are."
_ADD = "`podman system connection add NAME ssh://user@host` makes one."


class Way(Protocol):
    """What leads to a service, for as long as it is open."""

    @property
    def directory(self) -> str | None:
        """The private one that it needs, if any."""

    def service(self) -> Service:
        """The service once it answers; raises EngineError where it does not."""

    def close(self) -> None:
        """Take it away; once is enough."""


class Socket:
    """A unix socket, which is there already."""

    directory: str | None = None

    def __init__(self, path: str, origin: str) -> None:
        self._path = path
        self._origin = origin

    def service(self) -> Service:
        """See Way."""
        client = Client(path=self._path, named=f"unix://{self._path}")
        try:
            ping(client, patience=10.0)
        except EngineError as error:
            raise EngineError(
                f"{self._origin} names {self._path}: {error.message}",
                fix=f"Start that service (`{socket_unit('start', uid=os.geteuid())}`), or name another; with none "
                "named, podman on this machine is used.",
            ) from error
        return Service(client=client, origin="named", address=f"unix://{self._path}")

    def close(self) -> None:
        """See Way."""


def way_to(destination: Destination, variables: Mapping[str, str]) -> Way:
    """The way there, begun; `variables` are the environment of tools.

    Raises EngineError, and ToolMissingError where there is no podman that knows connections, or no ssh.
    """
    url, origin, identity = destination.value, destination.origin, os.environ.get("CONTAINER_SSHKEY") or None
    if destination.is_name:
        found = _connection(url, origin, variables)
        origin = f"The connection {url}"
        url, identity = str(found["URI"]), str(found.get("Identity") or "") or identity
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("unix", "http+unix") and rest.startswith("/"):
        return Socket(_short_enough(rest, origin), origin)
    if separator and scheme == "ssh":
        from rootless_scratch.engine.request.address import parse_address
        from rootless_scratch.engine.service.ssh import Tunnel

        return Tunnel(parse_address(rest, origin=origin), identity=identity, variables=variables)
    raise EngineError(
        f"{origin} is {url!r}, and only a unix socket can be used, here or by ssh.",
        fix="Write unix:///path/to/podman.sock or ssh://user@host/path/to/podman.sock, or leave it out to use "
        "podman on this machine.",
    )


def _connection(name: str, origin: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """What podman has noted of a connection; it knows itself where that is written."""
    answer = command.ask(_LIST, environment=variables)
    try:
        listed = [
            each for each in json.loads(answer.stdout or b"[]") or () if each.get("Name") and each.get("URI")
        ]
    except (ValueError, AttributeError, TypeError) as error:
        raise EngineError(
            "podman's list of connections cannot be read.",
            fix="See what `podman system connection list --format json` says.",
        ) from error
    known: dict[str, dict[str, Any]] = {str(each["Name"]): each for each in listed}
    if name in known:
        return known[name]
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    raise EngineError(
        f"{origin} is {name!r}, and podman knows no connection of this name.",
        fix=f"Did you mean {' or '.join(near)}? {_LISTED}" if near else f"{_LISTED} {_ADD}",
    )


def _short_enough(path: str, origin: str) -> str:
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        raise EngineError(
            f"The socket path in {origin} is longer than {SOCKET_PATH_LIMIT} bytes: {path}.",
            fix="Make a shorter path to it, for example a symbolic link in /tmp, and name that one.",
        )
    return path
