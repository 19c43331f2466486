"""What tells that a file of the host is still the one that was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import os


class FileIdentity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What tells that a file is still the one that was read: the numbers of stat(2)."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def identity_of(status: os.stat_result) -> FileIdentity:
    """The identity of the file that stat(2) told of."""
    return FileIdentity(
        device=status.st_dev,
        inode=status.st_ino,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
    )


def is_identity(identity: FileIdentity, status: os.stat_result) -> bool:
    """Whether what stat(2) told is of this very file, unchanged."""
    return (
        identity.inode == status.st_ino
        and identity.ctime_ns == status.st_ctime_ns
        and identity.mtime_ns == status.st_mtime_ns
        and identity.size == status.st_size
        and identity.device == status.st_dev
    )
