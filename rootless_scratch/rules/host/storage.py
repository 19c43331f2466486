"""The doctor's rules on storage: where images lie, where temporary files go, and whose home that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.host.causes import OWN_HOME, STORAGE_CONF, cause_in
from rootless_scratch.host.settings import OWN_STORAGE
from rootless_scratch.rules.host.judged import Judged, Operation, forbid, remark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.host.causes import HostCause
    from rootless_scratch.host.facts import HostFacts
    from rootless_scratch.host.storage import Location, Storage

_LITTLE = 1 << 30
_TOO_LITTLE = 1 << 20
_NETWORK_FILE_SYSTEMS = frozenset(
    # containers/storage refuses overlay on these; the names are those of /proc/filesystems.
    ("nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "ceph", "afs", "9p", "fuse.sshfs", "beegfs", "panfs")
)


def judge_storage(facts: HostFacts) -> Iterator[Judged]:
    """Whether there is a home, room and a file system on which containers can start."""
    storage = facts.storage
    if not is_homeless(facts):
        yield from _placed(facts)
        yield from _opened(facts)
    else:
        yield forbid(
            "build-buildah",
            "run",
            rule="host-home",
            subject=facts.home,
            message=f"HOME is {facts.home}, which {facts.home_problem}; images and what is under way are kept "
            "below it.",
            fix=f"Set HOME to a directory of your own, in a CI job for example {OWN_HOME}.",
            evidence=f"HOME={facts.home}: {facts.home_problem}",
        )
    yield from _room(storage.temporary, ("build-buildah", "push", "debug"), "temporary directory", "set TMPDIR")


def is_homeless(facts: HostFacts) -> bool:
    """Whether images would be kept below a HOME where nothing can be kept, and that nothing replaces."""
    below = f"{facts.storage.images.path}/".startswith(f"{facts.home.rstrip('/')}/")
    replaced = any(each.rule == "host-home" for each in facts.workarounds)
    return below and facts.home_problem is not None and not replaced


def _placed(facts: HostFacts) -> Iterator[Judged]:
    storage = facts.storage
    yield from _room(
        storage.images,
        ("build-buildah", "run"),
        "image storage",
        "set `graphroot` in ~/.config/containers/storage.conf",
    )
    if not storage.state.writable:
        yield from _room(storage.state, ("build-buildah", "run"), "state directory", "set XDG_STATE_HOME")
    # What overlay mounts has options of its own.
    if storage.images.noexec and storage.driver != "overlay":
        yield forbid(
            "run",
            rule="host-storage-noexec",
            subject=storage.images.path,
            message=f"{storage.images.path} is on a file system mounted noexec: no container starts from it.",
            evidence=f"statvfs({storage.images.path}): ST_NOEXEC",
            fix="Set `graphroot` in ~/.config/containers/storage.conf to a directory on another file system.",
        )
    if storage.images.fstype in _NETWORK_FILE_SYSTEMS:
        yield remark(
            "build-buildah",
            "run",
            severity="warning",
            rule="host-storage-network-file-system",
            subject=storage.images.path,
            evidence=f"/proc/self/mountinfo: {storage.images.fstype}",
            message=f"{storage.images.path} is on {storage.images.fstype}, which cannot keep the owners of "
            "subordinate ids.",
            fix="Set `graphroot` in ~/.config/containers/storage.conf to a directory on a local disk.",
        )
    yield from _drivers(storage)
    if storage.driver == "vfs":
        yield remark(
            "build-buildah",
            "run",
            rule="host-storage-vfs",
            subject=storage.images.path,
            message="The storage driver is vfs, which copies every layer in full: slow for big programs.",
            fix='Put `[storage]` and `driver = "overlay"` into ~/.config/containers/storage.conf '
            "(an existing storage must be emptied with `podman system reset` first).",
        )


def _drivers(storage: Storage) -> Iterator[Judged]:
    """Whether buildah and podman have the same driver, and all images are its own."""
    database = storage.database
    if database is not None and storage.driver not in (None, database.driver):
        yield forbid(
            "run",
            rule="host-storage-settings",
            subject=storage.images.path,
            message=f"podman uses the driver {database.driver}, which its database has, and buildah "
            f"{storage.driver}, as the settings say: what `build -t` stores, `run` does not find.",
            fix=f"Set the driver {database.driver} (`driver` in {STORAGE_CONF}, STORAGE_DRIVER), or another "
            "`graphroot` with the driver that you want.",
            evidence=f"{database.path}: {database.driver}; buildah info: {storage.driver}",
        )
    elif storage.others:
        other = storage.others[0]
        yield remark(
            "build-buildah",
            "run",
            severity="warning",
            rule="host-storage-drivers",
            subject=storage.images.path,
            message=f"The image storage has images of the driver {other}, and the driver in force is "
            f"{storage.driver}: neither buildah nor podman sees those.",
            fix=f"Set the driver that was in use: `export STORAGE_DRIVER={other}`, or `driver` in {STORAGE_CONF}."
            if database is None
            else f"Build them again, or copy them: `STORAGE_DRIVER={other} buildah push IMAGE "
            "docker-archive:FILE`, then `podman load --input FILE`; podman keeps the driver of its database.",
            evidence=f"{storage.images.path}/{other}-images/images.json: not empty",
        )


def _repaired(known: HostCause, storage: Storage) -> str:
    """Without the driver vfs where podman would not take it."""
    if known.rule != "host-storage-overlay" or storage.database is None or storage.database.driver == "vfs":
        return known.fix
    return (
        f"Put the storage on another file system (`graphroot` in {STORAGE_CONF}); with this one podman keeps the "
        f"driver {storage.database.driver}, which {storage.database.path} has, whatever STORAGE_DRIVER says."
    )


def _opened(facts: HostFacts) -> Iterator[Judged]:
    """What buildah said when it was asked for its storage, where that is not for want of a namespace."""
    storage, id_map = facts.storage, facts.user_namespaces.id_map
    if storage.problem is None or (id_map is not None and id_map.problem is not None):
        return
    known = cause_in(storage.stderr)
    if known is not None and known.rule in OWN_STORAGE and not storage.is_used:
        yield remark(
            "build-buildah",
            "run",
            rule=known.rule,
            severity="warning",
            subject=storage.images.path,
            message=f"{known.cause.rstrip('.')}, so images are kept in a storage of ours with the driver vfs.",
            fix=_repaired(known, storage),
            evidence=f"buildah info: {storage.problem}",
        )
        return
    yield forbid(
        "build-buildah",
        "run",
        rule="host-storage" if known is None else known.rule,
        subject=storage.images.path,
        message=f"buildah cannot open the image storage: {storage.problem}." if known is None else known.cause,
        fix="Run `buildah info` to see all that it says, and compare ~/.config/containers/storage.conf."
        if known is None
        else _repaired(known, storage),
        evidence=f"buildah info: {storage.problem}",
    )


def is_short(location: Location) -> bool:
    """Whether nothing can be written there."""
    return not location.writable or location.free < _TOO_LITTLE


def _room(location: Location, operations: tuple[Operation, ...], what: str, move: str) -> Iterator[Judged]:
    at, left = f"The {what} {location.path}", f"{location.free >> 20} MiB left"
    fix = f"Free some space (`podman image prune`), or {move} to a directory on another disk."
    if not location.writable:
        message = f"{at} cannot be written by this user."
        fix = f"Give this user a directory and {move} to it."
        evidence = f"access({location.path}, W_OK)"
        yield forbid(
            *operations,
            rule="host-not-writable",
            subject=location.path,
            message=message,
            fix=fix,
            evidence=evidence,
        )
    elif location.free < _TOO_LITTLE:
        yield forbid(
            *operations,
            rule="host-disk-full",
            subject=location.path,
            message=f"{at} has {left}.",
            fix=fix,
            evidence=f"statvfs({location.path}): {location.free} bytes",
        )
    elif location.free < _LITTLE:
        yield remark(
            *operations,
            severity="warning",
            rule="host-disk-space",
            subject=location.path,
            message=f"{at} has only {left}; a build needs about three times the size of its files.",
            fix=fix,
        )
