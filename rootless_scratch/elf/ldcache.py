"""The lists that tell a loader where libraries lie: ld.so.cache and ld.so.conf of glibc, musl's path file.

The cache's layout is that of glibc's sysdeps/generic/dl-cache.h: since 2.32 the new format alone, before it an
old one (`ld.so-1.7.0`) that the new one follows. Any bytes give an answer in bounded time.
"""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

import msgspec

_OLD: Final = b"ld.so-1.7.0"
_NEW: Final = b"glibc-ld.so.cache1.1"
_OLD_HEAD, _OLD_ENTRY = 16, 12
_NEW_HEAD, _NEW_ENTRY = 48, 24
_ENTRIES_LIMIT = 200_000
_TEXT_LIMIT = 4096
_BIG_ENDIAN = 3
_HWCAP_INDEX: Final = 1 << 62
_EXTENSION_MAGIC: Final = 0xEAA42174
_HWCAPS_TAG = 1
_LIBC6, _ELF_TYPE = 3, 0xFF

CACHE: Final = "/etc/ld.so.cache"
_CONF: Final = "/etc/ld.so.conf"
_CONF_LIMIT = 1000


class Files(Protocol):
    """What is asked of the root directory whose configuration is read."""

    def content(self, path: str) -> bytes | None:
        """All of a file, None where it cannot be read."""

    def listing(self, directory: str) -> Iterable[str]:
        """The names in a directory, none where it cannot be read."""


class CacheEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `ldconfig -p`; `hwcaps` is the glibc-hwcaps subdirectory that it is from."""

    name: str
    path: str
    hwcaps: str | None = None


def read_cache(content: bytes) -> tuple[CacheEntry, ...]:
    """Read all entries for the present ABI of glibc; those for legacy hardware capabilities are left out."""
    start = 0
    if content.startswith(_OLD):
        count = int.from_bytes(content[12:16], "little")
        end = _OLD_HEAD + count * _OLD_ENTRY
        start = content.find(_NEW, end, end + len(_NEW) + 8)
        if start < 0:
            return tuple(_old_entries(content, count, end))
    if not content.startswith(_NEW, start):
        return ()
    return tuple(_new_entries(content[start:]))


def by_name(content: bytes | None) -> dict[str, list[CacheEntry]]:
    """The entries of a cache under the names that are looked up; none where there is no cache."""
    found: dict[str, list[CacheEntry]] = {}
    for entry in read_cache(content) if content else ():
        found.setdefault(entry.name, []).append(entry)
    return found


def _old_entries(content: bytes, count: int, texts: int) -> Iterator[CacheEntry]:
    for at in range(_OLD_HEAD, min(texts, _OLD_HEAD + _ENTRIES_LIMIT * _OLD_ENTRY), _OLD_ENTRY):
        raw = content[at : at + _OLD_ENTRY]
        if len(raw) < _OLD_ENTRY or count < 1:
            return
        flags, key, value = struct.unpack("<III", raw)
        if flags & _ELF_TYPE == _LIBC6:
            yield from _entry(content, texts + key, texts + value, None)


def _new_entries(content: bytes) -> Iterator[CacheEntry]:
    order = ">" if content[28:29] and content[28] & _BIG_ENDIAN == _BIG_ENDIAN else "<"
    if len(content) < _NEW_HEAD:
        return
    count, extension = struct.unpack(order + "I8xI", content[20:36])
    hwcaps = _hwcaps(content, extension, order)
    end = min(_NEW_HEAD + min(count, _ENTRIES_LIMIT) * _NEW_ENTRY, len(content) // 8 * 8)
    body = content[_NEW_HEAD:end]
    layout = struct.Struct(order + "IIIIQ")
    for flags, key, value, _, hwcap in layout.iter_unpack(body[: len(body) // _NEW_ENTRY * _NEW_ENTRY]):
        if flags & _ELF_TYPE != _LIBC6:
            continue
        if not hwcap:
            yield from _entry(content, key, value, None)
        elif hwcap & _HWCAP_INDEX and hwcap & 0xFFFFFFFF < len(hwcaps):
            yield from _entry(content, key, value, hwcaps[hwcap & 0xFFFFFFFF])


def _entry(content: bytes, key: int, value: int, hwcaps: str | None) -> Iterator[CacheEntry]:
    name, path = _text(content, key), _text(content, value)
    if name and path and path.startswith("/"):
        yield CacheEntry(name=name, path=path, hwcaps=hwcaps)


def _hwcaps(content: bytes, at: int, order: str) -> tuple[str, ...]:
    """The names of subdirectories that entries refer to by number."""
    head = content[at : at + 8]
    if not at or len(head) < 8:  # noqa: PLR2004 - magic and count
        return ()
    magic, count = struct.unpack(order + "II", head)
    if magic != _EXTENSION_MAGIC:
        return ()
    for section in range(min(count, 64)):
        raw = content[at + 8 + 16 * section : at + 24 + 16 * section]
        if len(raw) == 16:  # noqa: PLR2004 - tag, flags, offset, size
            tag, _, offset, size = struct.unpack(order + "IIII", raw)
            if tag == _HWCAPS_TAG:
                data = content[offset : offset + min(size // 4, 4096) * 4]
                return tuple(
                    _text(content, position) or "" for (position,) in struct.iter_unpack(order + "I", data)
                )
    return ()


def _text(content: bytes, at: int) -> str | None:
    end = content.find(b"\0", at, at + _TEXT_LIMIT)
    return content[at:end].decode("utf-8", "surrogateescape") if end > at else None


def read_conf(root: Files) -> tuple[str, ...]:
    """List the directories that ldconfig(8) would read: those of ld.so.conf and of the files it includes."""
    found: dict[str, None] = {}
    pending, seen = [_CONF], set[str]()
    while pending and len(seen) < _CONF_LIMIT:
        path = pending.pop(0)
        if path in seen:
            continue
        seen.add(path)
        for line in (root.content(path) or b"").decode("utf-8", "surrogateescape").splitlines()[:_CONF_LIMIT]:
            fields = line.partition("#")[0].split()
            if fields[:1] == ["include"]:
                for pattern in fields[1:]:
                    pending += _matching(root, posixpath.join(posixpath.dirname(path), pattern))
            elif fields and fields[0] != "hwcap":
                for item in re.split(r"[\s:,]+", " ".join(fields)):
                    directory = item.partition("=")[0]
                    if directory.startswith("/"):
                        found[directory.rstrip("/")] = None
    return tuple(found)


def _matching(root: Files, pattern: str) -> list[str]:
    directory, _, names = pattern.rpartition("/")
    from fnmatch import fnmatchcase

    return [f"{directory}/{name}" for name in root.listing(directory) if fnmatchcase(name, names)]


def read_path_file(content: bytes) -> tuple[str, ...]:
    """List the directories of musl's /etc/ld-musl-ARCH.path, separated by line feeds or colons."""
    text = content[:_TEXT_LIMIT].decode("utf-8", "surrogateescape")
    return tuple(directory for directory in re.split(r"[:\n]", text) if directory.startswith("/"))
