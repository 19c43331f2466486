"""What ssh says where it refuses or is refused, as one sentence of cause and one of fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.command import last_cause
from rootless_scratch.diagnosis import Diagnosis, diagnose
from rootless_scratch.errors import EngineError

if TYPE_CHECKING:
    from rootless_scratch.engine.request.address import Address

OWN_CODE = 255
"""What ssh exits with where the failure is its own: ssh(1)."""

_NOT_FOUND = 127

# `{at}` is the host, `{login}` what a user types.
_REFUSALS = (
    Diagnosis(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "{at} has another host key than before: it was reinstalled, or somebody intercepts the connection.",
        "Ask its administrator; if it is right, forget the old one (`ssh-keygen -R {host}`), then `{login}`.",
    ),
    Diagnosis(
        r"Host key verification failed|No \S+ host key is known for",
        "The host key of {at} is not known here, and cannot be confirmed without a terminal.",
        "Log in once by hand, and accept it if it is right: `{login}`.",
    ),
    Diagnosis(
        r"Could not resolve hostname [^:\n]+: ([^\n]+)",
        "The host {host} is not known: {0}.",
        "Check its name, also in ~/.ssh/config.",
    ),
    Diagnosis(
        r"connect to host \S+ port (\d+): ([^\n]+)",
        "No ssh answers at {host}, port {0}: {1}.",
        "Check name and port, and that sshd runs there: `{login}`.",
    ),
    Diagnosis(
        r"timed out during banner exchange|Connection (?:closed|reset) by \S+|kex_exchange_identification",
        "The connection with {at} was closed before the login.",
        "Check that sshd answers on that port: `{login}`.",
    ),
    Diagnosis(
        r"Unable to negotiate with \S+ port \d+: ([^\n]+)",
        "ssh and {at} have no method in common: {0}.",
        "Update the older one, or allow the method for this host in ~/.ssh/config.",
    ),
    Diagnosis(
        r"Identity file (.+) not accessible",
        "The key {0} cannot be read.",
        "Name the right one in CONTAINER_SSHKEY, or in podman's connection (its `Identity`).",
    ),
    Diagnosis(
        r"Load key \"?([^\"\n]+?)\"?: ([^\n]+)",
        "The key {0} cannot be used: {1}.",
        "Name the right one in CONTAINER_SSHKEY or in the connection, readable by you alone (`chmod 600`).",
    ),
    Diagnosis(
        r"Permission denied(?: \(([^)]*)\))?",
        "{at} refuses the login ({0}), and no password is asked for.",
        "Log in with a key: `ssh-copy-id`, `ssh-add` for one with a passphrase; then `{login}` must not prompt.",
    ),
    Diagnosis(
        r"Too many authentication failures",
        "{at} was offered too many keys and accepted none.",
        "Name the right one: CONTAINER_SSHKEY=FILE, or IdentityFile and IdentitiesOnly in ~/.ssh/config.",
    ),
)

_UNOPENED = "open failed"
"""sshd says no more to us, whether nobody listens there or it may not."""


def refusal(stderr: str, address: Address) -> EngineError:
    """The error for a login that came to nothing, of all that ssh `said`."""
    known = diagnose(
        _REFUSALS,
        stderr,
        tidy=lambda text: text.strip().rstrip("."),
        at=_at(address),
        host=address.host,
        login=_login(address),
    )
    if known is not None:
        return EngineError(known.cause, fix=known.fix, detail=stderr)
    return EngineError(
        f"ssh to {_at(address)} failed: {last_cause(stderr) or 'it said nothing'}.",
        fix=f"Log in by hand to see more: `{_login(address)}`.",
        detail=stderr,
    )


def closed(stderr: str, address: Address) -> EngineError | None:
    """The error for a socket that the host does not open to us; None where ssh says nothing of it."""
    if _UNOPENED not in stderr:
        return None
    return EngineError(
        f"sshd of {_at(address)} cannot reach {address.path}: no podman service of yours listens there, or sshd "
        "forbids it.",
        fix=f"Start it: `{_login(address)} systemctl --user enable --now podman.socket`, and there `loginctl "
        "enable-linger`; name the right socket; or have AllowStreamLocalForwarding set in sshd_config.",
        detail=stderr,
    )


def silence(address: Address, seconds: float) -> EngineError:
    """The error for a login that does not come to an end."""
    return EngineError(
        f"The login at {_at(address)} did not finish within {seconds:g} s.",
        fix=f"Log in by hand to see what it waits for: `{_login(address)}`.",
    )


def no_path(stderr: str, address: Address, *, exit_code: int) -> EngineError:
    """The error where podman on the host does not tell its socket."""
    why = "podman is not installed there" if exit_code == _NOT_FOUND else last_cause(stderr) or f"code {exit_code}"
    return EngineError(
        f"Where podman's socket is on {_at(address)} is not known: {why}.",
        fix=f"Name it: {address}/run/user/UID/podman/podman.sock, with your account's number there (`id -u`).",
        detail=stderr,
    )


def _at(address: Address) -> str:
    return f"{address.user}@{address.host}" if address.user else address.host


def _login(address: Address) -> str:
    """What a user types to log in."""
    port = "" if address.port is None else f"-p {address.port} "
    return f"ssh {port}{_at(address)}"
