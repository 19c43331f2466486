"""The facts that an ELF file states: what the kernel and the loader would act on, and who built it.

Whatever the bytes, reading ends in bounded time and memory, with facts or an ElfError; nothing is executed.
"""

from __future__ import annotations

from typing import BinaryIO, Literal

import msgspec

from rootless_scratch.elf import dynamic, golang, marks, platforms, symbols
from rootless_scratch.elf.dynamic import VersionNeed  # noqa: TC001 - likewise
from rootless_scratch.elf.golang import GoBuild  # noqa: TC001 - msgspec resolves it for JSON
from rootless_scratch.elf.marks import RustBuild  # noqa: TC001 - likewise
from rootless_scratch.elf.notes import DlopenNote, read_notes
from rootless_scratch.elf.platforms import Platform  # noqa: TC001 - likewise
from rootless_scratch.elf.records import Records

_DF_1_PIE = 0x08000000
_DF_1_NODEFLIB = 0x800
_LOADED = frozenset({"LOAD", "DYNAMIC", "INTERP", "TLS"})


class ElfFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One ELF file. Sizes are in bytes; text is UTF-8 with surrogateescape.

    machine           as `uname -m` says it: x86_64, i386, aarch64, arm, riscv64, ppc64le, s390x ..., or
                      unknown-0x1234
    type              EXEC, DYN, REL, CORE, or another name or number of e_type
    entry_loaded      whether bytes of the file will lie at the entry address
    interpreter       PT_INTERP: the loader that the kernel starts in the program's place
    dynamic           whether there is a dynamic section (static PIEs have one too)
    pie               DF_1_PIE: an executable, though its type is that of shared libraries
    debug_tag         DT_DEBUG, which linkers give executables only, also older ones that do not set DF_1_PIE
    file_size_needed  what the program headers want; a shorter file was truncated
    needed_versions   DT_VERNEED: versions of symbols that libraries must define
    defined_versions  DT_VERDEF; None for a file without versions
    imports           undefined symbols that tell of files which the headers do not name (dynamic.py)
    kernel            the oldest Linux that the C library starts on, as its ABI note says
    isa_level         the x86-64 level (1 to 4) that its property note asks for
    package           the JSON text of the FDO package note
    dlopen            libraries that it says it opens by itself: FDO dlopen notes
    system_directories  of a glibc loader: the directories that are compiled into it
    producers         compilers that signed in `.comment`
    platform          None for processors that OCI has no name for
    functions         those of symbols.WATCHED and GO_WATCHED that it calls, and of symbols.MAIN that it offers
    crates            those of Rust that symbols.crates_of looks for
    alignment         the smallest of its loaded segments: pages of the kernel may not be larger; 0: none is loaded
    vsyscall          a static program that calls the kernel by fixed addresses (marks.py)
    filtees           DT_FILTER: libraries that this one stands for; glibc loads them, musl does not
    auxiliaries       DT_AUXILIARY: likewise, and this one's own functions stay where they are absent
    audits            DT_AUDIT and DT_DEPAUDIT of a program: libraries that watch glibc's loader
    mentions          of what a dynamic program in C has texts: marks.Marks
    bundle            what packed a program that unpacks itself when it starts: PyInstaller, .NET, AppImage
    """

    bits: Literal[32, 64]
    byte_order: Literal["little", "big"]
    machine: str
    os_abi: int
    type: str
    entry: int
    entry_loaded: bool
    interpreter: str | None
    dynamic: bool
    needed: tuple[str, ...]
    soname: str | None
    rpath: str | None
    runpath: str | None
    flags: int
    flags_1: int
    pie: bool
    debug_tag: bool
    needed_versions: tuple[VersionNeed, ...]
    defined_versions: tuple[str, ...] | None
    imports: tuple[str, ...]
    build_id: str | None
    kernel: str | None
    isa_level: int | None
    package: str | None
    dlopen: tuple[DlopenNote, ...]
    system_directories: tuple[str, ...]
    file_size: int
    file_size_needed: int
    producers: tuple[str, ...]
    go: GoBuild | None
    rust: RustBuild | None
    upx: bool
    platform: Platform | None
    functions: tuple[str, ...] = ()
    crates: tuple[str, ...] = ()
    alignment: int = 0
    vsyscall: bool = False
    bundle: str | None = None
    filtees: tuple[str, ...] = ()
    auxiliaries: tuple[str, ...] = ()
    audits: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()

    @property
    def static(self) -> bool:
        """Whether the kernel alone can start it: neither a loader nor a library is asked for."""
        return self.interpreter is None and not self.needed

    @property
    def exact_platform(self) -> Platform | None:
        """The platform by which an index names its image: of amd64 with the level that it was built for."""
        if self.machine != "x86_64" or self.platform is None:
            return self.platform
        level = platforms.level_of(self.isa_level, self.go.setting("GOAMD64") if self.go else None)
        return msgspec.structs.replace(self.platform, variant=level)

    @property
    def nodeflib(self) -> bool:
        """DF_1_NODEFLIB: the loader's own directories are not searched for what it needs."""
        return bool(self.flags_1 & _DF_1_NODEFLIB)

    @property
    def truncated(self) -> bool:
        """Whether the file ends before what its program headers announce."""
        return self.file_size < self.file_size_needed


def read_elf(file: BinaryIO, *, name: str = "The file") -> ElfFacts:
    """Read the facts of an ELF file; `name` stands for it in messages.

    Program headers are used, as by the kernel and the loader, for section headers may be stripped or wrong; these
    are asked only for `functions` of static programs.
    Raises ElfError for bytes that are no ELF file, or one that no kernel could read. A truncated file gives
    the facts that are left of it.
    """
    records = Records(file, name=name)
    header = records.header
    needed_size = max(
        (segment.offset + segment.file_size for segment in records.segments if segment.type in _LOADED),
        default=0,
    )
    truncated = records.source.size < needed_size
    interpreter = records.interpreter()
    entries = records.dynamic()
    names = _Names(records, () if truncated else entries or ())
    tags = dict(() if truncated else entries or ())
    notes = read_notes(records)
    go = golang.read_go_build(records, noted=notes.go)
    tail = marks.tail_of(records)
    producers = marks.producers_of(tail)
    machine = platforms.machine_name(header)
    system = platforms.system_name(header.os_abi, notes.owners, go.setting("GOOS") if go else None)
    variant = None
    if machine == "arm":
        variant = platforms.arm_variant(go.setting("GOARM") if go else None, tail)
    every_tag = dict(entries or ())
    flags_1 = every_tag.get("FLAGS_1", 0)
    imports = dynamic.imports(records, tags, names.strings)
    marked = marks.Marks() if go is not None else marks.marks_of(records, producers, scan=interpreter is not None)
    return ElfFacts(
        bits=64 if header.bits == 64 else 32,  # noqa: PLR2004 - the two word sizes
        byte_order="little" if header.little_endian else "big",
        machine=machine,
        os_abi=header.os_abi,
        type=header.type,
        entry=header.entry,
        entry_loaded=records.locate(header.entry) is not None,
        interpreter=interpreter,
        dynamic=entries is not None,
        needed=names.all("NEEDED"),
        soname=names.first("SONAME"),
        rpath=names.first("RPATH"),
        runpath=names.first("RUNPATH"),
        flags=every_tag.get("FLAGS", 0),
        flags_1=flags_1,
        pie=bool(flags_1 & _DF_1_PIE),
        debug_tag=any(tag == "DEBUG" for tag, _ in entries or ()),
        needed_versions=dynamic.needed_versions(records, tags, names.strings),
        defined_versions=dynamic.defined_versions(records, tags, names.strings),
        imports=imports,
        build_id=notes.build_id,
        kernel=notes.kernel,
        isa_level=notes.isa_level,
        package=notes.package,
        dlopen=notes.dlopen,
        system_directories=marks.system_directories(records, names.first("SONAME")),
        file_size=records.source.size,
        file_size_needed=needed_size,
        producers=producers,
        go=go,
        rust=marked.rust,
        upx=marks.is_upx(records),
        platform=platforms.platform_of(machine, system, variant),
        functions=symbols.functions_of(
            records,
            go=go is not None,
            imports=None if interpreter is None else imports,
            offered=() if interpreter is None else dynamic.offered(names.strings),
        ),
        crates=symbols.crates_of(records) if marked.rust is not None else (),
        alignment=min((segment.align for segment in records.segments if segment.type == "LOAD"), default=0),
        vsyscall=interpreter is None and header.type == "EXEC" and go is None and marks.calls_vsyscall(records),
        bundle=marks.bundle_of(records) if go is None and marked.rust is None else None,
        mentions=marked.mentions,
        filtees=names.all("FILTER"),
        auxiliaries=names.all("AUXILIARY"),
        audits=tuple(
            name for tag in ("AUDIT", "DEPAUDIT") for text in names.all(tag) for name in text.split(":") if name
        ),
    )


class _Names:
    """Looks up the entries of a dynamic section that are names."""

    def __init__(self, records: Records, entries: tuple[tuple[str, int], ...]) -> None:
        self._entries = entries
        self.strings = records.strings(entries)

    def all(self, tag: str) -> tuple[str, ...]:
        return tuple(self.strings.at(value) for found, value in self._entries if found == tag)

    def first(self, tag: str) -> str | None:
        return next((self.strings.at(value) for found, value in self._entries if found == tag), None)
