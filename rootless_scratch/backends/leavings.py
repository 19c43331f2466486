"""What killed work has left: containers, unnamed images and lists in storage, and tools that outlived it.

These hold the lock of its private directory, and are ended with it.
"""

from __future__ import annotations

import os
import time

from rootless_scratch import locks, private, processes
from rootless_scratch.backends.tool import Tool

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from rootless_scratch.backends.caller import WorkerPaths

_WRITING_PATIENCE = 3.0
"""Seconds after which an image without config is no longer taken for one that is being written."""

_LISTS = ("containers.json", "volatile-containers.json")
"""Where storage names its containers; those of buildah and podman are volatile from storage 1.40 on."""

_TOOLS = (b"buildah", b"skopeo", b"podman")
_LET_FINISH = 0.5
"""Seconds for a short call to end by itself: one that is ended may leave something in storage without an owner."""

_ALONE = 1.0
"""Seconds after which what holds the lock, and is no tool, serves a mount: it ends with the container."""

_POLITE = 3.0
_GIVE_UP = 6.0
"""Seconds after which SIGTERM becomes SIGKILL, and after which others are left to themselves."""


def remove_container(paths: WorkerPaths, name: str) -> bool:
    """Remove a working container; False where storage still has it.

    One whose maker was killed before it wrote its own notes is known to storage alone: buildah does not remove
    it, podman does (buildah 1.28, podman 4.3).
    """
    if _succeeds(Tool(paths, ("rm", name))) or not _is_stored(paths, name):
        return True
    from rootless_scratch.spawn import find

    podman = find("podman")
    if podman is not None:
        _succeeds(Tool(paths, ("rm", "--force", name), program=podman))
    return not _is_stored(paths, name)


def _succeeds(tool: Tool) -> bool:
    tool.finish(check=False, cancel=False)
    return tool.exit_code == 0


def _is_stored(paths: WorkerPaths, name: str) -> bool:
    """Whether storage itself has a container of this name, whoever else knows it."""
    import json

    directory = _kept_in(paths, "containers")
    if directory is None:
        # A storage that does not answer now may have it: the next sweep asks again.
        return True
    for each in _LISTS:
        try:
            with open(os.path.join(directory, each), "rb") as file:
                containers = json.load(file)
        except (OSError, ValueError):
            continue
        if any(name in (container.get("names") or ()) for container in containers):
            return True
    return False


def _kept_in(paths: WorkerPaths, what: str) -> str | None:
    """Where the storage driver in force keeps its containers, or its images; None where nothing tells."""
    import json

    info = Tool(paths, ("info",)).finish(check=False, cancel=False)
    try:
        store = json.loads(info)["store"]
        return os.path.join(store["GraphRoot"], f"{store['GraphDriverName']}-{what}")
    except (ValueError, KeyError, TypeError):
        return None


def remove_unnamed(paths: WorkerPaths, added: Iterable[str], expected: dict[str, object]) -> None:
    """Remove those of the images `added` since a commit began that have no name and the config it meant."""
    for image_id in added:
        found = _describe(paths, image_id)
        if found is None:
            continue
        config, names = found
        ours = all(config.get(key) == value for key, value in expected.items() if value is not None)
        if not names and (ours or not config):
            Tool(paths, ("rmi", image_id)).finish(check=False, cancel=False)


def remove_stored(paths: WorkerPaths, image_id: str, *, since: float) -> None:
    """Remove an image that skopeo was killed within storing, if it has no name: one half there, or made `since`.

    podman lists no image any more where one is half there.
    """
    found = _describe(paths, image_id)
    if found is None:
        return
    config, names = found
    if not names and (not config or _born(paths, image_id) >= since):
        Tool(paths, ("rmi", image_id)).finish(check=False, cancel=False)


def _born(paths: WorkerPaths, image_id: str) -> float:
    """When storage got an image, in seconds since 1970; 0 where its file system does not tell: statx(2)."""
    from rootless_scratch.spawn import find

    stat, images = find("stat"), _kept_in(paths, "images")
    if stat is None or images is None:
        return 0
    birth = Tool(paths, ("--format=%.9W", os.path.join(images, image_id)), program=stat)
    try:
        return float(birth.finish(check=False, cancel=False))
    except ValueError:
        return 0


def remove_list(paths: WorkerPaths, name: str, loaded: Iterable[str]) -> None:
    """Remove a manifest list of ours by its name, and its images unless the list has got a user's name by then."""
    lines = _listed(paths)
    own = {number for number, each in lines if each == name}
    is_used = any(number in own and each != name for number, each in lines)
    Tool(paths, ("manifest", "rm", name)).finish(check=False, cancel=False)
    for image_id in () if is_used else loaded:
        if _names(paths, image_id) == []:
            Tool(paths, ("rmi", image_id)).finish(check=False, cancel=False)


def _describe(paths: WorkerPaths, image_id: str) -> tuple[dict[str, Any], list[str]] | None:
    """The config of an image ({} where its writer was killed before it had one) and its names; None if gone.

    An image without config may also be one that another process is writing at this moment: that is waited for.
    """
    import json

    deadline = time.monotonic() + _WRITING_PATIENCE
    while True:
        names = _names(paths, image_id)
        if names is None:
            return None
        described = Tool(paths, ("inspect", "--type", "image", image_id)).finish(check=False, cancel=False)
        try:
            return json.loads(json.loads(described)["Config"]), names
        except (ValueError, KeyError, TypeError):
            if time.monotonic() > deadline:
                return {}, names
        time.sleep(0.1)


def _names(paths: WorkerPaths, image_id: str) -> list[str] | None:
    """The names of an image, or None where there is no such image any more."""
    found = None
    for number, name in _listed(paths):
        if number == image_id:
            found = (found or []) + ([] if "<none>" in name else [name])
    return found


def _listed(paths: WorkerPaths) -> list[tuple[str, str]]:
    """ID and name of every image; one with several names comes several times."""
    listed = Tool(paths, ("images", "--all", "--no-trunc", "--format", "{{.ID}} {{.Name}}:{{.Tag}}"))
    lines = (line.partition(" ") for line in listed.finish(check=False, cancel=False).splitlines())
    return [(number.removeprefix("sha256:"), name) for number, _, name in lines]


def take_over(scratch: str, name: str, *, is_seen: bool) -> private.PrivateDirectory | None:
    """The private directory of a worker that has ended, under our lock; None where there is none of ours.

    What still holds its lock was started by that worker, and is ended if its arguments have the worker's `name`,
    which is random. What else holds it serves a mount (fuse-overlayfs), and is not waited for where all processes
    of that worker are seen from here, `is_seen`. Raises BlockingIOError where a tool does not end, and OSError.
    """
    if private.exchangeable(os.path.dirname(scratch)) is not None:
        return None
    try:
        descriptor = private.open_private(scratch)
    except OSError:
        # It was never made, or is gone; what somebody else has put there stays.
        return None
    began = time.monotonic()

    def again(_descriptor: int) -> bool:
        waited = time.monotonic() - began
        if waited > _GIVE_UP:
            raise BlockingIOError
        if waited > _LET_FINISH:
            count = _signal(name, by_force=waited > _POLITE)
            if not count and is_seen and waited > _ALONE:
                return False
        time.sleep(0.01 if waited < _LET_FINISH else 0.1)
        return True

    try:
        locks.lock(descriptor, again=again)
    except BaseException:
        os.close(descriptor)
        raise
    return private.PrivateDirectory(scratch, descriptor)


def _signal(name: str, *, by_force: bool) -> int:
    """End the tools of this worker; how many there were."""
    import signal

    def is_tool(pid: int) -> bool:
        return processes.belongs_to_us(pid) and _is_tool_of(processes.arguments_of(pid), name.encode())

    return processes.signal_those(is_tool, signal.SIGKILL if by_force else signal.SIGTERM)


def _is_tool_of(argv: Sequence[bytes], name: bytes) -> bool:
    # buildah calls itself `buildah-in-a-user-namespace` there.
    return os.path.basename(b"".join(argv[:1])).startswith(_TOOLS) and any(name in each for each in argv[1:])
