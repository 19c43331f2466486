"""Versions and symbols of an ELF file, found by its dynamic section alone, as the loader finds them.

Layouts: the gABI, "Symbol Table" and "Hash Table"; the LSB, "Symbol Versioning". Every walk is bounded.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.elf.symbols import WATCHED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rootless_scratch.elf.records import Records, StringTable

_RECORDS_LIMIT = 2048
_SYMBOLS_LIMIT = 65536
_STRINGS_LIMIT = 4 << 20
_NAME_LIMIT = 64
_WEAK = 2
_BASE = 1

_OPENING: Final = (
    "dlopen dlmopen pthread_cancel pthread_exit iconv_open getaddrinfo gethostbyname gethostbyname_r "
    "gethostbyaddr getnameinfo getpwnam getpwnam_r getpwuid getpwuid_r getpwent getgrnam getgrnam_r getgrgid "
    "getgrgid_r getgrouplist initgroups getservbyname getservbyname_r getprotobyname"
)
"""Functions that open libraries which the file's headers do not name."""

_OF_INTEREST: Final = frozenset(name.encode("ascii") for name in (*_OPENING.split(), *WATCHED))


class VersionNeed(msgspec.Struct, frozen=True, kw_only=True):
    """A version of symbols that a library must define; a weak one may be absent (VER_FLG_WEAK)."""

    library: str
    name: str
    weak: bool = False


def needed_versions(records: Records, tags: Mapping[str, int], strings: StringTable) -> tuple[VersionNeed, ...]:
    """Read DT_VERNEED; what lies outside the file is left out. Raises ElfError for a garbled name."""
    needs: list[VersionNeed] = []
    count = 0
    for at in _chain(records, tags.get("VERNEED"), tags.get("VERNEEDNUM", 0), next_at=12, size=16):
        library = strings.at(_word(records, at + 4))
        entry = at + _word(records, at + 8)
        for _ in range(_half(records, at + 2)):
            raw = records.at(entry, 16)
            if len(raw) < 16 or count >= _RECORDS_LIMIT:  # noqa: PLR2004 - the size of Vernaux
                return tuple(needs)
            count += 1
            _, flags, _, name, step = struct.unpack(_order(records) + "IHHII", raw)
            needs.append(VersionNeed(library=library, name=strings.at(name), weak=bool(flags & _WEAK)))
            if not step:
                break
            entry += step
    return tuple(needs)


def defined_versions(records: Records, tags: Mapping[str, int], strings: StringTable) -> tuple[str, ...] | None:
    """Read DT_VERDEF without the file's own name; None for a file without versions."""
    if "VERDEF" not in tags:
        return None
    return tuple(
        strings.at(_word(records, at + _word(records, at + 12)))
        for at in _chain(records, tags["VERDEF"], tags.get("VERDEFNUM", 0), next_at=16, size=20)
        if not _half(records, at + 2) & _BASE and _half(records, at + 6)
    )


def imports(records: Records, tags: Mapping[str, int]) -> tuple[str, ...]:
    """List those undefined symbols that tell of more files than the headers name, sorted."""
    address = tags.get("SYMTAB")
    count = min(_undefined_count(records, tags), _SYMBOLS_LIMIT)
    if address is None or not count:
        return ()
    layout = struct.Struct(_order(records) + ("IBBHQQ" if records.header.bits == 64 else "IIIBBH"))  # noqa: PLR2004
    section = 3 if layout.size == 24 else 5  # noqa: PLR2004 - Elf64_Sym
    table = records.at(address, count * layout.size)
    texts = records.at(tags.get("STRTAB", 0), min(tags.get("STRSZ", 0), _STRINGS_LIMIT))
    found = set()
    for symbol in layout.iter_unpack(table[: len(table) // layout.size * layout.size]):
        if symbol[section] == 0:
            start = symbol[0]
            end = texts.find(b"\0", start, start + _NAME_LIMIT)
            if end > start and texts[start:end] in _OF_INTEREST:
                found.add(texts[start:end].decode("ascii"))
    return tuple(sorted(found))


def _undefined_count(records: Records, tags: Mapping[str, int]) -> int:
    """Bound the number of undefined symbols: DT_GNU_HASH begins where they end, DT_HASH knows all."""
    if "GNU_HASH" in tags:
        return _word(records, tags["GNU_HASH"] + 4)
    if "HASH" in tags:
        # Only s390x and alpha have 64-bit words there.
        wide = records.header.machine in {"S390", "ALPHA"} and records.header.bits == 64  # noqa: PLR2004
        raw = records.at(tags["HASH"] + (8 if wide else 4), 8 if wide else 4)
        return int.from_bytes(raw, records.byte_order)
    return 0


def _chain(records: Records, address: int | None, count: int, *, next_at: int, size: int) -> Iterator[int]:
    """Walk records that each tell how far the next one is."""
    at = address or 0
    for _ in range(min(count, _RECORDS_LIMIT)):
        if len(records.at(at, size)) < size:
            return
        yield at
        step = _word(records, at + next_at)
        if not step:
            return
        at += step


def _word(records: Records, address: int) -> int:
    return int.from_bytes(records.at(address, 4), records.byte_order)


def _half(records: Records, address: int) -> int:
    return int.from_bytes(records.at(address, 2), records.byte_order)


def _order(records: Records) -> str:
    return "<" if records.header.little_endian else ">"
