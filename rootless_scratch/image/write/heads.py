"""What layers of several images begin with: hashed once, and copied inside the kernel to all that follow.

A layer is a tar in the order of its paths, so images with the same libraries share all that comes before their
program. The state of the hash is kept behind large files of which every change would show
(docs/decisions/0022-known-by-their-status.md); whoever takes it copies the sources, which must be the same still.
"""

from __future__ import annotations

import os
import time
from threading import Lock
from typing import TYPE_CHECKING, Any

from rootless_scratch.elf.identity import is_identity
from rootless_scratch.image.host_files import changed, open_descriptor
from rootless_scratch.image.rootfs import File
from rootless_scratch.image.write.settled import is_settled
from rootless_scratch.image.write.tarheader import BLOCK, entry_header
from rootless_scratch.sparse import ZEROS, append_sparse, write_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.rootfs import Entry

_WORTH = 1 << 20
"""Bytes of a file behind which the hash is kept."""

_ENTRIES_MAX = 1000
_KEPT = 8
_CHUNK = 16 << 20

Key = tuple[bytes, object]


class Head:
    """The beginning of one layer: what its entries are, and the states of its hash behind some of them."""

    def __init__(self, entries: Sequence[Entry], mtime: int) -> None:
        self._entries = entries
        self._keys = [_key(entry, mtime) for entry in entries]
        self._mtime = mtime
        self.states: dict[int, Any] = {}

    def marks(self, begin: int) -> frozenset[int]:
        """Where states are to be kept: behind large files, while each file before them shows its changes."""
        found = []
        now = time.time_ns()
        for at, entry in enumerate(self._entries):
            if not isinstance(entry, File) or entry.source is None or entry.linked is not None:
                continue
            if at >= begin and not _is_settled(entry, now):
                break
            if entry.identity.size >= _WORTH and at >= begin:
                found.append(at + 1)
        return frozenset(found)

    def common(self, other: Head) -> int:
        """How many entries the other one begins with too, up to a state that it has."""
        same = 0
        for one, two in zip(self._keys, other._keys, strict=False):
            if one != two:
                break
            same += 1
        return max((count for count in other.states if count <= same), default=0)

    def copy(self, count: int, descriptor: int, files: HostFiles) -> int:
        """Write so many entries; raises SourceError where a source is not what it was, OSError. Returns bytes."""
        size = 0
        for entry in self._entries[:count]:
            head = entry_header(entry, self._mtime if entry.mtime is None else entry.mtime)
            size += write_all(descriptor, head)
            if not isinstance(entry, File) or entry.linked is not None:
                continue
            if entry.source is None:
                done = write_all(descriptor, entry.content or b"")
            else:
                with files.planned(entry) as source:
                    done = sum(append_sparse(source, descriptor, entry.identity.size, chunk=_CHUNK))
                if done != entry.identity.size:
                    raise changed(entry)
            size += done + write_all(descriptor, ZEROS[: -done % BLOCK])
        return size


class Heads:
    """The beginnings of the last layers that were written, by any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: list[Head] = []

    def of(self, entries: Sequence[Entry], mtime: int) -> tuple[Head, int, Any] | None:
        """The beginning of a layer, how much of it is known, and its hash there; None where it is not worth it."""
        if len(entries) > _ENTRIES_MAX:
            return None
        head = Head(entries, mtime)
        count, state = 0, None
        with self._lock:
            for known in self._kept:
                common = head.common(known)
                if common > count:
                    count, state = common, known.states[common]
        return head, count, state

    def keep(self, head: Head) -> None:
        """Keep what came of one, in the place of the oldest."""
        if head.states:
            with self._lock:
                self._kept = [head, *self._kept[: _KEPT - 1]]


def _key(entry: Entry, mtime: int) -> Key:
    """What decides on the bytes of an entry."""
    head = entry_header(entry, mtime if entry.mtime is None else entry.mtime)
    if not isinstance(entry, File) or entry.linked is not None:
        return head, None
    return head, entry.content if entry.source is None else entry.identity


def _is_settled(file: File, now: int) -> bool:
    assert file.source is not None  # noqa: S101 - see its callers
    try:
        descriptor, status = open_descriptor(file.source)
    except OSError:
        return False
    try:
        return is_identity(file.identity, status) and is_settled(descriptor, now)
    finally:
        os.close(descriptor)
