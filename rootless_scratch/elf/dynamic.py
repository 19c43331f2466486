"""Versions and symbols of an ELF file, found by its dynamic section alone, as the loader finds them.

Layouts: the gABI, "Symbol Table" and "Hash Table"; the LSB, "Symbol Versioning". Every walk is bounded.
"""

from __future__ import annotations

import itertools
import struct
import sys
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.elf.symbols import MAIN, WATCHED, sections_of
from rootless_scratch.elf.texts import stands_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rootless_scratch.elf.records import Records, StringTable

_RECORDS_LIMIT = 2048
_SYMBOLS_LIMIT = 1 << 18
_RELOCATIONS_LIMIT = 8 << 20
_CHAIN = 256
_WORDS = 49152
"""At once: whole records of 3, 4, 6, 8 or 12 words, which take little memory."""

_VERSIONS = 16384
_DYNSYM = 11
_RELA = 7
_WEAK = 2
_BASE = 1

_OPENING: Final = (
    "dlopen dlmopen pthread_cancel pthread_exit iconv_open getaddrinfo gethostbyname gethostbyname_r "
    "gethostbyaddr getnameinfo getpwnam getpwnam_r getpwuid getpwuid_r getpwent getgrnam getgrnam_r getgrgid "
    "getgrgid_r getgrouplist initgroups getservbyname getservbyname_r getprotobyname"
)
"""Functions that open libraries which the file's headers do not name."""

_OF_INTEREST: Final = frozenset(name.encode("ascii") + b"\0" for name in (*_OPENING.split(), *WATCHED))
_SHORTEST: Final = min(map(len, _OF_INTEREST)) - 1
_LONGEST: Final = max(map(len, _OF_INTEREST))
_BEGINS: Final = frozenset(name[:_SHORTEST] for name in _OF_INTEREST)
_OFFERED: Final = frozenset(name.encode("ascii") for name in MAIN)


class VersionNeed(msgspec.Struct, frozen=True, kw_only=True):
    """A version of symbols that a library must define; a weak one may be absent (VER_FLG_WEAK)."""

    library: str
    name: str
    weak: bool = False


def needed_versions(records: Records, tags: Mapping[str, int], strings: StringTable) -> tuple[VersionNeed, ...]:
    """Read DT_VERNEED; what lies outside the file is left out. Raises ElfError for a garbled name."""
    if "VERNEED" not in tags:
        return ()
    needs: list[VersionNeed] = []
    near = _Near(records, tags["VERNEED"])
    need, auxiliary = struct.Struct(records.order + "HHIII"), struct.Struct(records.order + "IHHII")
    for at, (_, number, file, first, _) in _chain(near, tags.get("VERNEEDNUM", 0), need):
        library = strings.at(file)
        entry = at + first
        for _ in range(number):
            found = near.unpack(auxiliary, entry)
            if found is None or len(needs) >= _RECORDS_LIMIT:
                return tuple(needs)
            _, flags, _, name, step = found
            needs.append(VersionNeed(library=library, name=strings.at(name), weak=bool(flags & _WEAK)))
            if not step:
                break
            entry += step
    return tuple(needs)


def defined_versions(records: Records, tags: Mapping[str, int], strings: StringTable) -> tuple[str, ...] | None:
    """Read DT_VERDEF without the file's own name; None for a file without versions."""
    if "VERDEF" not in tags:
        return None
    near = _Near(records, tags["VERDEF"])
    definition, name = struct.Struct(records.order + "HHHHIII"), struct.Struct(records.order + "I")
    return tuple(
        strings.at((near.unpack(name, at + first) or (0,))[0])
        for at, (_, flags, _, number, _, first, _) in _chain(near, tags.get("VERDEFNUM", 0), definition)
        if not flags & _BASE and number
    )


def imports(records: Records, tags: Mapping[str, int], strings: StringTable) -> tuple[str, ...]:
    """List those undefined symbols that tell of more files than the headers name, sorted."""
    starts = sorted(undefined_symbols(records, tags))
    found = set()
    for at, piece in strings.pieces(_LONGEST):
        near = starts[bisect_left(starts, at) : bisect_left(starts, at + len(piece))]
        for start in [start - at for start in near if piece[start - at : start - at + _SHORTEST] in _BEGINS]:
            name = piece[start : piece.find(b"\0", start, start + _LONGEST) + 1]
            if name in _OF_INTEREST:
                found.add(name[:-1].decode("ascii"))
    return tuple(sorted(found))


def offered(strings: StringTable) -> tuple[str, ...]:
    """List those of symbols.MAIN that stand in the table of dynamic symbols, whoever defines them, sorted."""
    if strings.whole is not None:
        found = {*_OFFERED.intersection(strings.whole.split(b"\0")[1:-1])}
    else:
        pieces = strings.pieces(_LONGEST + 1)
        found = {name for _, piece in pieces for name in _OFFERED if stands_in(b"\0" + name + b"\0", piece)}
    return tuple(sorted(name.decode("ascii") for name in found))


def undefined_symbols(records: Records, tags: Mapping[str, int]) -> set[int]:
    """Find where the names of all undefined symbols begin in the string table: `nm -D --undefined-only`."""
    address = tags.get("SYMTAB")
    wide = records.header.bits == 64  # noqa: PLR2004 - the two word sizes
    count = 0 if address is None else min(_symbol_count(records, tags), _SYMBOLS_LIMIT)
    if address is None or not count:
        return set()
    # The words of Elf64_Sym and Elf32_Sym: the name is the first, the section a half of the second or the last.
    each, last = (6, 1) if wide else (4, 3)
    mask = 0xFFFF0000 if records.header.little_endian else 0xFFFF
    return {
        start
        for words in _pieces(records, address, count * each)
        for start, section in zip(words[::each], words[last::each], strict=False)
        if not section & mask
    }


def _symbol_count(records: Records, tags: Mapping[str, int]) -> int:
    """Count the symbols, of which no tag tells the number.

    DT_HASH knows all of them. DT_GNU_HASH has the defined ones, and in programs at a fixed address also functions
    of libraries; GNU ld leaves it empty, and begins it at 1, where it would have none. Then the section headers
    tell, and where they are stripped the relocations, which name whatever the loader looks up.
    """
    if "MIPS_SYMTABNO" in tags:
        return tags["MIPS_SYMTABNO"]
    if "HASH" in tags:
        # Only s390x and alpha have 64-bit words there.
        wide = records.header.machine in {"S390", "ALPHA"} and records.header.bits == 64  # noqa: PLR2004
        raw = records.at(tags["HASH"] + (8 if wide else 4), 8 if wide else 4)
        return int.from_bytes(raw, records.byte_order)
    if "GNU_HASH" not in tags:
        return _counted_otherwise(records, tags)
    buckets, first, bloom = (_word(records, tags["GNU_HASH"] + at) for at in (0, 4, 8))
    start = tags["GNU_HASH"] + 16 + bloom * records.header.bits // 8
    last = max(map(max, _pieces(records, start, min(buckets, _SYMBOLS_LIMIT))), default=0)
    if last < first or not last:
        return max(first, _counted_otherwise(records, tags))
    # The last chain ends the table: its last word is odd.
    address = start + 4 * (buckets + last - first)
    passed = 0
    rest = _pieces(records, address + 4 * _CHAIN, _SYMBOLS_LIMIT)
    for chain in itertools.chain((_words(records, address, _CHAIN),), rest):
        ended = next((at for at, word in enumerate(chain) if word & 1), None)
        if ended is not None:
            return last + 1 + passed + ended
        passed += len(chain)
    return last + 1


def _counted_otherwise(records: Records, tags: Mapping[str, int]) -> int:
    wide = records.header.bits == 64  # noqa: PLR2004 - the two word sizes
    for section in sections_of(records):
        if section.type == _DYNSYM and section.address == tags.get("SYMTAB"):
            return section.size // (24 if wide else 16)
    highest = 0
    for tag, size, unit in (("RELA", "RELASZ", 3), ("REL", "RELSZ", 2), ("JMPREL", "PLTRELSZ", 0)):
        step = unit or (3 if tags.get("PLTREL") == _RELA else 2)
        length = min(tags.get(size, 0), _RELOCATIONS_LIMIT) if tag in tags else 0
        for words in _pieces(records, tags.get(tag, 0), length // 4):
            if wide:
                # r_info: the symbol is its upper half.
                symbols = words[3 if records.header.little_endian else 2 :: 2 * step]
                highest = max(highest, max(symbols, default=0))
            else:
                highest = max(highest, max(words[1::step], default=0) >> 8)
    return highest + 1


def _words(records: Records, address: int, count: int) -> array[int]:
    """Read up to so many words of 32 bits."""
    data = records.at(address, 4 * count)
    words = array("I", data[: len(data) // 4 * 4])
    if sys.byteorder != records.byte_order:
        words.byteswap()
    return words


def _pieces(records: Records, address: int, count: int) -> Iterator[array[int]]:
    """Read up to so many words, whole records at once."""
    for first in range(0, count, _WORDS):
        words = _words(records, address + 4 * first, min(_WORDS, count - first))
        if not words:
            return
        yield words


class _Near:
    """Unpacks records that nearly always lie together behind one address."""

    def __init__(self, records: Records, address: int) -> None:
        self._records = records
        self.address = address
        self._data = records.at(address, _VERSIONS)

    def unpack(self, layout: struct.Struct, address: int) -> tuple[int, ...] | None:
        """The record at an address; None where the file does not have it."""
        at = address - self.address
        if 0 <= at <= len(self._data) - layout.size:
            return layout.unpack_from(self._data, at)
        raw = self._records.at(address, layout.size)
        return layout.unpack(raw) if len(raw) == layout.size else None


def _chain(near: _Near, count: int, layout: struct.Struct) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Walk records whose last word tells how far the next one is."""
    at = near.address
    for _ in range(min(count, _RECORDS_LIMIT)):
        record = near.unpack(layout, at)
        if record is None:
            return
        yield at, record
        if not record[-1]:
            return
        at += record[-1]


def _word(records: Records, address: int) -> int:
    return int.from_bytes(records.at(address, 4), records.byte_order)
