"""What the numbers in ELF files are called, without the prefix of their kind: `DYN` for ET_DYN.

These are pyelftools' names of what usual programs have; to import it takes 10 ms, so it is asked about the rest.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# fmt: off
TYPES = {
    0: "NONE", 1: "REL", 2: "EXEC", 3: "DYN", 4: "CORE", 0xff00: "LOPROC", 0xffff: "HIPROC",
}

MACHINES = {
    2: "SPARC", 3: "386", 8: "MIPS", 20: "PPC", 21: "PPC64", 22: "S390", 40: "ARM", 43: "SPARCV9", 62:
    "X86_64", 183: "AARCH64", 243: "RISCV", 258: "LOONGARCH",
}

SEGMENTS = {
    0: "NULL", 1: "LOAD", 2: "DYNAMIC", 3: "INTERP", 4: "NOTE", 5: "SHLIB", 6: "PHDR", 7: "TLS", 0x60000000:
    "LOOS", 0x6fffffff: "HIOS", 0x6474e550: "GNU_EH_FRAME", 0x6474e551: "GNU_STACK", 0x6474e552: "GNU_RELRO",
    0x6474e553: "GNU_PROPERTY",
}

TAGS = {
    0: "NULL", 1: "NEEDED", 2: "PLTRELSZ", 3: "PLTGOT", 4: "HASH", 5: "STRTAB", 6: "SYMTAB", 7: "RELA", 8:
    "RELASZ", 9: "RELAENT", 10: "STRSZ", 11: "SYMENT", 12: "INIT", 13: "FINI", 14: "SONAME", 15: "RPATH", 16:
    "SYMBOLIC", 17: "REL", 18: "RELSZ", 19: "RELENT", 20: "PLTREL", 21: "DEBUG", 22: "TEXTREL", 23: "JMPREL",
    24: "BIND_NOW", 25: "INIT_ARRAY", 26: "FINI_ARRAY", 27: "INIT_ARRAYSZ", 28: "FINI_ARRAYSZ", 29: "RUNPATH",
    30: "FLAGS", 32: "PREINIT_ARRAY", 33: "PREINIT_ARRAYSZ", 34: "SYMTAB_SHNDX", 35: "RELRSZ", 36: "RELR", 37:
    "RELRENT", 38: "NUM", 0x6000000d: "LOOS", 0x6000000f: "ANDROID_REL", 0x60000010: "ANDROID_RELSZ",
    0x60000011: "ANDROID_RELA", 0x60000012: "ANDROID_RELASZ", 0x6fffe000: "ANDROID_RELR", 0x6fffe001:
    "ANDROID_RELRSZ", 0x6fffe003: "ANDROID_RELRENT", 0x6fffe005: "ANDROID_RELRCOUNT", 0x6ffff000: "HIOS",
    0x70000000: "LOPROC", 0x7fffffff: "FILTER", 53: "PROCNUM", 0x6ffffd00: "VALRNGLO", 0x6ffffdf5:
    "GNU_PRELINKED", 0x6ffffdf6: "GNU_CONFLICTSZ", 0x6ffffdf7: "GNU_LIBLISTSZ", 0x6ffffdf8: "CHECKSUM",
    0x6ffffdf9: "PLTPADSZ", 0x6ffffdfa: "MOVEENT", 0x6ffffdfb: "MOVESZ", 0x6ffffdfe: "SYMINSZ", 0x6ffffdff:
    "SYMINENT", 0x6ffffef5: "GNU_HASH", 0x6ffffef6: "TLSDESC_PLT", 0x6ffffef7: "TLSDESC_GOT", 0x6ffffef8:
    "GNU_CONFLICT", 0x6ffffef9: "GNU_LIBLIST", 0x6ffffefa: "CONFIG", 0x6ffffefb: "DEPAUDIT", 0x6ffffefc:
    "AUDIT", 0x6ffffefd: "PLTPAD", 0x6ffffefe: "MOVETAB", 0x6ffffeff: "SYMINFO", 0x6ffffff0: "VERSYM",
    0x6ffffff9: "RELACOUNT", 0x6ffffffa: "RELCOUNT", 0x6ffffffb: "FLAGS_1", 0x6ffffffc: "VERDEF", 0x6ffffffd:
    "VERDEFNUM", 0x6ffffffe: "VERNEED", 0x6fffffff: "VERNEEDNUM", 0x7ffffffd: "AUXILIARY",
}
# fmt: on

_OWN_SEGMENTS = frozenset({"ARM", "AARCH64", "MIPS", "RISCV"})
_OWN_TAGS = frozenset({"MIPS", "MIPS_RS3_LE", "AARCH64"})


def type_of(number: int) -> str:
    """That of a file's type; digits where it has none."""
    return TYPES.get(number) or str(number)


def machine_of(number: int) -> str:
    """That of a processor."""
    return MACHINES.get(number) or _names("E_MACHINE").get(number) or str(number)


def segment_of(number: int, machine: str) -> str:
    """That of a segment's type in a program for this processor."""
    name = SEGMENTS.get(number)
    if name is None and machine in _OWN_SEGMENTS:
        name = _names(f"P_TYPE_{machine}").get(number)
    return name or str(number)


def tag_of(number: int, machine: str, *, solaris: bool) -> str:
    """That of a dynamic entry's tag."""
    name = TAGS.get(number)
    if solaris or (name is None and machine in _OWN_TAGS):
        # Solaris uses some numbers for tags of its own.
        name = _own_tags(machine, solaris=solaris).get(number) or name
    return name or str(number)


@functools.lru_cache(maxsize=32)
def _names(table: str) -> Mapping[int, str]:
    from elftools.elf import enums

    return by_number(getattr(enums, f"ENUM_{table}"))


@functools.lru_cache(maxsize=32)
def _own_tags(machine: str, *, solaris: bool) -> Mapping[int, str]:
    from elftools.elf import enums

    own = enums.ENUMMAP_EXTRA_D_TAG_MACHINE.get(f"EM_{machine}")
    if own is None:
        own = enums.ENUM_D_TAG_SOLARIS if solaris else {}
    return by_number(own)


def by_number(table: Mapping[str, int]) -> Mapping[int, str]:
    """One of pyelftools' tables; of two names for a number the last one holds, and `_default_` is none."""
    return {number: name.partition("_")[2] for name, number in table.items() if not name.startswith("_")}
