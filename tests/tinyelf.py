"""ELF files built from nothing, a few hundred bytes each, for tests that have no compiler.

    hello()                      a static x86_64 program that really runs: writes `Hello World`, exits 0
    elf(needed=("libc.so.6",))   any other ELF file, header by header (it need not run)
    go_build_info(...)           the blob of the Go linker, as `data=` of elf()
    arm_attributes(10)           the section that tells the ARM version, as `tail=` of elf()
    note("GNU", 3, b"...")       one record of a PT_NOTE segment, for `notes=` of elf()
    comment("GCC: ...")          what compilers sign with, as `tail=` of elf()
    loader_cache((name, path))   no ELF file, but what ldconfig(8) writes

The layout is: headers, then everything that is loaded (code, interpreter, notes, dynamic section, strings) in
one segment at BASE, then `data` in a writable segment at DATA, then `tail`, which is not loaded.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

EXEC: Final = 2
DYN: Final = 3
REL: Final = 1
CORE: Final = 4

X86_64: Final = 62
I386: Final = 3
ARM: Final = 40
AARCH64: Final = 183
RISCV: Final = 243
PPC64: Final = 21
S390: Final = 22

PIE: Final = 0x08000000
NODEFLIB: Final = 0x800

BASE: Final = 0x400000
DATA: Final = 0x600000
PAGE: Final = 0x1000
LARGE_PAGES: Final = {"aarch64": 0x10000, "ppc64le": 0x10000}

_LOAD, _DYNAMIC, _INTERP, _NOTE = 1, 2, 3, 4
_NEEDED, _STRTAB, _STRSZ, _SONAME, _RPATH, _DEBUG, _RUNPATH, _FLAGS_1 = 1, 5, 10, 14, 15, 21, 29, 0x6FFFFFFB
_HASH, _SYMTAB = 4, 6
_DEPAUDIT, _AUDIT, _AUXILIARY, _FILTER = 0x6FFFFEFB, 0x6FFFFEFC, 0x7FFFFFFD, 0x7FFFFFFF


class Machine(NamedTuple):
    """What the header says about one kind of processor."""

    number: int
    bits: Literal[32, 64] = 64
    byte_order: Literal["little", "big"] = "little"


MACHINES: Final = {
    "x86_64": Machine(X86_64),
    "i386": Machine(I386, bits=32),
    "aarch64": Machine(AARCH64),
    "arm": Machine(ARM, bits=32),
    "riscv64": Machine(RISCV),
    "ppc64le": Machine(PPC64),
    "ppc64": Machine(PPC64, byte_order="big"),
    "s390x": Machine(S390, byte_order="big"),
}


def hello(text: bytes = b"Hello World\n", *, exit_code: int = 0) -> bytes:
    """A static x86_64 program that writes `text` to stdout and exits with `exit_code`."""
    code = (
        b"\xb8\x01\x00\x00\x00"  # mov eax, 1 (write)
        b"\xbf\x01\x00\x00\x00"  # mov edi, 1 (stdout)
        b"\x48\x8d\x35\x13\x00\x00\x00"  # lea rsi, [rip + 19] (the text behind the code)
         b"\xba" + struct.pack("<I", len(text))  # mov edx, len(text)
        + b"\x0f\x05"  # syscall
        b"\xb8\x3c\x00\x00\x00"  # mov eax, 60 (exit)
        + b"\xbf" + struct.pack("<I", exit_code)  # mov edi, exit_code
        + b"\x0f\x05"  # syscall
    )  # fmt: skip
    return elf(code=code + text)


def write(path: Path, *, machine: str = "x86_64", text: bytes = b"Hello World\n") -> Path:
    """Write a static program: for x86_64 one that says `text`, for other machines one that was never tried."""
    path.write_bytes(hello(text) if machine == "x86_64" else elf(machine=machine))
    path.chmod(0o755)
    return path


def for_machines(place: Path, *machines: str) -> dict[str, Path]:
    """Write MACHINE/hello for each: one program for several processors."""
    for machine in machines:
        (place / machine).mkdir()
    return {machine: write(place / machine / "hello", machine=machine) for machine in machines}


def elf(
    *,
    machine: str = "x86_64",
    type: int = EXEC,  # noqa: A002 - the field's name
    interpreter: str | None = None,
    needed: Sequence[str] = (),
    soname: str | None = None,
    rpath: str | None = None,
    runpath: str | None = None,
    filtee: str | None = None,
    auxiliary: str | None = None,
    audit: str | None = None,
    depaudit: str | None = None,
    flags_1: int = 0,
    debug_tag: bool = False,
    imports: Sequence[str] = (),
    dynamic: bool = False,
    notes: Sequence[bytes] = (),
    os_abi: int = 0,
    flags: int = 0,
    entry: int | None = None,
    code: bytes = b"\xf4",
    data: bytes = b"",
    tail: bytes = b"",
    machine_number: int | None = None,
    page: int | None = None,
) -> bytes:
    """An ELF file. A dynamic section is there if anything of it is asked for, or by `dynamic=True`.

    `entry` is by default the address of `code`; `machine_number` replaces e_machine alone,
    `page` what its segments are aligned for.
    """
    kind = MACHINES[machine]
    page = page or LARGE_PAGES.get(machine, PAGE)
    build = _Builder(kind)
    strings = _Strings()
    tags: list[tuple[int, int]] = [(_NEEDED, strings.add(name)) for name in needed]
    named = ((_FILTER, filtee), (_AUXILIARY, auxiliary), (_AUDIT, audit), (_DEPAUDIT, depaudit))
    for tag, text in ((_SONAME, soname), (_RPATH, rpath), (_RUNPATH, runpath), *named):
        if text is not None:
            tags.append((tag, strings.add(text)))
    if flags_1:
        tags.append((_FLAGS_1, flags_1))
    if debug_tag:
        tags.append((_DEBUG, 0))
    undefined = [strings.add(name) for name in imports]
    dynamic = dynamic or bool(tags) or bool(undefined)
    count = 1 + bool(data) + (interpreter is not None) + bool(notes) + dynamic
    body = bytearray(build.header_size + count * build.program_header_size)
    headers = []

    code_offset = _append(body, code)
    if interpreter is not None:
        raw = interpreter.encode("utf-8", "surrogateescape") + b"\0"
        headers.append(build.program_header(_INTERP, 4, _append(body, raw), len(raw)))
    if notes:
        raw = b"".join(notes)
        headers.append(build.program_header(_NOTE, 4, _append(body, raw), len(raw), align=4))
    if dynamic:
        table = strings.bytes()
        table_offset = _append(body, table)
        tags += [(_STRTAB, BASE + table_offset), (_STRSZ, len(table))]
        if undefined:
            # The first symbol is none; DT_HASH tells their number: the gABI, "Hash Table".
            symbols = build.symbol(0) + b"".join(build.symbol(name) for name in undefined)
            hashes = build.hash_head(buckets=1, symbols=1 + len(undefined))
            tags += [(_SYMTAB, BASE + _append(body, symbols)), (_HASH, BASE + _append(body, hashes))]
        tags.append((0, 0))
        raw = b"".join(build.words(tag, value) for tag, value in tags)
        headers.append(build.program_header(_DYNAMIC, 6, _append(body, raw), len(raw)))
    headers.insert(0, build.program_header(_LOAD, 5, 0, len(body), align=page))
    if data:
        # The file offset and the address must agree within a page, or the kernel refuses.
        body.extend(bytes(-len(body) % PAGE))
        headers.append(build.program_header(_LOAD, 6, len(body), len(data), address=DATA, align=page))
        body += data
    body[build.header_size : build.header_size + count * build.program_header_size] = b"".join(headers)
    body[: build.header_size] = build.header(
        type=type,
        os_abi=os_abi,
        flags=flags,
        entry=BASE + code_offset if entry is None else entry,
        count=count,
        machine_number=machine_number,
    )
    return bytes(body) + tail


def note(owner: str, kind: int, content: bytes, *, byte_order: str = "little") -> bytes:
    """One note; owner and content are padded to 4 bytes."""
    name = owner.encode() + b"\0"
    head = struct.pack(f"{'<' if byte_order == 'little' else '>'}III", len(name), len(content), kind)
    return head + name + bytes(-len(name) % 4) + content + bytes(-len(content) % 4)


def comment(*producers: str) -> bytes:
    """A `.comment` section."""
    return b"".join(producer.encode() + b"\0" for producer in producers)


def arm_attributes(cpu_arch: int) -> bytes:
    """An `.ARM.attributes` section: the processor's name, then Tag_CPU_arch."""
    tags = b"\x05" + b"7-A\0" + b"\x06" + bytes([cpu_arch]) + b"\x08\x01"
    file = b"\x01" + struct.pack("<I", 5 + len(tags)) + tags
    section = b"aeabi\0" + file
    return b"A" + struct.pack("<I", 4 + len(section)) + section


def go_build_info(version: str = "go1.22.1", *, path: str = "example.com/hello", **settings: str) -> bytes:
    """The blob that Go 1.18 and later write at the start of the data segment; `_` stands for `-` in front."""
    return (
        b"\xff Go buildinf:"
        b"\x08\x02" + bytes(16) + _varint(version.encode()) + _varint(_module_info(path, settings))
    )


def go_build_info_by_pointers(version: str = "go1.17.5", *, path: str = "example.com/hello") -> bytes:
    """The same by pointers, as Go 1.13 to 1.17 wrote it, for a little-endian 64-bit program."""
    modules = _module_info(path, {})
    text = version.encode()
    headers = DATA + 32
    strings = headers + 32
    return (
        b"\xff Go buildinf:"
        b"\x08\x00"
        + struct.pack("<QQ", headers, headers + 16)
        + struct.pack("<QQQQ", strings, len(text), strings + len(text), len(modules))
        + text
        + modules
    )


def _module_info(path: str, settings: dict[str, str]) -> bytes:
    lines = [f"path\t{path}", f"mod\t{path}\t(devel)\t", "dep\tgolang.org/x/sys\tv0.1.0\th1:abc="]
    lines += [f"build\t{'-' + key[1:] if key.startswith('_') else key}={value}" for key, value in settings.items()]
    return (
        b"0w\xaf\x0c\x92t\x08\x02A\xe1\xc1\x07\xe6\xd6\x18\xe6"
        + "".join(f"{line}\n" for line in lines).encode()
        + b"\xf92C1\x86\x18 r\x00\x82B\x10A\x16\xd8\xf2"
    )


def _varint(raw: bytes) -> bytes:
    length = len(raw)
    head = bytearray()
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + raw


def _append(body: bytearray, raw: bytes) -> int:
    body.extend(bytes(-len(body) % 8))
    offset = len(body)
    body += raw
    return offset


class _Strings:
    def __init__(self) -> None:
        self._table = bytearray(b"\0")
        self._known: dict[str, int] = {}

    def add(self, text: str) -> int:
        if text not in self._known:
            self._known[text] = len(self._table)
            self._table += text.encode("utf-8", "surrogateescape") + b"\0"
        return self._known[text]

    def bytes(self) -> bytes:
        return bytes(self._table)


class _Builder:
    """Packs records for one kind of processor."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._order = "<" if machine.byte_order == "little" else ">"
        self.header_size, self.program_header_size = (64, 56) if machine.bits == 64 else (52, 32)

    def words(self, *values: int) -> bytes:
        code = "Q" if self._machine.bits == 64 else "I"
        return struct.pack(f"{self._order}{len(values)}{code}", *values)

    def symbol(self, name: int) -> bytes:
        """An undefined symbol whose name stands there in the string table."""
        if self._machine.bits == 64:
            return struct.pack(f"{self._order}IBBHQQ", name, 0x12, 0, 0, 0, 0)
        return struct.pack(f"{self._order}IIIBBH", name, 0, 0, 0x12, 0, 0)

    def hash_head(self, *, buckets: int, symbols: int) -> bytes:
        """The first two words of DT_HASH; those of s390x have 64 bits."""
        code = "QQ" if self._machine.number == S390 and self._machine.bits == 64 else "II"
        return struct.pack(f"{self._order}{code}", buckets, symbols)

    def header(
        self,
        *,
        type: int,  # noqa: A002 - the field's name
        os_abi: int,
        flags: int,
        entry: int,
        count: int,
        machine_number: int | None,
    ) -> bytes:
        machine = self._machine
        ident = bytes([0x7F, *b"ELF", machine.bits // 32, 1 if self._order == "<" else 2, 1, os_abi]) + bytes(8)
        number = machine.number if machine_number is None else machine_number
        return (
            ident
            + struct.pack(f"{self._order}HHI", type, number, 1)
            + self.words(entry, self.header_size, 0)
            + struct.pack(
                f"{self._order}IHHHHHH", flags, self.header_size, self.program_header_size, count, 0, 0, 0
            )
        )

    def program_header(
        self, kind: int, flags: int, offset: int, size: int, *, address: int | None = None, align: int = 1
    ) -> bytes:
        at = BASE + offset if address is None else address
        if self._machine.bits == 64:
            return struct.pack(f"{self._order}II", kind, flags) + self.words(offset, at, at, size, size, align)
        return (
            struct.pack(f"{self._order}I", kind)
            + self.words(offset, at, at, size, size)
            + struct.pack(f"{self._order}II", flags, align)
        )


def loader_cache(*entries: tuple[str, str], flags: int = 0x303) -> bytes:
    """An ld.so.cache in the new format."""
    texts = bytearray()
    rows = []
    start = 48 + 24 * len(entries)
    for name, path in entries:
        key = start + len(texts)
        texts += name.encode() + b"\0"
        value = start + len(texts)
        texts += path.encode() + b"\0"
        rows.append(struct.pack("<IIIIQ", flags, key, value, 0, 0))
    head = b"glibc-ld.so.cache1.1" + struct.pack("<IIB3xI12x", len(entries), len(texts), 2, 0)
    return head + b"".join(rows) + bytes(texts)
