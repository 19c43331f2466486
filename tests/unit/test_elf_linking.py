"""What an ELF file asks of its libraries: versions, telling symbols, and notes."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from elftools.elf.elffile import ELFFile

from rootless_scratch.elf.dynamic import undefined_symbols
from rootless_scratch.elf.facts import read_elf
from rootless_scratch.elf.program import read_program
from rootless_scratch.elf.records import Records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.elf.facts import ElfFacts

PROPERTY = 5
DLOPEN = 0x407C0C0A
PACKAGE = 0xCAFE1A7E


def noted(*notes: bytes) -> ElfFacts:
    return read_elf(io.BytesIO(tinyelf.elf(notes=notes)))


def dlopen_note(*features: dict[str, Any]) -> bytes:
    return tinyelf.note("FDO", DLOPEN, json.dumps(features).encode() + b"\0")


def test_a_program_that_notes_what_it_opens_by_itself_is_understood() -> None:
    facts = noted(
        dlopen_note(
            {"soname": ["libzstd.so.1"], "feature": "zstd", "description": "Compression", "priority": "required"},
            {"soname": ["libidn2.so.0", "libidn.so.12"]},
        )
    )
    first, second = facts.dlopen
    assert (first.soname, first.feature, first.priority) == (("libzstd.so.1",), "zstd", "required")
    assert (second.soname, second.priority) == (("libidn2.so.0", "libidn.so.12"), "recommended")


@pytest.mark.parametrize("content", [b"", b"[", b"\xff\0", b"{}", b'[{"soname": 1}]', b'[{"priority": "x"}]'])
def test_a_garbled_dlopen_note_is_passed_over(content: bytes) -> None:
    assert noted(tinyelf.note("FDO", DLOPEN, content)).dlopen == ()


def test_the_package_and_the_oldest_kernel_are_told() -> None:
    facts = noted(
        tinyelf.note("FDO", PACKAGE, b'{"name":"hello"}\0'),
        tinyelf.note("GNU", 1, struct.pack("<IIII", 0, 3, 2, 0)),
    )
    assert (facts.package, facts.kernel) == ('{"name":"hello"}', "3.2.0")
    assert noted(tinyelf.note("GNU", 1, struct.pack("<IIII", 1, 3, 2, 0))).kernel is None


@pytest.mark.parametrize(("flags", "level"), [(0, None), (1, 1), (3, 2), (7, 3), (15, 4)])
def test_the_level_of_x86_64_that_the_linker_was_told(flags: int, level: int | None) -> None:
    other = struct.pack("<IIII", 0xC0000002, 4, 3, 0)
    content = other + struct.pack("<IIII", 0xC0008002, 4, flags, 0)
    assert noted(tinyelf.note("GNU", PROPERTY, content)).isa_level == level


@pytest.mark.compiler
def test_versions_and_symbols_of_this_hosts_files_are_those_that_pyelftools_reads() -> None:
    interesting = {"dlopen", "getaddrinfo", "iconv_open", "pthread_exit", "getpwnam", "setlocale", "system"}
    count = 0
    for path in some_files():
        ours = read_program(str(path)).elf
        assert ours is not None
        with path.open("rb") as file:
            theirs = ELFFile(file)
            needs: Any = theirs.get_section_by_name(".gnu.version_r")
            expected = [
                (need.name, entry.name)
                for need, entries in (needs.iter_versions() if needs else ())
                for entry in entries
            ]
            assert [(need.library, need.name) for need in ours.needed_versions] == expected, path
            definitions: Any = theirs.get_section_by_name(".gnu.version_d")
            if definitions is None:
                assert ours.defined_versions is None, path
            else:
                named = [
                    next(names).name for version, names in definitions.iter_versions() if version["vd_ndx"] > 1
                ]
                assert list(ours.defined_versions or ()) == named, path
            symbols: Any = theirs.get_section_by_name(".dynsym")
            undefined = {each.name for each in symbols.iter_symbols() if each["st_shndx"] == "SHN_UNDEF"}
            assert interesting & set(ours.imports) == interesting & undefined, path
        count += 1
    assert count > 20


ADDRESS = "int main(void) { return atoi == (void *)main || system(0) || dlopen(0, RTLD_NOW) == main; }"


@pytest.mark.compiler
@pytest.mark.parametrize("sections", [True, False], ids=["whole", "stripped"])
@pytest.mark.parametrize("style", ["gnu", "sysv", "both"])
@pytest.mark.parametrize("place", [["-pie"], ["-no-pie"], ["-no-pie", "-nostartfiles", "-Wl,-e,main"]])
def test_every_import_is_seen_whatever_the_hash_tables_hold(
    tmp_path: Path, place: list[str], style: str, *, sections: bool
) -> None:
    """A program at a fixed address has functions of others in its table; one that defines nothing has none."""
    program = tmp_path / "app"
    (tmp_path / "app.c").write_text(f"#include <dlfcn.h>\n#include <stdlib.h>\n{ADDRESS}\n")
    code = ["-fpie"] if "-pie" in place else ["-fno-pic"]
    linked = [*place, f"-Wl,--hash-style={style}", "-o", str(program), str(tmp_path / "app.c")]
    subprocess.run(["gcc", "-w", *code, *linked], check=True)
    expected = nm(program)
    assert {b"dlopen", b"system"} <= expected
    if not sections:
        whole = bytearray(program.read_bytes())
        # e_shoff; e_shnum and e_shstrndx: elf(5).
        whole[0x28:0x30], whole[0x3C:0x40] = bytes(8), bytes(4)
        program.write_bytes(whole)
    assert undefined(program) == expected
    facts = read_program(str(program)).elf
    assert facts is not None
    assert {"dlopen", "system"} <= set(facts.imports)


@pytest.mark.compiler
def test_the_imports_of_this_hosts_files_are_those_that_nm_shows() -> None:
    for path in some_files():
        assert undefined(path) == nm(path), path


@pytest.mark.compiler
def test_a_program_that_offers_very_many_symbols_tells_what_one_with_few_does(tmp_path: Path) -> None:
    """Their names take a megabyte; what is asked for stands wherever the linker put it."""
    names = (f"a_function_of_a_large_program_with_a_long_name_{each}" for each in range(20000))
    (tmp_path / "large.c").write_text(
        "#include <dlfcn.h>\n#include <stdlib.h>\nint Py_Main(void) { return 0; }\n"
        + "".join(f"int {name}(void) {{ return 0; }}\n" for name in names)
        + 'int main(void) { return system("x") + !dlopen("y", RTLD_NOW); }\n'
    )
    program = tmp_path / "large"
    subprocess.run(["gcc", "-w", "-rdynamic", "-o", str(program), str(tmp_path / "large.c")], check=True)
    facts = read_program(str(program)).elf
    assert facts is not None
    assert facts.needed == ("libc.so.6",)
    assert {"dlopen", "system"} <= set(facts.imports)
    assert facts.functions == ("Py_Main", "system")
    assert undefined(program) == nm(program)


def undefined(path: Path) -> set[bytes]:
    with path.open("rb") as file:
        records = Records(file, name=str(path))
        entries = records.dynamic() or ()
        texts = b"".join(piece for _, piece in records.strings(entries).pieces(0))
        starts = undefined_symbols(records, dict(entries))
    return {texts[start : texts.index(b"\0", start)] for start in starts} - {b""}


def nm(path: Path) -> set[bytes]:
    command = ["nm", "-D", "--undefined-only", "--without-symbol-versions", "-P", str(path)]
    done = subprocess.run(command, check=True, capture_output=True)
    return {line.split()[0] for line in done.stdout.splitlines()}


def some_files() -> Iterator[Path]:
    """Every seventh dynamic program of /usr/bin, and the libraries beside libc."""
    seen = set()
    for directory, step in (("/usr/bin", 7), (str(Path("/usr/lib") / f"{os.uname().machine}-linux-gnu"), 9)):
        for path in sorted(Path(directory).glob("*"))[::step]:
            real = path.resolve()
            if not real.is_file() or real in seen or not os.access(real, os.R_OK):
                continue
            seen.add(real)
            with real.open("rb") as file:
                if file.read(4) != b"\x7fELF":
                    continue
            facts = read_program(str(real)).elf
            if facts is not None and facts.dynamic:
                yield real
