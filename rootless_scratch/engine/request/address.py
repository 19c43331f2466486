"""The address of a podman socket on another host, as `ssh://` says it."""

from __future__ import annotations

import re
from urllib.parse import unquote

import msgspec

from rootless_scratch.errors import EngineError
from rootless_scratch.expressions import expression

_HOST = expression(r"[A-Za-z0-9_.:%][A-Za-z0-9_.:%-]*")
_USER = expression(r"[A-Za-z0-9_.+@][A-Za-z0-9_.+@-]*")
PATH = expression(r"/[A-Za-z0-9_./@+,=-]*")
"""No character that ssh, a shell that its configuration starts (ProxyCommand), or its `-L` takes for its own."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A podman socket of another host; `path` is empty where podman there is to tell it."""

    host: str
    user: str = ""
    port: int | None = None
    path: str = ""

    def __str__(self) -> str:
        """The URL, the same for the same address."""
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"ssh://{user}{host}{port}{self.path}"

    @property
    def arguments(self) -> list[str]:
        """The arguments of ssh that say where to go; they end its options."""
        user = ["-l", self.user] if self.user else []
        port = [] if self.port is None else ["-p", str(self.port)]
        return [*user, *port, "--", self.host]


def parse_address(rest: str, *, origin: str) -> Address:
    """`[USER@]HOST[:PORT][/PATH]`, what stands behind `ssh://`; raises EngineError. `origin` is what names it."""
    # podman writes `?secure=...` behind some of its own, which is no matter here.
    authority, slash, path = rest.partition("?")[0].partition("/")
    account, _, machine = authority.rpartition("@")
    user, colon, _ = account.partition(":")
    if colon:
        raise EngineError(
            f"{origin} has a password in it, which other users of this host could see.",
            fix="Leave it out, and log in with a key (`ssh-copy-id`).",
        )
    match = re.fullmatch(r"(?:\[(?P<six>[^\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>\d{1,5})?)?", machine)
    host = unquote((match["six"] or match["name"] or "") if match else "")
    port = int(match["port"]) if match and match["port"] else None
    user, path = unquote(user), unquote(slash + path).rstrip("/")
    for what, value, allowed in (("host", host, _HOST), ("user", user, _USER), ("path", path, PATH)):
        if (value or what == "host") and allowed.fullmatch(value) is None:
            raise EngineError(
                f"{origin} names no {what} that ssh can be given: {value or rest!r}.",
                fix="Write ssh://user@host:port/path/to/podman.sock, in letters, digits and `._-`; what else a "
                "host needs goes into ~/.ssh/config.",
            )
    if port is not None and not 0 < port < 1 << 16:
        raise EngineError(f"{origin} has the port {port}.", fix="Name one from 1 to 65535, usually 22.")
    return Address(host=host, user=user, port=port, path=path)
