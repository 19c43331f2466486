"""What is counted against this user: open files, processes, memory, kernel keys; and podman's locks."""

from __future__ import annotations

import os
import resource

import msgspec

from rootless_scratch.processes import text

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where podman has its locks; nothing is written there
_KEY_FIELDS = 4


class Quotas(msgspec.Struct, frozen=True, kw_only=True):
    """Limits, None where there is none; `keys` is how many kernel keys are left, None where that does not matter.

    `locks` says why podman's locks cannot be opened or made, or None.
    """

    open_files: int | None = None
    processes: int | None = None
    memory: int | None = None
    keys: int | None = None
    locks: str | None = None


def read_quotas(uid: int, *, keyring: bool) -> Quotas:
    """Read them all: getrlimit(2), proc(5), shm_overview(7). Nothing is made; `keyring`: whether keys matter."""
    return Quotas(
        open_files=_hard(resource.RLIMIT_NOFILE),
        processes=_soft(resource.RLIMIT_NPROC),
        memory=_soft(resource.RLIMIT_AS),
        keys=_keys_left(uid) if keyring else None,
        locks=_locks_problem(uid),
    )


def _soft(limit: int) -> int | None:
    value = resource.getrlimit(limit)[0]
    return None if value == resource.RLIM_INFINITY else value


def _hard(limit: int) -> int | None:
    # What is written in Go raises its own limit to this one.
    value = resource.getrlimit(limit)[1]
    return None if value == resource.RLIM_INFINITY else value


def _keys_left(uid: int) -> int | None:
    """By /proc/key-users: UID: usage nkeys/nikeys qnkeys/maxkeys qnbytes/maxbytes."""
    for line in text("/proc/key-users").splitlines():
        name, _, rest = line.partition(":")
        fields = rest.split()
        if name.strip() == str(uid) and len(fields) >= _KEY_FIELDS:
            used, _, most = fields[2].partition("/")
            return int(most) - int(used)
    return None


def _locks_problem(uid: int) -> str | None:
    """Why podman cannot have its locks: it opens those that are there, or makes them."""
    name = "libpod_lock" if uid == 0 else f"libpod_rootless_lock_{uid}"
    path = f"{_SHARED_MEMORY}/{name}"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
    except FileNotFoundError:
        return _no_room()
    except OSError as error:
        return f"{path}: {error.strerror}"
    # Each container writes to it: a read-only mount refuses the open above.
    return None


def _no_room() -> str | None:
    try:
        read_only = os.statvfs(_SHARED_MEMORY).f_flag & os.ST_RDONLY
    except OSError as error:
        return f"{_SHARED_MEMORY}: {error.strerror}"
    if read_only:
        return f"{_SHARED_MEMORY}: {os.strerror(30)}"
    return None if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK) else f"{_SHARED_MEMORY}: {os.strerror(13)}"
