"""The storage driver that podman's database has: podman goes on using it, whatever settings and variables say.

podman before 4.8 has a database of bolt, and so has a later one that found it there; else it is one of SQLite.
"""

from __future__ import annotations

import os
import struct
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOLT, _SQLITE = "libpod/bolt_state.db", "db.sql"
_BUCKET, _KEY = b"runtime-config", b"graph-driver-name"

_MAGIC = 0xED0CDAED
_META = struct.Struct("<16xIIIIQQQQQ")
_PAGE = struct.Struct("<QHHI")
_LEAF = struct.Struct("<IIII")
_BRANCH = struct.Struct("<IIQ")
_ROOT = struct.Struct("<QQ")
_IS_BRANCH, _IS_LEAF = 1, 2
_DEEPEST, _LARGEST = 32, 16 << 20


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """A database of podman, and the driver in it."""

    path: str
    driver: str


def read_database(root: str) -> Database | None:
    """That of the image storage `root`; None where there is none, or none that can be read. Changes nothing."""
    path = f"{root}/{_BOLT}"
    driver = None
    with suppress(OSError, struct.error, ValueError, OverflowError):
        driver = _in_bolt(path)
    if driver is None:
        path = f"{root}/{_SQLITE}"
        driver = _in_sqlite(path) if os.path.isfile(path) else None
    return Database(path=path, driver=driver) if driver else None


def _in_sqlite(path: str) -> str | None:
    try:
        import sqlite3
    except ImportError:  # a Python that was built without it
        return None
    from urllib.parse import quote

    # As it lies there: neither a lock is taken nor a journal played back.
    address = f"file:{quote(path)}?mode=ro&immutable=1"
    with suppress(sqlite3.Error), closing(sqlite3.connect(address, uri=True)) as database:
        row = database.execute("SELECT GraphDriver FROM DBConfig").fetchone()
        return row[0] if row and isinstance(row[0], str) else None
    return None


def _in_bolt(path: str) -> str | None:
    """By the format of its pages, of which the first two say in turn where the tree of buckets begins.

    Raises OSError, and what damaged bytes raise.
    """
    with open(path, "rb", buffering=0) as file:
        first = os.pread(file.fileno(), _META.size, 0)
        size = _META.unpack(first)[2]
        if not _META.size <= size <= _LARGEST:
            return None
        metas = [_META.unpack(os.pread(file.fileno(), _META.size, start)) for start in (0, size)]
        usable = [meta for meta in metas if meta[0] == _MAGIC]
        if not usable:
            return None
        newest = max(usable, key=lambda meta: int(meta[-1]))
        bucket = _found(_Pages(file.fileno(), size), newest[4], _BUCKET)
        if bucket is None:
            return None
        start = _ROOT.unpack_from(bucket)[0]
        inline = bucket[_ROOT.size :] if start == 0 else None
        value = _found(_Pages(file.fileno(), size), start, _KEY, inline)
        return None if value is None else value.decode()


class _Pages(NamedTuple):
    descriptor: int
    size: int

    def page(self, number: int) -> bytes:
        """With those that it runs over into."""
        header = os.pread(self.descriptor, _PAGE.size, number * self.size)
        length = (1 + _PAGE.unpack(header)[3]) * self.size
        return os.pread(self.descriptor, min(length, _LARGEST), number * self.size)


def _found(pages: _Pages, number: int, key: bytes, page: bytes | None = None) -> bytes | None:
    """The value of a key in the tree that begins at this page."""
    for _depth in range(_DEEPEST):
        page = pages.page(number) if page is None else page
        _, flags, count, _ = _PAGE.unpack_from(page)
        if flags & _IS_LEAF:
            return next((value for name, value in _leaves(page, count) if name == key), None)
        if not flags & _IS_BRANCH:
            return None
        below = [page_number for name, page_number in _branches(page, count) if name <= key]
        if not below:
            return None
        number, page = below[-1], None
    return None


def _leaves(page: bytes, count: int) -> Iterator[tuple[bytes, bytes]]:
    for at in range(_PAGE.size, _PAGE.size + count * _LEAF.size, _LEAF.size):
        _, position, name, value = _LEAF.unpack_from(page, at)
        start = at + position
        yield page[start : start + name], page[start + name : start + name + value]


def _branches(page: bytes, count: int) -> Iterator[tuple[bytes, int]]:
    for at in range(_PAGE.size, _PAGE.size + count * _BRANCH.size, _BRANCH.size):
        position, name, number = _BRANCH.unpack_from(page, at)
        yield page[at + position : at + position + name], number
