"""What the notes of an ELF file tell: build id, kernel, processor level, package, what it opens by dlopen(3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from rootless_scratch.elf.records import ByteOrder, Records

_ISA_NEEDED: Final = 0xC0008002
_BUILD_ID_LIMIT = 64
_DLOPEN_LIMIT = 100

Priority = Literal["required", "recommended", "suggested"]


class DlopenNote(msgspec.Struct, frozen=True, kw_only=True):
    """One feature that needs one of `soname`, the first one found; uapi-group.org, "ELF dlopen() metadata"."""

    soname: tuple[str, ...]
    feature: str = ""
    description: str = ""
    priority: Priority = "recommended"


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    `kernel` is the oldest Linux that the C library starts on, `isa_level` the x86-64 level (1 to 4) that the
    linker was told, `package` the JSON text of uapi-group.org, "Package Metadata for Executable Files".
    """

    build_id: str | None = None
    owners: frozenset[str] = frozenset()
    go: bool = False
    kernel: str | None = None
    isa_level: int | None = None
    package: str | None = None
    dlopen: tuple[DlopenNote, ...] = ()


def read_notes(records: Records) -> Notes:
    """Read all notes; one that makes no sense is passed over, as by all who read them."""
    notes = Notes()
    owners = set()
    for note in records.notes():
        owners.add(note.owner)
        found: dict[str, object] = {}
        match note.owner, note.type:
            case "GNU", 3 if notes.build_id is None:
                found["build_id"] = note.content[:_BUILD_ID_LIMIT].hex()
            case "GNU", 1:
                found["kernel"] = _kernel(note.content, records.byte_order)
            case "GNU", 5:
                found["isa_level"] = _isa_level(note.content, records)
            case "FDO", 0xCAFE1A7E:
                found["package"] = note.content.rstrip(b"\0").decode("utf-8", "replace")
            case "FDO", 0x407C0C0A:
                found["dlopen"] = (*notes.dlopen, *_dlopen(note.content))[:_DLOPEN_LIMIT]
            case "Go", 4:
                # The build id of its linker.
                found["go"] = True
            case _:
                continue
        notes = msgspec.structs.replace(notes, **found)
    return msgspec.structs.replace(notes, owners=frozenset(owners))


def _kernel(content: bytes, order: ByteOrder) -> str | None:
    """NT_GNU_ABI_TAG: four words, the first 0 for Linux."""
    if len(content) < 16 or int.from_bytes(content[:4], order):  # noqa: PLR2004 - four words
        return None
    return ".".join(str(int.from_bytes(content[at : at + 4], order)) for at in (4, 8, 12))


def _isa_level(content: bytes, records: Records) -> int | None:
    """NT_GNU_PROPERTY_TYPE_0: type, size and data, padded to the word size; x86-64 psABI, "ISA levels"."""
    if records.header.machine not in {"X86_64", "386"}:
        return None
    align = records.header.bits // 8
    at = 0
    while at + 8 <= len(content):
        kind = int.from_bytes(content[at : at + 4], "little")
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        if kind == _ISA_NEEDED and size == 4:  # noqa: PLR2004 - a word of flags
            return (int.from_bytes(content[at + 8 : at + 12], "little") & 0xF).bit_length() or None
        at += 8 + -(-size // align) * align
    return None


def _dlopen(content: bytes) -> tuple[DlopenNote, ...]:
    try:
        return msgspec.json.decode(content.rstrip(b"\0"), type=tuple[DlopenNote, ...])
    except (msgspec.MsgspecError, UnicodeError):
        return ()
