"""The one writer of layers: a plan's entries as a tar, hashed while it is written, each source read once.

The order is that of a Rootfs, a directory before what it holds; the root itself has no entry, as with buildah.
"""

from __future__ import annotations

import hashlib
import os

from rootless_scratch.data import Data
from rootless_scratch.errors import UsageError
from rootless_scratch.image.host_files import changed, planned
from rootless_scratch.image.rootfs import File
from rootless_scratch.image.write.packing import CHUNK, packer
from rootless_scratch.image.write.tarheader import END, entry_header, padding

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rootless_scratch.image.rootfs import Entry

    Block = bytes | memoryview[int]

_THREADS_FROM = 8 << 20
"""Bytes from which on a second thread pays; its start costs as much as hashing 2 MB."""

_DEPTH = 4
"""Chunks under way between the threads: memory stays at a few megabytes whatever the layer's size."""

GZIP_LEVELS = range(4)
_GZIP_LEVEL = 1
ZSTD_LEVELS = range(1, 20)
_ZSTD_LEVEL = 3


class Compression(Data):
    """How a layer is stored: `name` none, gzip or zstd, `level` isal's (0 fastest, 3 smallest) or zstd's."""

    name: str
    level: int = _GZIP_LEVEL


NONE = Compression("none")


def parse_compression(word: str) -> Compression:
    """Read `none`, `gzip[:LEVEL]` or `zstd[:LEVEL]`; raises UsageError, HostError where zstd is not installed."""
    name, colon, level = word.partition(":")
    if name == "gzip" and (not colon or level in map(str, GZIP_LEVELS)):
        return Compression(name, int(level) if colon else _GZIP_LEVEL)
    if word == "none":
        return NONE
    if name == "zstd" and (not colon or level in map(str, ZSTD_LEVELS)):
        from rootless_scratch.image.zstd import require_zstd

        require_zstd()
        return Compression(name, int(level) if colon else _ZSTD_LEVEL)
    raise UsageError(
        f"{word!r} is not a compression.",
        fix="Write `none`, `gzip`, `zstd`, `gzip:LEVEL` with a level from 0 to 3, or `zstd:LEVEL`, 1 to 19.",
    )


class WrittenLayer(Data):
    """What was written: `diff_id` of the tar, `digest` and `size` of what is stored; sha256 in hexadecimal."""

    diff_id: str
    digest: str
    size: int


def write_layer(
    entries: Iterable[Entry],
    descriptor: int,
    *,
    mtime: int,
    size: int,
    compression: Compression = NONE,
    progress: Callable[[int], None] | None = None,
) -> WrittenLayer:
    """Write the entries as one layer to a file; `size` is about what there is to read.

    `progress` is told the bytes of sources that were read. The bytes written depend on the entries, their
    sources, `mtime` and the compression, and on nothing else. Raises SourceError where a source is not the
    file that was planned, before or after it was read; OSError.
    """
    diff = hashlib.sha256()
    stored = diff if compression.name == "none" else hashlib.sha256()
    large = size >= _THREADS_FROM
    pack = packer(compression.name, compression.level, parallel=large)
    written = 0

    def store(block: Block) -> None:
        nonlocal written
        view = memoryview(block)
        written += len(view)
        while view:
            view = view[os.write(descriptor, view) :]

    def take(block: Block) -> None:
        diff.update(block)
        if pack is not None:
            packed = pack.add(block)
            stored.update(packed)
            store(packed)

    def buffer(kept: bytearray = bytearray(CHUNK)) -> bytearray:  # noqa: B008 - one for all is meant
        return kept

    if not large:
        for block in _blocks(entries, mtime, buffer, progress):
            take(block)
            if pack is None:
                store(block)
    else:
        _share_out(entries, mtime, progress, take, store if pack is None else None)
    if pack is not None:
        packed = pack.end()
        stored.update(packed)
        store(packed)
    return WrittenLayer(diff_id=diff.hexdigest(), digest=stored.hexdigest(), size=written)


def pack_layer(blocks: Iterable[Block], descriptor: int, *, compression: Compression) -> WrittenLayer:
    """Write a tar that exists already, compressed anew: the bytes that `write_layer` gives it. Raises OSError."""
    diff, stored = hashlib.sha256(), hashlib.sha256()
    pack = packer(compression.name, compression.level, parallel=True)
    written = 0

    def store(block: Block) -> None:
        nonlocal written
        stored.update(block)
        written += len(block)
        view = memoryview(block)
        while view:
            view = view[os.write(descriptor, view) :]

    for block in blocks:
        diff.update(block)
        store(block if pack is None else pack.add(block))
    if pack is not None:
        store(pack.end())
    return WrittenLayer(diff_id=diff.hexdigest(), digest=stored.hexdigest(), size=written)


def _share_out(
    entries: Iterable[Entry],
    mtime: int,
    progress: Callable[[int], None] | None,
    take: Callable[[Block], None],
    store: Callable[[Block], None] | None,
) -> None:
    """One thread hashes (and compresses) while this one reads and writes: all four let the other run."""
    from queue import SimpleQueue
    from threading import Thread

    free: SimpleQueue[bytearray] = SimpleQueue()
    filled: SimpleQueue[Block | None] = SimpleQueue()
    failures: list[Exception] = []
    for _ in range(_DEPTH):
        free.put(bytearray(CHUNK))

    def work() -> None:
        while (block := filled.get()) is not None:
            try:
                take(block)
            except Exception as error:  # noqa: BLE001 - raised again by the other thread
                failures.append(error)
            if isinstance(block, memoryview) and isinstance(block.obj, bytearray):
                free.put(block.obj)

    worker = Thread(target=work, daemon=True)
    worker.start()
    try:
        for block in _blocks(entries, mtime, free.get, progress):
            filled.put(block)
            if store is not None:
                store(block)
            if failures:
                break
    finally:
        filled.put(None)
        worker.join()
    if failures:
        raise failures[0]


def file_digest(file: File) -> str:
    """The sha256, in hexadecimal, of the bytes that a layer would hold; raises SourceError as write_layer does."""
    memory = bytearray(CHUNK)
    found = hashlib.sha256()
    for chunk in _content(file, lambda: memory):
        found.update(chunk)
    return found.hexdigest()


def _blocks(
    entries: Iterable[Entry],
    mtime: int,
    buffer: Callable[[], bytearray],
    progress: Callable[[int], None] | None,
) -> Iterator[Block]:
    """The bytes of the tar; `buffer` gives the memory for each chunk of a source."""
    done = 0
    for entry in entries:
        yield entry_header(entry, mtime)
        if not isinstance(entry, File):
            continue
        for chunk in _content(entry, buffer):
            yield chunk
            done += len(chunk)
            if progress is not None:
                progress(done)
        yield padding(entry.identity.size)
    yield END


def _content(file: File, buffer: Callable[[], bytearray]) -> Iterator[memoryview]:
    """The bytes of a source, which must be the very file that was planned, before and after."""
    if file.source is None:
        if file.content:
            yield memoryview(file.content)
        return
    with planned(file) as descriptor:
        left = file.identity.size
        while left:
            memory = buffer()
            count = os.readv(descriptor, [memoryview(memory)[: min(left, CHUNK)]])
            if count == 0:
                raise changed(file)
            left -= count
            yield memoryview(memory)[:count]
