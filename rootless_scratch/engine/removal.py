"""How containers are removed: our own at its end, and what was left by calls that were killed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rootless_scratch.engine.lease import OWNER_LABEL, leftovers
from rootless_scratch.engine.service import end_abandoned
from rootless_scratch.errors import EngineError

if TYPE_CHECKING:
    from rootless_scratch.engine.http import Client
    from rootless_scratch.engine.lease import Lease

_STILL_CREATING = 30
"""Seconds for which a container may yet appear after its creator was killed."""

_FORGET_AFTER = 7 * 24 * 3600
"""Seconds after which nobody asks any more for a container of a service that is not spoken to."""

_DEPENDENTS = 5
"""Seconds for tools beside a container to be removed: the kernel has ended them with its first process."""


def remove_container(client: Client, name: str, *, how: str = "&timeout=0&v=true") -> bool:
    """Remove a container, running or not; False where there is none. `how` has more of podman's parameters.

    One that `debug` has put tools beside waits for their end, which follows on its own. Raises EngineError where
    podman cannot.
    """
    deadline = time.monotonic() + _DEPENDENTS
    while True:
        response = client.request("DELETE", f"/containers/{name}?force=true{how}")
        if response.ok or b"dependent containers" not in response.body or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if not response.ok and response.status != 404:  # noqa: PLR2004 - RFC 9110, 15.5.5
        raise EngineError(
            f"The container {name} could not be removed: {response.refusal().rstrip('.')}.",
            fix=f"The next run tries again; `podman rm --force {name}` does it by hand.",
        )
    return response.ok


def remove_owned(client: Client, owner: str) -> bool:
    """Remove the container of an owner, whatever its name; whether there was one. Raises EngineError."""
    # {"label":["LABEL=OWNER"]}, percent-encoded here because urllib.parse costs more than the call.
    filters = f"%7B%22label%22%3A%5B%22{OWNER_LABEL}%3D{owner}%22%5D%7D"
    found = client.call("GET", f"/containers/json?all=true&filters={filters}") or ()
    return sum(remove_container(client, str(container["Id"])) for container in found) > 0


def remove_leftovers(client: Client, lease: Lease, *, directory: str, engine: str) -> None:
    """Remove the containers of owners that were killed, as far as this engine holds them.

    The service of another address may have had the same store, so all owners are asked for here; they are random,
    and nobody else's. Costs one look at a directory where there are none.
    """
    for leftover in leftovers(directory, living=lease):
        try:
            removed = leftover.engine == "" or remove_owned(client, leftover.lease.owner)
        except EngineError:
            continue
        patience = _STILL_CREATING if leftover.engine == engine else _FORGET_AFTER
        if removed or leftover.age > patience:
            if leftover.directory is not None:
                end_abandoned(leftover.directory)
            leftover.lease.end()
