"""Layers as tars again, whatever they are compressed by."""

from __future__ import annotations

import gzip
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from rootless_scratch.image.source import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

    from rootless_scratch.image.source import Source


@contextmanager
def open_layer(source: Source, name: str) -> Iterator[BinaryIO]:
    """The uncompressed bytes of a layer; raises Fault, and HostError where nothing here reads its compression."""
    with source.open(name) as file:
        start = cast("BufferedReader", file).peek(4)[:4]
        if start == b"\x28\xb5\x2f\xfd":
            from rootless_scratch.image.zstd import opened

            yield opened(file)
            return
        if start[:2] != b"\x1f\x8b":
            yield file
            return
        from isal import igzip, igzip_lib

        try:
            with igzip.IGzipFile(fileobj=file, mode="rb") as unpacked:  # type: ignore[no-untyped-call]
                yield cast("BinaryIO", unpacked)
        except (gzip.BadGzipFile, cast("type[Exception]", igzip_lib.IsalError)) as error:
            raise Fault(f"{name} cannot be unpacked: {error}") from error
