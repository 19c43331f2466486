"""How containers are removed: our own at its end, and what was left by calls that were killed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from rootless_scratch.engine.api.http import Client
from rootless_scratch.engine.container.lease import (
    OWNER_LABEL,
    Lease,
    Leftover,
    Wanted,
    lease_directory,
    leftovers,
    local_engine,
)
from rootless_scratch.engine.service.local import end_abandoned
from rootless_scratch.errors import EngineError

_STILL_CREATING = 30
"""Seconds for which a container may yet appear after its creator was killed, if the service lives on."""

_WORTH_WAITING = 5.0
"""Seconds for which the next call waits for that; later ones find what comes after them."""

_BECOMES_KNOWN = 0.5
"""Seconds after which podman knows a container that storage has just made for it; it needs some milliseconds."""

_FORGET_AFTER = 7 * 24 * 3600
"""Seconds after which nobody asks any more for a container of a service that is not spoken to."""

_AGAIN = 5
"""Seconds in which what keeps a container from being removed passes by itself."""

_PASSING = (b"dependent containers", b"device or resource busy")
"""What podman says then: of tools beside it, which the kernel has ended with its first process, and of a mount.

Of a container whose maker was killed together with podman, another podman, such as the clean-up that conmon
starts, may have /dev/shm mounted at this moment. It is gone then all the same, and podman has forgotten it.
"""


def remove_container(client: Client, name: str, *, how: str = "&timeout=0&v=true&volumes=true") -> bool:
    """Remove a container, running or not; False where there is none. `how` has more of podman's parameters.

    One that `debug` has put tools beside waits for their end, which follows on its own. Raises EngineError where
    podman cannot.
    """
    deadline = time.monotonic() + _AGAIN
    was_there = False
    while True:
        response = client.request("DELETE", f"/containers/{name}?force=true{how}")
        if response.ok or not any(each in response.body for each in _PASSING) or time.monotonic() > deadline:
            break
        was_there = True
        time.sleep(0.05)
    fix = f"The next run tries again; `podman rm --force {name}` does it by hand."
    response.expect(f"The container {name} could not be removed", fix=fix, or_status=404)
    return response.ok or was_there


def remove_owned(client: Client, owner: str) -> list[str]:
    """Remove the container of an owner, whatever its name; the IDs of what there was. Raises EngineError."""
    # {"label":["LABEL=OWNER"]}, percent-encoded here because urllib.parse costs more than the call.
    filters = f"%7B%22label%22%3A%5B%22{OWNER_LABEL}%3D{owner}%22%5D%7D"
    found = client.call("GET", f"/containers/json?all=true&filters={filters}") or ()
    return [str(container["Id"]) for container in found if remove_container(client, str(container["Id"]))]


def remove_leftovers(client: Client, lease: Lease, *, variables: Mapping[str, str], engine: str) -> None:
    """Remove the containers of owners that were killed, as far as this engine holds them, with their processes.

    The service of another address may have had the same store, so all owners are asked for here; they are random,
    and nobody else's. Costs one look at a directory where there are none.
    """
    for leftover in leftovers(lease_directory(variables), living=lease):
        try:
            if leftover.engine == engine:
                over = _take_back(client, leftover, variables)
            else:
                removed = leftover.engine == "" or remove_owned(client, leftover.lease.owner)
                over = bool(removed) or leftover.age > _FORGET_AFTER
        except EngineError:
            continue
        if over:
            if leftover.directory is not None:
                end_abandoned(leftover.directory)
            leftover.lease.end()


def _take_back(client: Client, leftover: Leftover, variables: Mapping[str, str]) -> bool:
    """Remove what there is of it; whether nothing more may come."""
    from rootless_scratch.engine.container.strays import end_strays, end_unwatched

    owner, wanted = leftover.lease.owner, leftover.wanted
    if wanted is not None:
        end_unwatched(wanted.id)
    if wanted is None:
        # It had asked podman for nothing, or all of that was gone.
        remove_owned(client, owner)
        return True

    def may_appear() -> bool:
        # What a service of another host is doing nobody tells.
        here = leftover.engine == local_engine(variables)
        return leftover.age <= _STILL_CREATING and not (here and not Client(path=wanted.socket).is_busy())

    deadline = time.monotonic() + _WORTH_WAITING
    while True:
        # Before it is looked for: what is finished in between is found, and our own questions keep nobody busy.
        is_awaited = may_appear()
        found = remove_owned(client, owner)
        if found or wanted.id or not is_awaited or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    if not found and not wanted.id:
        found = _remove_stored(client, leftover, wanted)
    made = {*found, wanted.id} - {""}
    if made:
        end_strays(made, variables)
    return bool(made) or not is_awaited


def _remove_stored(client: Client, leftover: Leftover, wanted: Wanted) -> list[str]:
    """Remove a container that storage knows and podman does not, as its maker was killed in between; its ID.

    It has no label. A name of ours is random. One that the user chose may be what another podman is making at
    this moment, so that must be younger than the wish for it, and still unknown to podman on a second look.
    """
    own = wanted.name == leftover.lease.container
    found = set(_stored(client, wanted))
    if found and not own:
        time.sleep(_BECOMES_KNOWN)
        found &= set(_stored(client, wanted))
    # By its ID podman refuses to remove one from storage that it has come to know.
    return [number for number, young in found if (own or young) and remove_container(client, number)]


def _stored(client: Client, wanted: Wanted) -> Iterator[tuple[str, bool]]:
    """Those of the wanted name that storage alone knows: the ID, and whether it is younger than the wish."""
    from datetime import datetime

    for container in client.call("GET", "/containers/json?all=true&external=true") or ():
        if container.get("State") == "storage" and wanted.name in (container.get("Names") or ()):
            # Nanoseconds are more than Python reads.
            created = datetime.fromisoformat(f"{str(container['Created'])[:19]}+00:00")
            yield str(container["Id"]), created.timestamp() >= int(wanted.since)
