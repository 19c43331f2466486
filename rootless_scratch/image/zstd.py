"""zstd: Python's own from 3.14 on, else the package zstandard, which is an extra of ours."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO, cast

from rootless_scratch.errors import HostError

if TYPE_CHECKING:
    from types import ModuleType

_OWN = sys.version_info >= (3, 14)


def require_zstd() -> ModuleType:
    """The module that does it; raises HostError, which names the package, where there is none."""
    from importlib import import_module

    name = "compression.zstd" if _OWN else "zstandard"
    try:
        return import_module(name)
    except ImportError as error:
        raise HostError(
            f"Layers of zstd need the Python module {name}, which is not installed.",
            fix="`pip install 'rootless-scratch[zstd]'`, or use gzip, which every tool reads.",
        ) from error


def library_version() -> str:
    """The version of libzstd, which decides on the bytes; raises HostError."""
    module = require_zstd()
    return str(module.zstd_version) if _OWN else ".".join(map(str, module.ZSTD_VERSION))


def compress(piece: bytearray, level: int) -> bytes:
    """One frame that tells its size and has a sum."""
    module = require_zstd()
    if _OWN:
        options = {
            module.CompressionParameter.compression_level: level,
            module.CompressionParameter.checksum_flag: 1,
        }
        return cast("bytes", module.compress(piece, options=options))
    return cast("bytes", module.ZstdCompressor(level=level, write_checksum=True).compress(piece))


def opened(file: BinaryIO) -> BinaryIO:
    """What a file of one frame or several holds; reading it raises OSError where it is damaged."""
    module = require_zstd()
    if _OWN:
        return cast("BinaryIO", module.ZstdFile(file))
    return cast("BinaryIO", _Reader(file, module))


class _Reader:
    """zstandard's reader, whose errors are of its own kind, and which stops where the file does."""

    def __init__(self, file: BinaryIO, module: ModuleType) -> None:
        self._error: type[Exception] = module.ZstdError
        self._reader = module.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        try:
            return cast("bytes", self._reader.read(size))
        except self._error as error:
            raise OSError(str(error)) from error
