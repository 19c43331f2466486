"""Copying files with their holes, for which only builtin modules are imported: the worker does it too."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

_WORTH = 64 << 10
"""Bytes below which a file is not asked for its holes."""

_FINAL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
"""What copying by hand meets too."""


def copy_sparse(reading: int, writing: int, size: int, *, chunk: int) -> Iterator[int]:
    """Copy `size` bytes to an empty file, inside the kernel where it can; what was a hole stays one.

    After each piece, of `chunk` bytes at most but for holes, the bytes that are done with it are yielded. Raises
    OSError. A source that changes meanwhile is the caller's to notice.
    """
    in_kernel = True
    at = 0
    for start, end in _data(reading, size):
        if start > at:
            yield start - at
        at = start
        while at < end:
            count = 0
            if in_kernel:
                try:
                    count = os.copy_file_range(reading, writing, min(chunk, end - at), at, at)
                except OSError as error:
                    if error.errno in _FINAL:
                        raise
                    in_kernel = False
            if not in_kernel:
                count = _write(writing, os.pread(reading, min(chunk, end - at), at), at)
            if count == 0:
                break
            at += count
            yield count
    if at < size:
        os.ftruncate(writing, size)
        yield size - at


def _data(reading: int, size: int) -> Iterator[tuple[int, int]]:
    """The stretches of a file that are no holes: lseek(2). One whole where it has none or that is not told."""
    if size < _WORTH or os.fstat(reading).st_blocks * 512 >= size:
        yield 0, size
        return
    at = 0
    while at < size:
        try:
            start = os.lseek(reading, at, os.SEEK_DATA)
            end = os.lseek(reading, start, os.SEEK_HOLE)
        except OSError as error:
            # ENXIO: a hole up to the end.
            if error.errno != errno.ENXIO:
                yield at, size
            return
        yield start, min(end, size)
        at = end


def _write(writing: int, block: bytes, at: int) -> int:
    """Write the whole block, and return its length."""
    view = memoryview(block)
    while view:
        count = os.pwrite(writing, view, at)
        view, at = view[count:], at + count
    return len(block)
