"""Layers as tars again, whatever they are compressed by, within the limits of what reading them may cost."""

from __future__ import annotations

import gzip
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from rootless_scratch.image.read.reader import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

    from rootless_scratch.image.limits import Budget
    from rootless_scratch.image.read.reader import ImageReader


@contextmanager
def open_layer(reader: ImageReader, name: str) -> Iterator[BinaryIO]:
    """The uncompressed bytes of a layer, counted by the reader's budget.

    Raises Fault, LimitError, and HostError where nothing here reads its compression.
    """
    with reader.open(name) as file:
        reader.budget.store(name, file.seek(0, os.SEEK_END))
        file.seek(0)
        start = cast("BufferedReader", file).peek(4)[:4]
        if start == b"\x28\xb5\x2f\xfd":
            from rootless_scratch.image.zstd import opened

            yield _counted(opened(file), reader.budget)
            return
        if start[:2] != b"\x1f\x8b":
            yield _counted(file, reader.budget)
            return
        from isal import igzip, igzip_lib

        try:
            with igzip.IGzipFile(fileobj=file, mode="rb") as unpacked:  # type: ignore[no-untyped-call]
                yield _counted(cast("BinaryIO", unpacked), reader.budget)
        except (gzip.BadGzipFile, cast("type[Exception]", igzip_lib.IsalError)) as error:
            raise Fault(f"{name} cannot be unpacked: {error}") from error


def _counted(file: BinaryIO, budget: Budget) -> BinaryIO:
    return cast("BinaryIO", _Counted(file, budget))


class _Counted:
    """A file that is only read, each byte on account."""

    __slots__ = ("_budget", "_file")

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self._file = file
        self._budget = budget

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        block = self._file.read(size)
        self._budget.expand(len(block))
        return block
