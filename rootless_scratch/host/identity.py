"""Who this process is: its account, its subordinate ids, what it may do, and the helpers that map ids."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from rootless_scratch.command import ask
from rootless_scratch.errors import CommandError, HostError
from rootless_scratch.host.capabilities import CAP_SYS_ADMIN
from rootless_scratch.processes import text
from rootless_scratch.spawn import find

CAP_SETUID = 7
CAP_SETGID = 6

_GETSUBIDS_FIELDS = 3


class IdRange(msgspec.Struct, frozen=True, kw_only=True):
    """`count` ids from `start` on, as one line of subuid(5) grants them."""

    start: int
    count: int


class SubordinateIds(msgspec.Struct, frozen=True, kw_only=True):
    """The ranges that this user may map, where they were read, and the first id that is nobody's."""

    kind: Literal["subuid", "subgid"]
    ranges: tuple[IdRange, ...]
    source: str
    first_free: int = 100_000
    outside: bool = False
    """Whether ids of them are none of those that the surrounding user namespace has."""
    shared_with: str | None = None
    """Another user who has some of the same ids."""

    @property
    def total(self) -> int:
        """How many ids they hold together."""
        return sum(each.count for each in self.ranges)


class MapHelper(msgspec.Struct, frozen=True, kw_only=True):
    """newuidmap or newgidmap: where it is, and by what it could raise its rights."""

    name: str
    path: str | None
    setuid: bool
    file_capabilities: bool
    nosuid_mount: bool


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """This process; `effective` and `bounding` are capability sets as bit masks (capabilities(7)).

    `mapped_ids` counts the ids of the user namespace that it already is in: 2**32 - 1 outside of any.
    """

    uid: int
    gid: int
    user: str | None
    primary_gid: int | None
    no_new_privileges: bool
    seccomp: bool
    effective: int
    bounding: int
    mapped_ids: int
    confinement: str | None

    @property
    def rootful(self) -> bool:
        """Whether podman and buildah work here without a user namespace of their own."""
        return self.uid == 0 and bool(self.effective >> CAP_SYS_ADMIN & 1)


def read_identity() -> Identity:
    """Facts from /proc/self and the user database."""
    status = _status()
    try:
        account = pwd.getpwuid(os.getuid())
    except KeyError:
        account = None
    return Identity(
        uid=os.getuid(),
        gid=os.getgid(),
        user=account.pw_name if account else None,
        primary_gid=account.pw_gid if account else None,
        no_new_privileges=status.get("NoNewPrivs") == "1",
        seccomp=status.get("Seccomp", "0") != "0",
        effective=int(status.get("CapEff", "0"), 16),
        bounding=int(status.get("CapBnd", "0"), 16),
        mapped_ids=sum(int(line.split()[2]) for line in text("/proc/self/uid_map").splitlines()),
        confinement=text("/proc/self/attr/current").strip("\0\n ") or None,
    )


def read_subordinate_ids(
    kind: Literal["subuid", "subgid"], identity: Identity, *, environment: Mapping[str, str]
) -> SubordinateIds:
    """Read the ranges of the user's name and of the numeric id (newuidmap(1)).

    Asks getsubids(1) where nsswitch.conf names another source than the files, which may then be empty.
    """
    names = {str(identity.uid)} | ({identity.user} if identity.user else set())
    path = f"/etc/{kind}"
    if identity.user and _other_source() and find("getsubids"):
        argv = ["getsubids", *(["-g"] if kind == "subgid" else []), identity.user]
        try:
            answer = ask(argv, environment=environment, check=False)
        except (CommandError, HostError):
            answer = None
        if answer is not None:
            # Each line: index, colon, user, start, count.
            fields = [line.partition(":")[2].split() for line in answer.text.splitlines()]
            answered = (_range(each[1], each[2]) for each in fields if len(each) == _GETSUBIDS_FIELDS)
            return SubordinateIds(kind=kind, ranges=tuple(filter(None, answered)), source="getsubids")
    ranges: list[IdRange] = []
    others: list[tuple[str, IdRange]] = []
    first_free = 100_000
    for line in text(path).splitlines():
        owner, _, rest = line.strip().partition(":")
        start, _, count = rest.partition(":")
        granted = _range(start, count)
        if granted is not None:
            first_free = max(first_free, granted.start + granted.count)
            if owner in names:
                ranges.append(granted)
            else:
                others.append((owner, granted))
    return SubordinateIds(
        kind=kind,
        ranges=tuple(ranges),
        source=path,
        first_free=first_free,
        outside=not all(_is_mapped(each, f"/proc/self/{kind[3:]}_map") for each in ranges),
        shared_with=next(
            (owner for owner, theirs in others if any(_overlap(theirs, each) for each in ranges)), None
        ),
    )


def _overlap(one: IdRange, other: IdRange) -> bool:
    return one.start < other.start + other.count and other.start < one.start + one.count


def _is_mapped(ids: IdRange, path: str) -> bool:
    """Whether the user namespace of this process has all of these ids: user_namespaces(7)."""
    covered = 0
    for line in text(path).splitlines():
        first, _, count = map(int, line.split())
        covered += max(0, min(ids.start + ids.count, first + count) - max(ids.start, first))
    return covered == ids.count


def read_map_helper(name: str) -> MapHelper:
    """Facts about newuidmap or newgidmap; Debian makes them setuid, Fedora gives them file capabilities."""
    path = find(name)
    if path is None:
        return MapHelper(name=name, path=None, setuid=False, file_capabilities=False, nosuid_mount=False)
    real = os.path.realpath(path)
    state = Path(real).stat()
    try:
        os.getxattr(real, "security.capability")
    except OSError:
        capable = False
    else:
        capable = True
    return MapHelper(
        name=name,
        path=path,
        setuid=bool(state.st_mode & stat.S_ISUID) and state.st_uid == 0,
        file_capabilities=capable,
        nosuid_mount=bool(os.statvfs(real).f_flag & os.ST_NOSUID),
    )


def _range(start: str, count: str) -> IdRange | None:
    if start.isascii() and start.isdigit() and count.isascii() and count.isdigit():
        return IdRange(start=int(start), count=int(count))
    return None


def _other_source() -> bool:
    for line in text("/etc/nsswitch.conf").splitlines():
        database, _, sources = line.partition("#")[0].partition(":")
        if database.strip() == "subid":
            return sources.split() != ["files"]
    return False


def _status() -> dict[str, str]:
    pairs = (line.partition(":") for line in text("/proc/self/status").splitlines())
    return {name: value.strip() for name, _, value in pairs}
