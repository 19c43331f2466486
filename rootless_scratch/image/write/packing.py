"""Layers compressed piece by piece, so that several cores can, with the same bytes as by one."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ThreadPoolExecutor

    Block = bytes | memoryview[int]

CHUNK = 1 << 20
_FORMAT = 1
"""Goes up with every change of the bytes that the same library gives."""

_CORES_MAX = 8
_GZIP_HEADER = b"\x1f\x8b\x08" + bytes(6) + b"\xff"


def packer(name: str, level: int, *, parallel: bool) -> Packer | None:
    """What compresses by that name; None for `none`."""
    if name == "gzip":
        return _Gzip(level, parallel=parallel)
    if name == "zstd":
        return _Zstd(level, parallel=parallel)
    return None


def packer_version(name: str) -> str:
    """What the bytes of a compression by that name depend on besides its level; raises HostError without zstd."""
    if name == "zstd":
        from rootless_scratch.image.zstd import library_version

        return f"{_FORMAT} {CHUNK} {library_version()}"
    import isal

    return f"{_FORMAT} {CHUNK} {isal.ISAL_VERSION or isal.__version__}"


class Packer:
    """The tar is cut into pieces of one size, each packed by itself."""

    def __init__(
        self, pack: Callable[[bytearray, int], bytes], level: int, *, header: bytes, parallel: bool
    ) -> None:
        self._pack = pack
        self._level = level
        self._piece = bytearray()
        self._packed = bytearray(header)
        self._pool: ThreadPoolExecutor | None = None
        self._pending: list[Future[bytes]] = []
        # Each core has pieces under way, which are memory.
        self._cores = min(len(os.sched_getaffinity(0)), _CORES_MAX)
        if parallel:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self._cores)

    def add(self, block: Block) -> bytes:
        """Take some more of the tar, and give what is packed by now."""
        self._piece += block
        while len(self._piece) >= CHUNK:
            piece, self._piece = self._piece[:CHUNK], self._piece[CHUNK:]
            self._submit(piece)
        return self._take(2 * self._cores)

    def end(self) -> bytes:
        """Give the rest."""
        self._submit(self._piece)
        rest = self._take(0)
        if self._pool is not None:
            self._pool.shutdown()
        return rest

    def _submit(self, piece: bytearray) -> None:
        if self._pool is None:
            self._packed += self._pack(piece, self._level)
        else:
            self._pending.append(self._pool.submit(self._pack, piece, self._level))

    def _take(self, kept: int) -> bytes:
        """What is packed, in order; all but `kept` pieces are waited for."""
        while len(self._pending) > kept:
            self._packed += self._pending.pop(0).result()
        packed = bytes(self._packed)
        self._packed.clear()
        return packed


class _Gzip(Packer):
    """One gzip member without name and time (RFC 1952), the same bytes on every host with this isal."""

    def __init__(self, level: int, *, parallel: bool) -> None:
        # A tenth of zlib's time for about a tenth more bytes; importing it costs 2 ms, where it is wanted.
        from isal import isal_zlib

        super().__init__(_deflate, level, header=_GZIP_HEADER, parallel=parallel)
        self._crc32 = isal_zlib.crc32
        self._crc = self._size = 0

    def add(self, block: Block) -> bytes:
        """Count them too."""
        self._crc = self._crc32(block, self._crc)
        self._size += len(block)
        return super().add(block)

    def end(self) -> bytes:
        """An empty last block, the sum and the size come last."""
        trailer = self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        return super().end() + b"\x03\x00" + trailer


def _deflate(piece: bytearray, level: int) -> bytes:
    """A piece as blocks that end at a byte's end and refer to nothing before them."""
    from isal import isal_zlib

    packing = isal_zlib.compressobj(level, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)
    packed: bytes = packing.compress(piece) + packing.flush(isal_zlib.Z_SYNC_FLUSH)
    return packed


class _Zstd(Packer):
    """A frame for each piece (RFC 8878, 3.: frames that follow each other are one stream)."""

    def __init__(self, level: int, *, parallel: bool) -> None:
        from rootless_scratch.image.zstd import compress

        super().__init__(compress, level, header=b"", parallel=parallel)
