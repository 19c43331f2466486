"""The records of an ELF file: headers, dynamic entries and notes, read in bounded time from any bytes.

pyelftools knows what the numbers in them are called (names.py). Its `ELFFile` is not used: it reads section
headers, which no kernel and no loader needs and which may be stripped or garbled, and it sets no bounds. Nor are
its structures, which make an object for every field; the few layouts that are read here stand in elf(5).
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

import msgspec

from rootless_scratch.elf.names import machine_of, segment_of, tag_of, type_of
from rootless_scratch.errors import ElfError

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Iterator

ByteOrder = Literal["little", "big"]
MAGIC: Final = b"\x7fELF"

_IDENT = 16
_HEAD = 4096
_NEARBY = 32768
_PLACES = 4
_HEADER_SIZES: Final = {32: (52, 32), 64: (64, 56)}
"""Bytes of the ELF header and of one program header, by class."""

_HEADERS: Final = {32: "HHIIIIIHHHHHH", 64: "HHIQQQIHHHHHH"}
"""Elf32_Ehdr and Elf64_Ehdr behind e_ident."""

_SEGMENTS: Final = {32: "IIIIIIII", 64: "IIQQQQQQ"}
_ENTRIES: Final = {32: "iI", 64: "qQ"}
_SOLARIS: Final = 6
"""Of EI_OSABI: its dynamic sections have tags of their own."""

_TABLE_LIMIT = 65536
"""The kernel executes nothing with a longer program header table: load_elf_phdrs() in fs/binfmt_elf.c."""

_DYNAMIC_LIMIT = 4096
_STRING_LIMIT = 4096
_INTERPRETER_MIN = 2
_NOTES_LIMIT = 65536
_STRINGS_LIMIT = 16 << 20
_CHUNK = 65536
_CHUNK_LIMIT = 1 << 18
"""glibc's malloc keeps free what is twice as large as the largest block so far: mallopt(3), M_MMAP_THRESHOLD."""

_DAMAGED = "Build or copy the program again, and compare its size and checksum with the original's."


class Source:
    """An untrusted file, read in bounded pieces; what lies behind its end is missing, never an error."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        self._head = self._read(0, _HEAD)
        self._nearby: list[tuple[int, bytes]] = []

    def read(self, offset: int, size: int) -> bytes:
        """Read up to `size` bytes from `offset` on."""
        end = min(offset + size, self.size)
        if end <= len(self._head):
            return self._head[offset:end]
        if size > _HEAD:
            return self._read(offset, end - offset)
        if end <= offset:
            return b""
        # What is small is a record or a name, and most of them lie together.
        for start, data in self._nearby:
            if start <= offset and end <= start + len(data):
                return data[offset - start : end - start]
        start = offset // _HEAD * _HEAD
        data = self._read(start, min(_NEARBY, self.size - start))
        self._nearby = [(start, data), *self._nearby[: _PLACES - 1]]
        return data[offset - start : end - start]

    def search(
        self, pattern: re.Pattern[bytes], offset: int, size: int, *, overlap: int
    ) -> re.Match[bytes] | None:
        """Find the first match in `size` bytes from `offset` on; one longer than `overlap` may be missed."""
        for _, chunk in self.chunks(offset, size, overlap=overlap):
            found = pattern.search(chunk)
            if found is not None:
                return found
        return None

    def chunks(self, offset: int, size: int, *, overlap: int) -> Iterator[tuple[int, bytes]]:
        """Read `size` bytes in pieces, each with its offset; neighbours share `overlap` bytes."""
        end = min(offset + size, self.size)
        length = _CHUNK
        while offset < end:
            chunk = self.read(offset, min(length, end - offset))
            if not chunk:
                return
            yield offset, chunk
            if offset + len(chunk) >= end:
                return
            offset += max(len(chunk) - overlap, 1)
            length = min(2 * length, _CHUNK_LIMIT)

    def _read(self, offset: int, size: int) -> bytes:
        if size <= 0:
            return b""
        self._file.seek(offset)
        return self._file.read(size)


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The ELF header; `type` and `machine` without their prefixes, or the number where it has no name."""

    bits: int
    little_endian: bool
    os_abi: int
    type: str
    machine: str
    machine_number: int
    entry: int
    flags: int
    section_count: int
    table_offset: int
    table_count: int


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One program header; `type` without its prefix."""

    type: str
    offset: int
    address: int
    file_size: int
    flags: int
    align: int

    @property
    def writable(self) -> bool:
        """Whether PF_W is set."""
        return bool(self.flags & 2)

    @property
    def executable(self) -> bool:
        """Whether PF_X is set."""
        return bool(self.flags & 1)


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a PT_NOTE segment."""

    owner: str
    type: int
    content: bytes


class Records:
    """The header and the program headers of one ELF file, and ways into the rest of it.

    `name` stands for the file in the messages of the ElfError that every method may raise.
    """

    def __init__(self, file: BinaryIO, *, name: str) -> None:
        self.name = name
        self.source = Source(file)
        self.header = self._read_header()
        self.segments = self._read_segments()
        self._loads = tuple(segment for segment in self.segments if segment.type == "LOAD")

    def error(self, cause: str) -> ElfError:
        """Make the ElfError for this file; `cause` goes on after "cannot be read as an ELF program: "."""
        return ElfError(f"{self.name} cannot be read as an ELF program: {cause}.", fix=_DAMAGED)

    def of_type(self, kind: str) -> Segment | None:
        """Return the first program header of that type."""
        return next((segment for segment in self.segments if segment.type == kind), None)

    def locate(self, address: int) -> tuple[int, int] | None:
        """Find what will lie at `address`: its offset in the file and how many bytes follow; or None."""
        for load in self._loads:
            distance = address - load.address
            if 0 <= distance < load.file_size:
                return load.offset + distance, load.file_size - distance
        return None

    def at(self, address: int, size: int) -> bytes:
        """Read up to `size` bytes of what will lie at `address`; none where the file has nothing for it."""
        located = self.locate(address)
        if located is None:
            return b""
        offset, available = located
        return self.source.read(offset, min(size, available))

    def interpreter(self) -> str | None:
        """Read PT_INTERP by the kernel's rules: the first one, at most PATH_MAX bytes, NUL at the end."""
        segment = self.of_type("INTERP")
        if segment is None:
            return None
        if not _INTERPRETER_MIN <= segment.file_size <= _STRING_LIMIT:
            raise self.error(f"the name of its loader would be {segment.file_size} bytes long")
        text = self.source.read(segment.offset, segment.file_size)
        if len(text) < segment.file_size:
            return None
        if not text.endswith(b"\0"):
            raise self.error("the name of its loader does not end")
        return _text(text.partition(b"\0")[0])

    def dynamic(self) -> tuple[tuple[str, int], ...] | None:
        """Read the entries of PT_DYNAMIC up to DT_NULL, tags without their prefix; None if there is none.

        They are found by their address, as the loader finds them.
        """
        segment = self.of_type("DYNAMIC")
        if segment is None:
            return None
        size = self.header.bits // 4
        data = self.at(segment.address, min(segment.file_size, _DYNAMIC_LIMIT * size))
        if not data:
            # Split debug files and truncated ones: a header without the bytes.
            return ()
        machine, solaris = self.header.machine, self.header.os_abi == _SOLARIS
        entries: list[tuple[str, int]] = []
        whole = data[: len(data) // size * size]
        for tag, value in struct.iter_unpack(self.order + _ENTRIES[self.header.bits], whole):
            name = tag_of(tag, machine, solaris=solaris)
            if name == "NULL":
                return tuple(entries)
            entries.append((name, value))
        if len(data) == _DYNAMIC_LIMIT * size:
            raise self.error(f"its dynamic section has more than {_DYNAMIC_LIMIT} entries")
        return tuple(entries)

    def strings(self, entries: Iterable[tuple[str, int]]) -> StringTable:
        """Find the string table that the dynamic entries name (DT_STRTAB, DT_STRSZ)."""
        chosen = dict(entries)
        return StringTable(self, chosen.get("STRTAB"), chosen.get("STRSZ", 0))

    def notes(self) -> Iterator[Note]:
        """Read the notes of all PT_NOTE segments; a garbled one ends its segment, which no kernel minds."""
        layout = struct.Struct(self.order + "III")
        budget = _NOTES_LIMIT
        for segment in self.segments:
            if segment.type != "NOTE" or budget <= 0:
                continue
            data = self.source.read(segment.offset, min(segment.file_size, budget))
            budget -= max(len(data), 64)
            align = 8 if segment.align == 8 else 4  # noqa: PLR2004 - gABI: notes are aligned to 4 or 8
            offset = 0
            while offset + 12 <= len(data):
                name_size, size, kind = layout.unpack_from(data, offset)
                name_end = offset + 12 + name_size
                start = _align(name_end, align)
                end = start + size
                if end > len(data):
                    break
                owner = data[offset + 12 : name_end].rstrip(b"\0")
                yield Note(owner=_text(owner), type=kind, content=data[start:end])
                offset = _align(end, align)

    @property
    def byte_order(self) -> ByteOrder:
        """`little` or `big`, as int.from_bytes() takes it."""
        return "little" if self.header.little_endian else "big"

    @property
    def order(self) -> str:
        """The same as struct has it."""
        return "<" if self.header.little_endian else ">"

    def loaded(
        self, limit: int, *, overlap: int, wanted: Callable[[Segment], bool] = lambda _: True
    ) -> Iterator[tuple[int, bytes]]:
        """Read the `wanted` of the loaded segments in pieces as `Source.chunks`, `limit` bytes of them all."""
        for segment in filter(wanted, self._loads):
            size = min(segment.file_size, limit)
            limit -= size
            yield from self.source.chunks(segment.offset, size, overlap=overlap)

    def _read_header(self) -> Header:
        start = self.source.read(0, max(_HEADER_SIZES[64]))
        if not start.startswith(MAGIC):
            raise self.error("it does not begin with the ELF magic number")
        if len(start) < _IDENT:
            raise self.error(f"it ends after {len(start)} bytes, within its header")
        bits = {1: 32, 2: 64}.get(start[4])
        if bits is None or start[5] not in {1, 2}:
            raise self.error("its header names neither a word size nor a byte order")
        if len(start) < _HEADER_SIZES[bits][0]:
            raise self.error(f"it ends after {len(start)} bytes, within its header")
        little = start[5] == 1
        kind, machine, _, entry, table, _, flags, _, size, count, _, sections, _ = struct.unpack_from(
            ("<" if little else ">") + _HEADERS[bits], start, _IDENT
        )
        if count and size != _HEADER_SIZES[bits][1]:
            raise self.error(f"its program headers would be {size} bytes long each")
        return Header(
            bits=bits,
            little_endian=little,
            os_abi=start[7],
            type=type_of(kind),
            machine=machine_of(machine),
            machine_number=machine,
            entry=entry,
            flags=flags,
            section_count=sections,
            table_offset=table,
            table_count=count,
        )

    def _read_segments(self) -> tuple[Segment, ...]:
        header = self.header
        if header.type not in {"EXEC", "DYN"}:
            # Object and core files are refused whatever their program headers say.
            return ()
        length = header.table_count * _HEADER_SIZES[header.bits][1]
        if not header.table_count:
            raise self.error("it has no program headers")
        if length > _TABLE_LIMIT:
            raise self.error(f"it claims to have {header.table_count} program headers")
        data = self.source.read(header.table_offset, length)
        if len(data) < length:
            raise self.error("its program headers lie beyond the end of the file")
        wide = header.bits == 64  # noqa: PLR2004 - the two word sizes
        segments = []
        for fields in struct.iter_unpack(self.order + _SEGMENTS[header.bits], data):
            if wide:
                kind, flags, offset, address, _, file_size, _, align = fields
            else:
                kind, offset, address, _, file_size, _, flags, align = fields
            segments.append(
                Segment(
                    type=segment_of(kind, header.machine),
                    offset=offset,
                    address=address,
                    file_size=file_size,
                    flags=flags,
                    align=align,
                )
            )
        return tuple(segments)


class StringTable:
    """The strings of a dynamic section: one of them, the bytes of all in pieces, or the whole of a small table."""

    def __init__(self, records: Records, address: int | None, size: int) -> None:
        self._records = records
        place = None if address is None else records.locate(address)
        self._offset = None if place is None else place[0]
        self._size = 0 if place is None else min(size, place[1])
        self.whole: bytes | None = None
        if self._size <= _CHUNK_LIMIT:
            self.whole = b"" if self._offset is None else records.source.read(self._offset, self._size)

    def at(self, index: int) -> str:
        """Read the string that begins at `index`. Raises ElfError where there is none, or none that ends."""
        if self._offset is None:
            raise self._records.error("its dynamic section names strings but no string table")
        data, begin = self.whole, index
        if data is None:
            room = min(self._size - index, _STRING_LIMIT)
            data, begin = self._records.source.read(self._offset + index, room), 0
        end = data.find(b"\0", begin, begin + _STRING_LIMIT)
        if end < 0:
            raise self._records.error("a name in its dynamic section lies outside the string table")
        return _text(data[begin:end])

    def pieces(self, overlap: int) -> Iterator[tuple[int, bytes]]:
        """All of them, each with its NUL byte, as `Source.chunks`; of a large table the begin."""
        if self.whole is not None:
            yield 0, self.whole
            return
        assert self._offset is not None  # noqa: S101 - else it would have no size
        size = min(self._size, _STRINGS_LIMIT)
        for at, piece in self._records.source.chunks(self._offset, size, overlap=overlap):
            yield at - self._offset, piece


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _align(offset: int, align: int) -> int:
    return -(-offset // align) * align
