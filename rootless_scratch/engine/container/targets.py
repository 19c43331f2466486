"""What `debug` looks into: a running container, or an image; and as whom it can be seen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from rootless_scratch import processes
from rootless_scratch.engine.api.http import Client, quoted
from rootless_scratch.engine.api.images import config_of, names_near
from rootless_scratch.engine.request.options import check_text
from rootless_scratch.engine.request.request import Beside
from rootless_scratch.errors import EngineError, ImageNotFoundError, UsageError
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from rootless_scratch.engine.service.local import Service

_CONTAINER = expression(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_NOT_FOUND = 404
_ROOT = "0:0"
_IPC = "ipcns"
"""The key of podman's SpecGenerator."""

_SEE_PROCESS = ("CAP_SYS_PTRACE",)
_SEE_ALL = ("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked into, and how: `user` and `capabilities` are those of the tools.

    `pid` is the first process of a container as this process sees it, None where it does not; see `has_ended`.
    """

    beside: Beside
    user: str
    capabilities: tuple[str, ...] = ()
    pid: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_container(self) -> bool:
        """Whether it is a running container, not an image."""
        return self.beside.image is None

    def without_ipc(self) -> Target:
        """The same, but for the IPC of a container that shares it with nobody; podman does not tell beforehand."""
        joined = tuple(each for each in self.beside.namespaces if each[0] != _IPC)
        return msgspec.structs.replace(self, beside=self.beside.but(namespaces=joined))

    @property
    def has_ended(self) -> bool:
        """Whether its first process is seen to be gone, and with it all that shared its process ids."""
        return self.pid is not None and _field(self.pid, "State")[:1] in ([], ["Z"], ["X"])


def look(service: Service, subject: str, *, user: str | None, mountpoint: str) -> Target:
    """Find the container or else the image `subject`; `user` None is the one that its program runs as.

    An image's files appear at `mountpoint`. Raises ImageNotFoundError where there is neither, EngineError for a
    container that cannot be looked into, UsageError.
    """
    if not subject:
        raise UsageError("Neither a container nor an image was named.", fix="Name one: `debug web`.")
    check_text(subject)
    if user is not None and re.fullmatch(r"\d+(:\d+)?", user) is None:
        raise UsageError(
            f"--user {user!r} is not a number, and the toolbox knows no names.",
            fix="Write it as 65532:65532, or 0.",
        )
    client = service.client
    image = config_of(client, subject)
    container = _container(client, subject)
    if container is not None:
        target = _beside_container(container, user, seen=service.host is None)
        if image is None:
            return target
        both = f"{subject} names a container and an image; this is the container."
        return msgspec.structs.replace(target, notes=(both, *target.notes))
    if image is not None:
        return _over_image(image, user, mountpoint)
    near = names_near(client.path, subject)
    raise ImageNotFoundError(
        f"There is neither a container nor an image {subject!r}.",
        fix=f"Did you mean {' or '.join(near)}?" if near else "`podman ps --all` and `podman images` list them.",
    )


def _container(client: Client, name: str) -> dict[str, Any] | None:
    """What podman's `inspect` says of it; None where it is not there. Raises EngineError."""
    if _CONTAINER.fullmatch(name) is None:
        return None
    response = client.request("GET", f"/containers/{quoted(name)}/json")
    fix = "Name it by its whole name; `podman ps` lists them."
    response.expect(f"podman cannot inspect the container {name}", fix=fix, or_status=_NOT_FOUND)
    found: dict[str, Any] | None = response.json() if response.ok else None
    return found


def _beside_container(found: dict[str, Any], user: str | None, *, seen: bool) -> Target:
    """`seen` says whether its processes may be among those of this host."""
    name, state, settings = found["Name"], found["State"], found["HostConfig"]
    if state["Status"] not in ("running", "paused"):
        how = f"it ended with exit code {state['ExitCode']}" if state["Status"] == "exited" else state["Status"]
        raise EngineError(
            f"The container {name} does not run ({how}), and `debug` needs one that runs.",
            fix=f"See the files of its image: `rootless-scratch debug {found['ImageName']}`; or start it: "
            f"`podman start {name}`.",
        )
    if settings.get("PidMode") not in (None, "", "private"):
        raise EngineError(
            f"The container {name} has no process ids of its own ({settings['PidMode']}), so nothing tells its "
            "root from another's.",
            fix=f"See the files of its image: `rootless-scratch debug {found['ImageName']}`; or debug the "
            "container that it shares them with.",
        )
    pid = int(state["Pid"])
    theirs = _user_of(pid) if seen else None
    ours = user or theirs or _user_named(name, str(found["Config"].get("User") or ""))
    uid = int(ours.partition(":")[0])
    capabilities: tuple[str, ...] = ()
    if uid == 0:
        capabilities = _SEE_ALL
    elif ours != theirs or found.get("EffectiveCaps"):
        # /proc/PID/root opens to the process's own user where it has no capabilities that ours lacks: ptrace(2).
        capabilities = _SEE_PROCESS
    return Target(
        beside=Beside(namespaces=_namespaces(found["Id"], settings)),
        user=ours,
        capabilities=capabilities,
        pid=None if theirs is None else pid,
    )


def _namespaces(whose: str, settings: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """The namespaces of a container that another joins.

    What it shares with the host is asked of the host: only real root could enter that by the container's ID.
    """
    joined = [("pidns", "container", whose)]
    for key, setting in (("netns", "NetworkMode"), (_IPC, "IpcMode")):
        joined.append((key, "host", "") if settings.get(setting) == "host" else (key, "container", whose))
    if settings.get("UsernsMode") not in (None, "", "host"):
        joined.append(("userns", "container", whose))
    return tuple(joined)


def _over_image(found: dict[str, Any], user: str | None, mountpoint: str) -> Target:
    named = str(found.get("User") or _ROOT)
    numeric = re.fullmatch(r"\d+(:\d+)?", named) is not None
    notes = () if numeric or user else (f"The image's user {named!r} is known by its name alone; you are user 0.",)
    ours = user or (named if numeric else _ROOT)
    root = int(ours.partition(":")[0]) == 0
    return Target(
        beside=Beside(image=str(found["Id"]), mountpoint=mountpoint),
        user=ours,
        capabilities=_SEE_ALL[1:] if root else (),
        notes=notes,
    )


def _user_named(container: str, named: str) -> str:
    """The user of its configuration, where its process cannot be seen."""
    if not named:
        return _ROOT
    if re.fullmatch(r"\d+(:\d+)?", named) is None:
        raise UsageError(
            f"The user {named!r} of the container {container} is known by its name alone.",
            fix="Give its number: --user UID:GID; --user 0 sees everything.",
        )
    return named


def _user_of(pid: int) -> str | None:
    """User and group of a process, as its own user namespace has them; None where it cannot be seen.

    proc(5): `status` has them as we see them, `uid_map` and `gid_map` lead from there to its own. A service
    elsewhere counts other processes than we do: the first of a container is 1 in there.
    """
    if _field(pid, "NSpid")[-1:] != ["1"]:
        return None
    ids = []
    for field, table in (("Uid", "uid_map"), ("Gid", "gid_map")):
        seen = _field(pid, field)
        own = _inside(int(seen[1]), f"/proc/{pid}/{table}", f"/proc/self/{table}") if len(seen) > 1 else None
        if own is None:
            return None
        ids.append(own)
    return f"{ids[0]}:{ids[1]}"


def _field(pid: int, name: str) -> list[str]:
    """The fields of one line of `/proc/PID/status`; none where it cannot be read."""
    for fields in _lines(f"/proc/{pid}/status"):
        if fields[0] == f"{name}:":
            return fields[1:]
    return []


def _inside(number: int, table: str, ours: str) -> int | None:
    lines = _lines(table)
    if lines == _lines(ours):
        # The same namespace: its own table leads to its parent.
        return number if lines else None
    for inside, outside, count in ([int(field) for field in fields] for fields in lines):
        if outside <= number < outside + count:
            return inside + number - outside
    return None


def _lines(path: str) -> list[list[str]]:
    # A process may have what str.splitlines takes for a line's end in its name.
    return [line.split() for line in processes.text(path).split("\n") if line.strip()]
