"""Whose files those are that a program writes into a directory of the host."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from rootless_scratch.engine.api.images import config_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.engine.request.request import Request
    from rootless_scratch.engine.service.local import Service


def mapped(request: Request, service: Service) -> tuple[Request, str | None]:
    """The request with an id mapping that makes the program's user the caller, and a note where there is none.

    That is done only where something of the host is mounted, and no user namespace was request for: user 65532 of
    a rootless container would else be one of the subordinate ids, who may write nowhere. User 0 is the caller
    anyway, what belongs to root's service is root's to decide, and on another host the caller is nobody.
    """
    client = service.client
    binds = bool(request.devices) or any(mount.is_bind for mount in request.mounts)
    if not binds or request.userns is not None or os.geteuid() == 0 or not _is_callers(service):
        return request, None
    user = request.user
    if user is None:
        found = config_of(client, request.image)
        user = "" if found is None else str(found.get("User") or "")
    ids = re.fullmatch(r"(\d+)(?::(\d+))?", user)
    if ids is None:
        named = f"The user {user!r} is known by its name alone, so what it writes into --volume is not yours."
        return request, named if user else None
    if int(ids[1]) == 0:
        return request, None
    # A group that is not named is that of the image's passwd, mostly the user's number, else 0. podman 4.3 cannot
    # map the caller's group to 0: it writes a range of no ids, which the kernel refuses.
    group = ids[2] if int(ids[2] or 0) else ids[1]
    return request.but(userns=f"keep-id:uid={ids[1]},gid={group}"), None


def has_subordinate_ids(variables: Mapping[str, str]) -> bool:
    """Whether this account may use other ids than its own in a container; `variables` are those of tools."""
    from rootless_scratch.host.identity import read_identity, read_subordinate_ids

    identity = read_identity()
    return all(read_subordinate_ids(kind, identity, environment=variables).ranges for kind in ("subuid", "subgid"))


def _is_callers(service: Service) -> bool:
    if service.host is not None:
        return False
    try:
        return os.stat(service.client.path).st_uid == os.geteuid()
    except OSError:
        return False
