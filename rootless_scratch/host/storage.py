"""Where images and temporary files go: file systems, space, and the driver."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from rootless_scratch.command import last_cause
from rootless_scratch.errors import HostError
from rootless_scratch.host.environment import state_directory, temporary_directory
from rootless_scratch.host.own_storage import has_storage, named_roots
from rootless_scratch.host.podman_database import Database, read_database
from rootless_scratch.host.probing import Question
from rootless_scratch.processes import text
from rootless_scratch.spawn import find

_SPOOL = "/var/tmp"  # noqa: S108 - looked at, not written to


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A directory and its file system; `free` in bytes. What does not exist yet is judged by its parent."""

    path: str
    fstype: str
    writable: bool
    noexec: bool
    free: int


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """Local image storage as buildah sees it.

    Where it cannot open it, `problem` is its own message, and `stderr` all that it said. `state` is where this
    package notes what is under way.
    """

    images: Location
    driver: str | None
    temporary: Location
    state: Location
    policy: str | None
    problem: str | None
    stderr: str = ""
    others: tuple[str, ...] = ()
    """Drivers other than the one in force with which images were made there."""
    spool: Location | None = None
    """Where podman before 5 unpacks what it loads, whatever TMPDIR says."""
    is_used: bool = False
    """Whether this user has images or containers."""
    database: Database | None = None
    """podman's, whose driver it goes on using."""


class StorageQuestion:
    """`buildah info`, under way: where it stores images."""

    def __init__(self, *, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._info = Question(["buildah", "info"], environment=environment) if find("buildah") else None

    def answer(self, *, rootful: bool) -> Storage:
        """What buildah says, or the default where it cannot say."""
        environment = self._environment
        home = Path(environment.get("HOME", "/"))
        data = Path(environment.get("XDG_DATA_HOME") or home / ".local/share")
        root = "/var/lib/containers/storage" if rootful else str(data / "containers/storage")
        driver = problem = None
        stderr = ""
        if self._info is not None:
            try:
                output = self._info.answer()
                stderr = output.stderr.decode("utf-8", "replace")
                if output.exit_code == 0:
                    store = json.loads(output.text)["store"]
                    root, driver = str(store["GraphRoot"]), str(store["GraphDriverName"])
                else:
                    problem = last_cause(stderr) or f"it ended with code {output.exit_code}"
            except HostError as error:
                problem = error.message
            except (ValueError, KeyError, TypeError):
                problem = "`buildah info` did not print its JSON"
        policies = (home / ".config/containers/policy.json", Path("/etc/containers/policy.json"))
        return Storage(
            images=read_location(root),
            driver=driver,
            temporary=read_location(temporary_directory(environment)),
            state=read_location(state_directory(environment)),
            policy=next((str(path) for path in policies if os.access(path, os.R_OK)), None),
            problem=problem,
            stderr="" if problem is None else stderr,
            others=() if driver is None else _other_drivers(root, driver),
            spool=read_location(_SPOOL),
            is_used=has_storage(environment),
            database=_database(root, environment, is_known=driver is not None),
        )


def _database(root: str, environment: Mapping[str, str], *, is_known: bool) -> Database | None:
    """podman's, in the image storage; where buildah could not say which that is, in any that settings name."""
    roots = (root,) if is_known else (*named_roots(environment), root)
    return next(filter(None, map(read_database, roots)), None)


def _other_drivers(root: str, driver: str) -> tuple[str, ...]:
    """By the lists of images that each driver keeps in a directory of its own."""
    return tuple(
        name
        for name in ("overlay", "vfs", "btrfs", "zfs", "fuse-overlayfs")
        if name != driver and text(f"{root}/{name}-images/images.json").strip() not in ("", "[]")
    )


def read_location(path: str) -> Location:
    """Facts about `path`, or about its nearest parent that exists."""
    existing = Path(path)
    # Not Path.exists: it raises where a parent cannot be searched.
    while not os.path.exists(existing) and existing != existing.parent:
        existing = existing.parent
    state = os.statvfs(existing)
    return Location(
        path=path,
        fstype=file_system_of(os.path.realpath(existing)),
        writable=os.access(existing, os.W_OK | os.X_OK) and not state.f_flag & os.ST_RDONLY,
        noexec=bool(state.f_flag & os.ST_NOEXEC),
        free=state.f_bavail * state.f_frsize,
    )


def file_system_of(path: str) -> str:
    """Find the type of the last mount that holds `path`; proc(5) describes fields and octal escapes."""
    best, fstype = "", "unknown"
    for line in text("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), left.split()[4])
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, fstype = point, right.split()[0]
    return fstype
