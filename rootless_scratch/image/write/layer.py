"""The one writer of layers: a plan's entries as a tar, hashed while it is written, each source read once.

The order is that of a Rootfs, a directory before what it holds; the root itself has no entry, as with buildah.
"""

from __future__ import annotations

import os
from functools import partial

from rootless_scratch import sums
from rootless_scratch.data import Data
from rootless_scratch.errors import UsageError
from rootless_scratch.image.host_files import HostFiles, changed
from rootless_scratch.image.rootfs import File
from rootless_scratch.image.write.packing import CHUNK, packer
from rootless_scratch.image.write.tarheader import BLOCK, END, entry_header
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.sparse import ZEROS, is_hole, skip, stretches, write_all, zeros

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from rootless_scratch.image.rootfs import Entry, Rootfs

    Block = bytes | memoryview[int]

_THREADS_FROM = 8 << 20
"""Bytes from which on a second thread pays; its start costs as much as hashing 2 MB."""

WORTH = 8 << 20
"""Bytes from which on a layer is remembered: fewer are read in no time."""

_WORTH_PACKED, _WORTH_PACKED_SLOWLY, _SLOW_LEVEL = 2 << 20, 128 << 10, 10
"""Bytes from which on a compressed layer is kept: fewer take no time, but for the higher levels of zstd."""

_SMALL = 64 << 10
"""Bytes below which a file is read at once, and joined with what stands around it: a block costs a hand-over."""

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

    def is_worth_keeping(self, size: int) -> bool:
        """Whether to compress so many bytes takes longer than to look whether that was done before."""
        slowly = self.name == "zstd" and self.level >= _SLOW_LEVEL
        return self.name != "none" and size >= (_WORTH_PACKED_SLOWLY if slowly else _WORTH_PACKED)


NONE = Compression("none")


def parse_compression(value: str) -> Compression:
    """Read `none`, `gzip[:LEVEL]` or `zstd[:LEVEL]`; raises UsageError, HostError where zstd is not installed."""
    name, colon, level = value.partition(":")
    if name == "gzip" and (not colon or level in map(str, GZIP_LEVELS)):
        return Compression(name, int(level) if colon else _GZIP_LEVEL)
    if value == "none":
        return NONE
    if name == "zstd" and (not colon or level in map(str, ZSTD_LEVELS)):
        from rootless_scratch.image.zstd import require_zstd

        require_zstd()
        return Compression(name, int(level) if colon else _ZSTD_LEVEL)
    raise UsageError(
        f"{value!r} is not a compression.",
        fix="Write `none`, `gzip`, `zstd`, `gzip:LEVEL` with a level from 0 to 3, or `zstd:LEVEL`, 1 to 19.",
    )


class WrittenLayer(Data):
    """What was written: `diff_id` of the tar, `digest` and `size` of what is stored; sha256 in hexadecimal."""

    diff_id: str
    digest: str
    size: int
    tar_size: int


class Mark(Data):
    """A place between two entries, before the one of this number, at which the state of the hash is kept."""

    count: int


def write_layer(
    entries: Rootfs,
    descriptor: int,
    *,
    mtime: int,
    size: int,
    compression: Compression = NONE,
    files: HostFiles | None = None,
    progress: Progress = SILENT,
) -> WrittenLayer:
    """Write the entries as one layer to a file; `size` is about what there is to read.

    `files` are those of the plan, `progress` is shown the bytes of sources that were read. The bytes depend
    on the entries, their sources, `mtime` and the compression, and on nothing else. Raises SourceError where a
    source is not the file that was planned, before or after it was read; OSError.
    """
    files = files or HostFiles(keep=False)
    if files.heads is not None and size >= _THREADS_FROM and compression.name == "none":
        return _after_head(tuple(entries), descriptor, mtime=mtime, size=size, files=files, progress=progress)
    blocks = partial(_blocks, entries, mtime, files, progress)
    if size < _THREADS_FROM:
        memory = bytearray(CHUNK)
        whole = size + 2 * BLOCK * len(entries)
        return pack_layer(blocks(lambda: memory), descriptor, size=whole, compression=compression, parallel=False)
    writing = _Writing(descriptor, compression, size=size, parallel=True)
    _share_out(blocks, writing)
    return writing.end()


def _after_head(
    entries: tuple[Entry, ...], descriptor: int, *, mtime: int, size: int, files: HostFiles, progress: Progress
) -> WrittenLayer:
    """Write a layer as it is, of whose beginning the hash may be known from another one."""
    writing = _Writing(descriptor, NONE, size=size, parallel=True)
    found = files.heads.of(entries, mtime)
    if found is None:
        _share_out(partial(_blocks, entries, mtime, files, progress), writing)
        return writing.end()
    head, count, state = found
    if state is not None:
        writing.begin(head.copy(count, descriptor, files), state)
        head.states[count] = state
    blocks = partial(_marked_blocks, entries, mtime, files, progress, begin=count, marks=head.marks(count))
    writing.states = head.states
    _share_out(blocks, writing)
    files.heads.keep(head)
    return writing.end()


def sum_layer(entries: Rootfs, *, mtime: int, size: int, files: HostFiles | None = None) -> WrittenLayer:
    """What `write_layer` would write, uncompressed, which is not kept. Raises SourceError."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        return write_layer(entries, nowhere, mtime=mtime, size=size, files=files)
    finally:
        os.close(nowhere)


def pack_layer(
    blocks: Iterable[Block], descriptor: int, *, compression: Compression, size: int = WORTH, parallel: bool = True
) -> WrittenLayer:
    """Write a tar that exists already: the bytes that `write_layer` gives it; `size` is about its own.

    Raises OSError.
    """
    writing = _Writing(descriptor, compression, size=size, parallel=parallel)
    for block in blocks:
        writing.take(block)
        if writing.plain:
            writing.store(block)
    return writing.end()


class _Writing:
    """A layer on its way to a file: hashed before and after what compresses it, if anything does."""

    def __init__(self, descriptor: int, compression: Compression, *, size: int, parallel: bool) -> None:
        self._descriptor = descriptor
        self._pack = packer(compression.name, compression.level, parallel=parallel)
        self._diff = sums.sha256(size=size)
        self._stored = self._diff if self._pack is None else sums.sha256(size=size)
        self._size = self._tar_size = 0
        self.states: dict[int, Any] = {}

    @property
    def plain(self) -> bool:
        """Whether nothing compresses it, so that it is stored as it is taken."""
        return self._pack is None

    def begin(self, size: int, state: Any) -> None:  # noqa: ANN401 - hashlib has no name for it
        """So many bytes are written already, after which the hash has this state."""
        self._size = self._tar_size = size
        self._diff = self._stored = state.copy()

    def take(self, block: Block | Mark) -> None:
        """Hash some more of the tar; where it is compressed, store it so. At a Mark keep the state of the hash."""
        if isinstance(block, Mark):
            self.states[block.count] = self._diff.copy()
            return
        self._diff.update(block)
        self._tar_size += len(block)
        if self._pack is not None:
            self._keep(self._pack.add(block))

    def store(self, block: Block | Mark) -> None:
        """Write as it is; a hole stays one."""
        if isinstance(block, Mark):
            return
        size = len(block)
        self._size += skip(self._descriptor, size) if is_hole(block) else write_all(self._descriptor, block)

    def end(self) -> WrittenLayer:
        """What was written, with the rest."""
        if self._pack is not None:
            self._keep(self._pack.end())
        return WrittenLayer(self._diff.hexdigest(), self._stored.hexdigest(), self._size, self._tar_size)

    def _keep(self, packed: bytes) -> None:
        self._stored.update(packed)
        self.store(packed)


def _share_out(
    blocks: Callable[[Callable[[], bytearray]], Iterator[Block | Mark]],
    writing: _Writing,
) -> None:
    """One thread hashes (and compresses) while this one reads and writes: all four let the other run."""
    from queue import SimpleQueue
    from threading import Thread

    free: SimpleQueue[bytearray] = SimpleQueue()
    filled: SimpleQueue[Block | Mark | None] = SimpleQueue()
    failures: list[Exception] = []
    for _ in range(_DEPTH):
        free.put(bytearray(CHUNK))

    def work() -> None:
        while (block := filled.get()) is not None:
            try:
                writing.take(block)
            except Exception as error:  # noqa: BLE001 - raised again by the other thread
                failures.append(error)
            if isinstance(block, memoryview) and isinstance(block.obj, bytearray):
                free.put(block.obj)

    worker = Thread(target=work, daemon=True)
    worker.start()
    try:
        for block in blocks(free.get):
            filled.put(block)
            if writing.plain:
                writing.store(block)
            if failures:
                break
    finally:
        filled.put(None)
        worker.join()
    if failures:
        raise failures[0]


def file_digest(file: File, files: HostFiles) -> str:
    """The sha256, in hexadecimal, of the bytes that a layer would hold; raises SourceError as write_layer does."""
    memory = bytearray(CHUNK)
    found = sums.sha256(size=file.identity.size)
    for chunk in _content(file, files, lambda: memory):
        found.update(chunk)
    return found.hexdigest()


def _blocks(
    entries: Iterable[Entry],
    mtime: int,
    files: HostFiles,
    progress: Progress,
    buffer: Callable[[], bytearray],
) -> Iterator[Block]:
    """The bytes of the tar; `buffer` gives the memory for each block but those of files that were made."""
    for block in _marked_blocks(entries, mtime, files, progress, buffer):
        assert not isinstance(block, Mark)  # noqa: S101 - none are asked for
        yield block


def _marked_blocks(
    entries: Iterable[Entry],
    mtime: int,
    files: HostFiles,
    progress: Progress,
    buffer: Callable[[], bytearray],
    *,
    begin: int = 0,
    marks: frozenset[int] = frozenset(),
) -> Iterator[Block | Mark]:
    """The same from the entry numbered `begin` on, with a Mark before each that is numbered in `marks`."""
    done = held = 0
    pieces: list[Block] = []
    for number, entry in enumerate(entries):
        if number in marks:
            yield from _joined(pieces, buffer)
            held = 0
            yield Mark(count=number)
        if number < begin:
            continue
        head = entry_header(entry, mtime if entry.mtime is None else entry.mtime)
        pieces.append(head)
        held += len(head)
        if isinstance(entry, File) and entry.linked is None:
            size = entry.identity.size
            if size < _SMALL:
                content = entry.content if entry.source is None else files.planned_content(entry)
                pieces.append(content or b"")
                held += size
                done += size
            else:
                yield from _joined(pieces, buffer)
                held = 0
                for chunk in _content(entry, files, buffer):
                    yield chunk
                    done += len(chunk)
                    progress.show(done)
            if rest := -size % BLOCK:
                pieces.append(ZEROS[:rest])
                held += rest
        if held >= CHUNK - _SMALL - BLOCK:
            yield from _joined(pieces, buffer)
            progress.show(done)
            held = 0
    pieces.append(END)
    yield from _joined(pieces, buffer)
    progress.show(done)


def _joined(pieces: list[Block], buffer: Callable[[], bytearray]) -> Iterator[memoryview]:
    """Pieces in as few blocks as hold them; the list is empty then."""
    block = b"".join(pieces)
    pieces.clear()
    for at in range(0, len(block), CHUNK):
        part = block[at : at + CHUNK]
        joined = memoryview(buffer())[: len(part)]
        joined[:] = part
        yield joined


def _content(file: File, files: HostFiles, buffer: Callable[[], bytearray]) -> Iterator[memoryview]:
    """The bytes of a source, which must be the very file that was planned, before and after."""
    if file.source is None:
        content = memoryview(file.content or b"")
        yield from (content[at : at + CHUNK] for at in range(0, len(content), CHUNK))
        return
    with files.planned(file) as descriptor:
        at, size = 0, file.identity.size
        for start, end in stretches(descriptor, size):
            yield from zeros(start - at)
            at = start
            while at < end:
                memory = buffer()
                count = os.preadv(descriptor, [memoryview(memory)[: min(end - at, CHUNK)]], at)
                if count == 0:
                    raise changed(file)
                at += count
                yield memoryview(memory)[:count]
        yield from zeros(size - at)
