"""The one reader of tars: archives and layers of anybody's, as Go's archive/tar reads them, in bounded memory.

What container engines make of a layer is what Go makes of it (ustar, GNU, PAX, sparse files of both). tarfile
differs: it applies global headers, ends in silence at a garbled one, and reads headers of any size into memory.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.image.limits import Budget

BLOCK = 512
_CHUNK = 1 << 20
_ZERO = bytes(BLOCK)
_USTAR, _GNU = b"ustar\0", b"ustar  \0"
_HEADER_ONLY = frozenset(b"123456")
_EXTENDED, _GLOBAL, _LONG_NAME, _LONG_LINK, _SPARSE = b"xgLKS"
_WITHOUT_NUL = ("path", "linkpath", "uname", "gname")
_LARGEST = (1 << 63) - 1
_OCTAL = re.compile(rb"[0-7]+\Z")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,19}\Z")
_TIME = re.compile(r"([+-]?[0-9]{1,18})(?:\.[0-9]*)?\Z")
_MAP_MAX = 64 << 10
"""Segments of a sparse file; GNU tar and Go write some thousands at most."""


class TarFault(Exception):  # noqa: N818 - one of the things that are wrong with an image
    """Bytes that are no tar, or one that breaks off."""


class Member:
    """One entry as its headers have it: `kind` is the type flag, names keep what is not UTF-8 as surrogates.

    `size` is what a reader gets, `stored` what the archive holds of it from `offset` on. `segments` are the
    offsets and sizes of the data of a sparse file, None for others. `records` are those of a PAX header.
    """

    __slots__ = (
        *(
            "gid",
            "kind",
            "link",
            "mode",
            "mtime",
            "name",
            "offset",
            "records",
            "segments",
            "size",
            "stored",
            "uid",
        ),
    )

    def __init__(self, *, name: str, kind: int, link: str, size: int, records: dict[str, str]) -> None:
        self.name = name
        self.kind = kind
        self.link = link
        self.size = size
        self.stored = size
        self.offset = 0
        self.mode = self.uid = self.gid = self.mtime = 0
        self.segments: list[tuple[int, int]] | None = None
        self.records = records

    @property
    def is_regular(self) -> bool:
        """Whether it has content, as types that nobody knows have."""
        return self.kind not in _HEADER_ONLY


class TarReader:
    """The members of a tar one after the other, and the content of the one that came last; see TarFault.

    `start` is where the headers of that begin. What is claimed but not there (a hole) counts as expanded;
    the file counts what it gives itself. What can seek is not read where nobody asks for its content.
    """

    def __init__(self, file: BinaryIO, budget: Budget, *, seekable: bool = False) -> None:
        self._file = file
        self._budget = budget
        self._size = file.seek(0, os.SEEK_END) if seekable else None
        if seekable:
            file.seek(0)
        self._at = self._left = self.start = 0

    def __iter__(self) -> Iterator[Member]:
        records: dict[str, str] = {}
        long: dict[int, str] = {}
        start = -1
        while (block := self._header()) is not None:
            start = self._at - BLOCK if start < 0 else start
            kind = block[156]
            size = _number(block[124:136])
            if kind in (_EXTENDED, _GLOBAL, _LONG_NAME, _LONG_LINK):
                content = self._extension(size)
                if kind == _EXTENDED:
                    records = _records(content)
                elif kind != _GLOBAL:
                    long[kind] = _text(content)
                continue
            member = self._member(block, records, long)
            records, long = {}, {}
            member.offset = self._at
            self.start, start = start, -1
            self._left = member.stored
            padding = -member.stored % BLOCK
            yield member
            self._skip(self._left)
            self._left = 0
            # What comes last may do without its padding.
            if padding and not self._pass(padding):
                return

    def content(self, member: Member) -> Iterator[bytes]:
        """The bytes of the member that came last, once; holes as zeros, which count as expanded."""
        if member.segments is None:
            while self._left:
                yield self._take(min(self._left, _CHUNK))
            return
        at = 0
        for offset, size in (*member.segments, (member.size, 0)):
            yield from self._hole(offset - at)
            at = offset + size
            while size:
                block = self._take(min(size, _CHUNK))
                size -= len(block)  # noqa: PLW2901 - what is left of the segment
                yield block

    def _hole(self, size: int) -> Iterator[bytes]:
        self._budget.expand(size)
        while size > 0:
            yield bytes(min(size, _CHUNK))
            size -= _CHUNK

    def _header(self) -> bytes | None:
        """The next block that is a header; None at the end, which is two blocks of zeros or that of the file."""
        block = self._block()
        if block == _ZERO:
            block = self._block()
            if block is None or block == _ZERO:
                return None
            raise TarFault("a block of zeros stands where a header is due")
        if block is None:
            return None
        rest = block[:148] + b" " * 8 + block[156:]
        try:
            claimed = _number(block[148:156])
        except TarFault:
            claimed = -1
        if claimed != sum(rest) and claimed != sum(each - 256 if each > 127 else each for each in rest):  # noqa: PLR2004 - signed bytes
            raise TarFault("a header has a wrong checksum" if self._at > BLOCK else "it is not a tar archive")
        return block

    def _extension(self, size: int) -> bytes:
        self._budget.check_header(size)
        padded = size + -size % BLOCK
        content = b""
        while len(content) < padded:
            content += self._read(padded - len(content))
        return content[:size]

    def _member(self, block: bytes, records: dict[str, str], long: dict[int, str]) -> Member:
        is_gnu = block[257:265] == _GNU
        name = _text(block[:100])
        if prefix := _prefix(block):
            name = f"{prefix}/{name}"
        # The names of GNU tar count before those of PAX, as in Go.
        name = long.get(_LONG_NAME) or records.get("path") or name
        link = long.get(_LONG_LINK) or records.get("linkpath") or _text(block[157:257])
        kind = block[156]
        if kind == 0:
            # What tars before POSIX say of a directory.
            kind = ord("5") if name.endswith("/") else ord("0")
        size = _decimal(records["size"]) if records.get("size") else _number(block[124:136])
        if not 0 <= size <= _LARGEST:
            raise TarFault(f"{name[:80]!r} has the size {size}")
        member = Member(name=name, kind=kind, link=link, size=0 if kind in _HEADER_ONLY else size, records=records)
        member.mode = _number(block[100:108])
        member.uid = _decimal(records["uid"]) if records.get("uid") else _number(block[108:116])
        member.gid = _decimal(records["gid"]) if records.get("gid") else _number(block[116:124])
        member.mtime = _seconds(records["mtime"]) if records.get("mtime") else _number(block[136:148])
        if kind == _SPARSE and is_gnu:
            self._old_sparse(member, block)
        elif (version := _sparse_version(records)) is not None:
            self._pax_sparse(member, before_data=version == ("1", "0"))
        return member

    def _old_sparse(self, member: Member, block: bytes) -> None:
        """GNU tar's own format: four segments in the header, more in blocks behind it."""
        found = _pairs(block[386:482])
        is_extended, size = block[482], _number(block[483:495])
        while is_extended:
            if len(found) > _MAP_MAX:
                raise TarFault(f"{member.name[:80]!r} has too many holes")
            more = self._block()
            if more is None:
                raise TarFault("it is cut off")
            found += _pairs(more[:504])
            is_extended = more[504]
        member.kind = ord("0")
        _settle(member, found, size)

    def _pax_sparse(self, member: Member, *, before_data: bool) -> None:
        """The formats 0.0, 0.1 and 1.0 of GNU tar in PAX headers; 1.0 has its map before the data."""
        records = member.records
        member.name = records.get("GNU.sparse.name") or member.name
        size = _decimal(records.get("GNU.sparse.size") or records.get("GNU.sparse.realsize") or str(member.size))
        if before_data:
            numbers = self._map_before_data(member)
        else:
            numbers = [_decimal(each) for each in records.get("GNU.sparse.map", "").split(",") if each]
        if len(numbers) % 2:
            raise TarFault(f"{member.name[:80]!r} has a sparse map that is cut off")
        _settle(member, list(zip(numbers[::2], numbers[1::2], strict=True)), size)

    def _map_before_data(self, member: Member) -> list[int]:
        numbers: list[int] = []
        text = b""
        taken = 0
        wanted = None
        while wanted is None or len(numbers) < wanted:
            block = self._block()
            if block is None:
                raise TarFault("it is cut off")
            taken += BLOCK
            *lines, text = (text + block).split(b"\n")
            for line in lines:
                if wanted is None:
                    wanted = 2 * _decimal(line.decode("ascii", "replace"))
                    if not 0 <= wanted <= 2 * _MAP_MAX:
                        raise TarFault(f"{member.name[:80]!r} has too many holes")
                elif len(numbers) < wanted:
                    numbers.append(_decimal(line.decode("ascii", "replace")))
            if len(text) > BLOCK:
                raise TarFault(f"{member.name[:80]!r} has a garbled sparse map")
        if taken > member.stored:
            raise TarFault(f"{member.name[:80]!r} has a sparse map that is longer than it")
        member.stored -= taken
        return numbers

    def _block(self) -> bytes | None:
        """The next block, None at the end of the file; raises TarFault for a part of one."""
        content = b""
        while len(content) < BLOCK:
            more = self._file.read(BLOCK - len(content))
            if not more:
                if content:
                    raise TarFault("it is cut off")
                return None
            content += more
        self._at += BLOCK
        return content

    def _read(self, most: int) -> bytes:
        block = self._file.read(min(most, _CHUNK))
        if not block:
            raise TarFault("it is cut off")
        self._at += len(block)
        return block

    def _take(self, most: int) -> bytes:
        block = self._read(most)
        self._left -= len(block)
        return block

    def _skip(self, size: int) -> None:
        if self._size is not None:
            if self._at + size > self._size:
                raise TarFault("it is cut off")
            self._at += size
            self._file.seek(self._at)
            return
        while size > 0:
            size -= len(self._read(size))

    def _pass(self, padding: int) -> bool:
        """Read over padding; False where the file has ended before it."""
        while padding:
            block = self._file.read(padding)
            if not block:
                return False
            self._at += len(block)
            padding -= len(block)
        return True


def _prefix(block: bytes) -> str:
    """What stands before the name, by the format that the header is of: Go's archive/tar, reader.go."""
    if block[257:263] == _USTAR:
        return _text(block[345:476] if block[508:512] == b"tar\0" else block[345:500])
    if block[257:265] == _GNU:
        try:
            for time in (block[345:357], block[357:369]):
                _number(time)
        except TarFault:
            # Go before 1.8 wrote a prefix where GNU tar has times.
            prefix = _text(block[345:500])
            return prefix if prefix.isascii() else ""
    return ""


def _sparse_version(records: dict[str, str]) -> tuple[str, str] | None:
    """Major and minor version of a sparse file of GNU tar in PAX headers; None where it is none that Go knows."""
    version = (records.get("GNU.sparse.major", ""), records.get("GNU.sparse.minor", ""))
    if version in (("0", "0"), ("0", "1"), ("1", "0")):
        return version
    return ("0", "1") if version == ("", "") and records.get("GNU.sparse.map") else None


def _settle(member: Member, segments: list[tuple[int, int]], size: int) -> None:
    """Take the map of a sparse file, if it is in order and fits what is stored."""
    segments = [(offset, length) for offset, length in segments if length or offset]
    at = 0
    for offset, length in segments:
        if offset < at or length < 0:
            raise TarFault(f"{member.name[:80]!r} has a garbled sparse map")
        at = offset + length
    if not at <= size <= _LARGEST or sum(length for _, length in segments) != member.stored:
        raise TarFault(f"{member.name[:80]!r} has a sparse map that does not fit")
    member.segments = segments
    member.size = size


def _pairs(block: bytes) -> list[tuple[int, int]]:
    """The offsets and sizes in a header of GNU tar, up to the first that is empty."""
    found = []
    for at in range(0, len(block) - 23, 24):
        if not block[at : at + 24].strip(b"\0 "):
            break
        found.append((_number(block[at : at + 12]), _number(block[at + 12 : at + 24])))
    return found


def _number(field: bytes) -> int:
    """Octal digits, or GNU's binary form; nothing is 0."""
    if field[:1] >= b"\x80":
        # The first bit only says that it is binary; a negative number has all of the first byte set.
        first = b"\xff" if field[0] == 0xFF else bytes([field[0] & 0x7F])  # noqa: PLR2004 - all bits
        value = int.from_bytes(first + field[1:], "big", signed=True)
        if not -_LARGEST <= value <= _LARGEST:
            raise TarFault("a header has a number of more than 64 bits")
        return value
    text = field.strip(b" \0").split(b"\0")[0]
    if text and _OCTAL.match(text) is None:
        raise TarFault("a header has a garbled number")
    return int(text, 8) if text else 0


def _decimal(text: str) -> int:
    if _DECIMAL.match(text) is None:
        raise TarFault(f"a header has the number {text[:40]!r}")
    if abs(int(text)) > _LARGEST:
        raise TarFault(f"a header has the number {text[:40]!r}")
    return int(text)


def _seconds(text: str) -> int:
    match = _TIME.match(text)
    if match is None:
        raise TarFault(f"a header has the time {text[:40]!r}")
    return int(match[1])


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _records(content: bytes) -> dict[str, str]:
    """The records of a PAX header (POSIX pax, "Extended Header"); a map of format 0.0 in the form of 0.1."""
    found: dict[str, str] = {}
    segments: list[str] = []
    at = 0
    while at < len(content):
        space = content.find(b" ", at, at + 20)
        digits = content[at:space]
        if space < 0 or not digits.isdigit():
            raise TarFault("an extended header is garbled")
        end = at + int(digits)
        key, separator, value = content[space + 1 : end - 1].partition(b"=")
        if not separator or end <= space or content[end - 1 : end] != b"\n":
            raise TarFault("an extended header is garbled")
        name = key.decode("utf-8", "surrogateescape")
        text = value.decode("utf-8", "surrogateescape")
        if "\0" in name or ("\0" in text and name in _WITHOUT_NUL):
            raise TarFault("an extended header is garbled")
        if name in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            segments.append(text)
        else:
            found[name] = text
        at = end
    if segments:
        found.setdefault("GNU.sparse.map", ",".join(segments))
    return found
