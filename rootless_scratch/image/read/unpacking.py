"""Layers as tars again, whatever they are compressed by, within the limits of what reading them may cost."""

from __future__ import annotations

import gzip
import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from rootless_scratch.image.read.reader import Fault, ImageReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

    from rootless_scratch.image.limits import Budget


_CHUNK = 256 << 10
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


@contextmanager
def open_layer(reader: ImageReader, name: str) -> Iterator[BinaryIO]:
    """The uncompressed bytes of a layer, counted by the reader's budget.

    Raises Fault, LimitError, and HostError where nothing here reads its compression.
    """
    with reader.open(name) as file:
        reader.budget.store(name, file.seek(0, os.SEEK_END))
        file.seek(0)
        start = cast("BufferedReader", file).peek(4)[:4]
        if start == ZSTD:
            from rootless_scratch.image.zstd import opened

            yield counted(opened(file), reader.budget)
            return
        if start[:2] != GZIP:
            yield counted(file, reader.budget)
            return
        try:
            with gunzipped(file, reader.budget) as stream:
                yield stream
        except gzip.BadGzipFile as error:
            raise Fault(f"{name} cannot be unpacked: {error}") from error


@contextmanager
def gunzipped(file: BinaryIO, budget: Budget) -> Iterator[BinaryIO]:
    """What is packed in all members of a gzip file (RFC 1952, 2.2); raises BadGzipFile, EOFError."""
    from isal import igzip_lib

    try:
        yield counted(_Gunzipped(file), budget)
    except cast("type[Exception]", igzip_lib.IsalError) as error:
        raise gzip.BadGzipFile(str(error)) from error


def zeros_behind(file: BinaryIO) -> int:
    """The bytes of zero that were met behind a layer's gzip stream, which gzip(1) passes over and Go refuses."""
    inner = cast("_Counted", file).inner
    return inner.behind if isinstance(inner, _Gunzipped) else 0


def counted(file: object, budget: Budget) -> BinaryIO:
    """The same file, each byte that is read on account."""
    return cast("BinaryIO", _Counted(cast("BinaryIO", file), budget))


class _Counted:
    """A file that is only read, each byte on account."""

    __slots__ = ("_budget", "inner")

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self.inner: object = file
        self._budget = budget

    def read(self, size: int = -1) -> bytes:
        """As a file's; it may be less than is asked for."""
        block = cast("BinaryIO", self.inner).read(size)
        self._budget.expand(len(block))
        return block


class _Gunzipped:
    """What is packed in all members of a gzip file (RFC 1952, 2.2)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._rest = b""
        self._member: Any = None
        self.behind = 0

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes, none only at the end; raises EOFError, BadGzipFile, IsalError."""
        while self._member is not None or self._begin():
            data = self._rest
            if not data and self._member.needs_input:
                data = self._file.read(_CHUNK)
                if not data:
                    raise EOFError("it is cut off")
            self._rest = b""
            block: bytes = self._member.decompress(data, size)
            if self._member.eof:
                self._rest = self._member.unused_data
                self._member = None
            if block:
                return block
        return b""

    def _begin(self) -> bool:
        """Go to the next member; False at the end."""
        from isal import igzip_lib

        while True:
            rest = self._rest.lstrip(b"\0")
            self.behind += len(self._rest) - len(rest)
            more = self._file.read(_CHUNK) if len(rest) < len(GZIP) else b""
            self._rest = rest + more
            if not more:
                break
        if rest and not rest.startswith(GZIP):
            raise gzip.BadGzipFile(f"its stream is followed by what is not gzip ({rest[:2]!r})")
        self._member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP) if rest else None
        return bool(rest)


class Summed:
    """A file that is read once, and summed meanwhile."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        block = self._file.read(size)
        self._sum.update(block)
        return block

    @property
    def digest(self) -> str:
        """The digest of all that was read."""
        return f"sha256:{self._sum.hexdigest()}"
