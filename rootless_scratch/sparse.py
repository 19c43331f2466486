"""Writing whole blocks, and copying files with their holes; builtin modules alone, for the worker does it too."""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

_WORTH = 64 << 10
"""Bytes below which a file is not asked for its holes."""

_PIECE = 1 << 20
"""Bytes that are copied at once where the kernel does not do it."""

ZEROS = memoryview(bytes(_PIECE))
"""What a hole reads as; pieces of it are known by what they are views of."""

_FINAL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
"""What copying by hand meets too."""


def copy_sparse(reading: int, writing: int, size: int, *, chunk: int) -> Iterator[int]:
    """Copy `size` bytes to an empty file, inside the kernel where it can; what was a hole stays one.

    After each piece, of `chunk` bytes at most but for holes, the bytes that are done with it are yielded. Raises
    OSError. A source that changes meanwhile is the caller's to notice.
    """
    at = 0
    for start, end in stretches(reading, size):
        if start > at:
            yield start - at
        at = start
        for count in copy_range(reading, writing, start, end, chunk=chunk):
            at += count
            yield count
    if at < size:
        os.ftruncate(writing, size)
        yield size - at


def copy_range(
    reading: int, writing: int, at: int, end: int, *, chunk: int, append: bool = False
) -> Iterator[int]:
    """Copy a stretch to the same place, or with `append` to where the file is at; the bytes done piece by piece.

    It ends early where the source does. Raises OSError.
    """
    in_kernel = True
    while at < end:
        to = None if append else at
        if in_kernel:
            try:
                count = os.copy_file_range(reading, writing, min(chunk, end - at), at, to)
            except OSError as error:
                if error.errno in _FINAL:
                    raise
                in_kernel = False
                continue
        else:
            count = write_all(writing, os.pread(reading, min(chunk, end - at, _PIECE), at), to)
        if count == 0:
            return
        at += count
        yield count


def append_sparse(reading: int, writing: int, size: int, *, chunk: int) -> Iterator[int]:
    """Copy `size` bytes to where the file is at, as `copy_range` does with `append`; holes stay holes."""
    at = 0
    for start, end in stretches(reading, size):
        if start > at:
            yield skip(writing, start - at)
        at = start
        for count in copy_range(reading, writing, start, end, chunk=chunk, append=True):
            at += count
            yield count
        if at < end:
            return
    if at < size:
        yield skip(writing, size - at)


def skip(writing: int, size: int) -> int:
    """Leave a hole of `size` bytes where the file is at, or write zeros to what can have none; returns `size`."""
    try:
        end = os.lseek(writing, size, os.SEEK_CUR)
    except OSError as error:
        if error.errno != errno.ESPIPE:
            raise
        left = size
        while left:
            left -= write_all(writing, ZEROS[:left])
        return size
    # What comes last would be lost, and a device is as long as it is.
    status = os.fstat(writing)
    if stat.S_ISREG(status.st_mode) and end > status.st_size:
        os.ftruncate(writing, end)
    return size


def zeros(size: int) -> Iterator[memoryview[int]]:
    """The bytes of a hole, in pieces that cost no memory."""
    while size > 0:
        piece = ZEROS[:size]
        yield piece
        size -= len(piece)


def is_hole(block: object) -> bool:
    """Whether a block is a piece of a hole."""
    return isinstance(block, memoryview) and block.obj is ZEROS.obj


def write_all(writing: int, block: bytes | bytearray | memoryview[int], at: int | None = None) -> int:
    """Write the whole block, to the place `at` or to where the file is at, and return its length."""
    view, done = memoryview(block), 0
    while done < len(view):
        rest = view[done:]
        done += os.write(writing, rest) if at is None else os.pwrite(writing, rest, at + done)
    return done


def stretches(reading: int, size: int) -> Iterator[tuple[int, int]]:
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
