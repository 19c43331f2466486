"""Whether a compressed layer is really that of a tar: what others say of their blobs is not believed."""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, BinaryIO, cast

from rootless_scratch.errors import LimitError
from rootless_scratch.image.limits import DEFAULTS, Budget
from rootless_scratch.image.read.unpacking import counted, gunzipped
from rootless_scratch.image.zstd import opened

if TYPE_CHECKING:
    from rootless_scratch.caching.store import Entry

_CHUNK = 1 << 20


class _Blob(io.RawIOBase):
    """The first bytes of an open file."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._left = size
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # io's own is wider
        """As of every file."""
        count = os.preadv(self._descriptor, [memoryview(buffer)[: self._left]], self._at)
        self._left -= count
        self._at += count
        return count


def comes_to(descriptor: int, entry: Entry) -> bool:
    """Whether the blob at the start of a file unpacks to the tar that its entry names, and to no byte more.

    Raises HostError where zstd is not installed, and the blob needs it.
    """
    file = cast("BinaryIO", _Blob(descriptor, entry.size))
    budget = Budget(f"sha256:{entry.digest}", {**DEFAULTS, "expanded": entry.tar_size})
    budget.allow(entry.tar_size)
    found = hashlib.sha256()
    try:
        with (
            nullcontext(counted(opened(file), budget))
            if entry.compression.startswith("zstd")
            else gunzipped(file, budget)
        ) as stream:
            while block := stream.read(_CHUNK):
                found.update(block)
    except (LimitError, OSError, EOFError):
        return False
    return found.hexdigest() == entry.diff_id
