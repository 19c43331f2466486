"""What an ELF file says of itself, from files of a few hundred bytes that are made here."""

from __future__ import annotations

import io
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
import tinyelf

from rootless_scratch.elf.facts import ElfFacts, read_elf
from rootless_scratch.errors import ElfError

if TYPE_CHECKING:
    from pathlib import Path

GLIBC = "/lib64/ld-linux-x86-64.so.2"


def facts_of(content: bytes) -> ElfFacts:
    return read_elf(io.BytesIO(content))


def test_the_smallest_static_program_runs_and_its_facts_say_static(tmp_path: Path) -> None:
    program = tmp_path / "hello"
    program.write_bytes(tinyelf.hello(b"Hello World\n", exit_code=7))
    program.chmod(0o755)
    done = subprocess.run([program], capture_output=True, check=False)
    assert (done.stdout, done.returncode) == (b"Hello World\n", 7)
    facts = facts_of(program.read_bytes())
    assert facts.static
    assert facts.entry_loaded
    assert (facts.type, facts.machine, facts.bits, facts.byte_order) == ("EXEC", "x86_64", 64, "little")
    assert (facts.interpreter, facts.needed, facts.dynamic, facts.pie) == (None, (), False, False)
    assert not facts.truncated


def test_a_dynamic_program_names_its_loader_its_libraries_and_where_to_look_for_them() -> None:
    facts = facts_of(
        tinyelf.elf(
            interpreter=GLIBC,
            needed=["libm.so.6", "libc.so.6"],
            soname="me.so",
            rpath="/old",
            runpath="$ORIGIN/../lib",
            flags_1=tinyelf.PIE | tinyelf.NODEFLIB,
            debug_tag=True,
            type=tinyelf.DYN,
        )
    )
    assert facts.interpreter == GLIBC
    assert facts.needed == ("libm.so.6", "libc.so.6")
    assert (facts.soname, facts.rpath, facts.runpath) == ("me.so", "/old", "$ORIGIN/../lib")
    assert facts.pie
    assert facts.debug_tag
    assert facts.flags_1 & tinyelf.NODEFLIB
    assert not facts.static


def test_a_static_pie_has_a_dynamic_section_and_is_static() -> None:
    facts = facts_of(tinyelf.elf(type=tinyelf.DYN, flags_1=tinyelf.PIE))
    assert facts.dynamic
    assert facts.static


def test_a_name_that_is_not_utf8_survives() -> None:
    name = b"lib\xff.so".decode("utf-8", "surrogateescape")
    assert facts_of(tinyelf.elf(needed=[name])).needed == (name,)


@pytest.mark.parametrize(
    ("machine", "platform"),
    [
        ("x86_64", "linux/amd64"),
        ("i386", "linux/386"),
        ("aarch64", "linux/arm64/v8"),
        ("arm", "linux/arm"),
        ("riscv64", "linux/riscv64"),
        ("ppc64le", "linux/ppc64le"),
        ("ppc64", "linux/ppc64"),
        ("s390x", "linux/s390x"),
    ],
)
def test_the_platform_comes_from_the_header_whatever_its_byte_order_and_word_size(
    machine: str, platform: str
) -> None:
    facts = facts_of(tinyelf.elf(machine=machine, interpreter="/lib/ld.so.1", needed=["libc.so.6"]))
    assert facts.machine == machine
    assert str(facts.platform) == platform
    assert (facts.interpreter, facts.needed) == ("/lib/ld.so.1", ("libc.so.6",))
    assert facts.entry_loaded


def test_a_processor_without_a_name_is_a_number_and_has_no_platform() -> None:
    facts = facts_of(tinyelf.elf(machine_number=0x1234))
    assert (facts.machine, facts.platform) == ("unknown-0x1234", None)


@pytest.mark.parametrize(("cpu_arch", "variant"), [(4, "v5"), (6, "v6"), (10, "v7"), (14, "v8")])
def test_the_arm_version_comes_from_the_build_attributes(cpu_arch: int, variant: str) -> None:
    facts = facts_of(tinyelf.elf(machine="arm", tail=tinyelf.arm_attributes(cpu_arch)))
    assert str(facts.platform) == f"linux/arm/{variant}"


def test_the_arm_version_of_a_go_program_comes_from_goarm() -> None:
    data = tinyelf.go_build_info(GOARM="6,hardfloat", GOARCH="arm")
    facts = facts_of(tinyelf.elf(machine="arm", data=data))
    assert str(facts.platform) == "linux/arm/v6"


@pytest.mark.parametrize(
    ("content", "system"),
    [
        (tinyelf.elf(os_abi=9), "freebsd"),
        (tinyelf.elf(notes=[tinyelf.note("NetBSD", 1, b"\0\0\0\0")]), "netbsd"),
        (tinyelf.elf(data=tinyelf.go_build_info(GOOS="openbsd")), "openbsd"),
        (tinyelf.elf(os_abi=3), "linux"),
    ],
)
def test_the_operating_system_comes_from_the_header_a_note_or_go(content: bytes, system: str) -> None:
    platform = facts_of(content).platform
    assert platform is not None
    assert platform.os == system


def test_the_build_id_is_read_from_among_other_notes() -> None:
    notes = [tinyelf.note("GNU", 1, bytes(16)), tinyelf.note("GNU", 3, bytes.fromhex("c0ffee"))]
    assert facts_of(tinyelf.elf(notes=notes)).build_id == "c0ffee"


def test_go_build_info_tells_version_package_modules_and_settings() -> None:
    data = bytes(64) + tinyelf.go_build_info(
        "go1.22.1", path="example.com/cmd", CGO_ENABLED="0", _buildmode="pie", _ldflags='"-s -w"'
    )
    go = facts_of(tinyelf.elf(data=data)).go
    assert go is not None
    assert (go.version, go.path) == ("go1.22.1", "example.com/cmd")
    assert ("golang.org/x/sys", "v0.1.0") in go.modules
    assert (go.setting("CGO_ENABLED"), go.setting("-buildmode")) == ("0", "pie")
    assert go.setting("-ldflags") == "-s -w"
    assert go.setting("GOARM") is None


def test_go_build_info_of_old_compilers_is_followed_through_its_pointers() -> None:
    go = facts_of(tinyelf.elf(data=tinyelf.go_build_info_by_pointers("go1.17.5"))).go
    assert go is not None
    assert (go.version, go.path, go.settings) == ("go1.17.5", "example.com/hello", ())


def test_go_build_info_is_found_behind_megabytes_of_data() -> None:
    go = facts_of(tinyelf.elf(data=bytes(5 << 20) + tinyelf.go_build_info())).go
    assert go is not None
    assert go.version == "go1.22.1"


def test_the_magic_of_go_build_info_at_an_odd_address_is_only_text() -> None:
    assert facts_of(tinyelf.elf(data=b"12345678" + tinyelf.go_build_info())).go is None


def test_a_go_program_without_build_info_is_known_by_its_note() -> None:
    go = facts_of(tinyelf.elf(notes=[tinyelf.note("Go", 4, b"a/b/c/d")])).go
    assert go is not None
    assert go.version is None


@pytest.mark.parametrize("garbled", [b"\xff Go buildinf:", b"\xff Go buildinf:\x08\x02" + b"\xff" * 60])
def test_garbled_go_build_info_still_says_that_it_is_go(garbled: bytes) -> None:
    go = facts_of(tinyelf.elf(data=garbled)).go
    assert go is not None
    assert go.path is None


def test_rust_is_known_by_the_compilers_signature() -> None:
    tail = tinyelf.comment("GCC: (Debian) 12.2.0", "rustc version 1.75.0 (82e1608df 2023-12-21)")
    facts = facts_of(tinyelf.elf(tail=tail))
    assert facts.rust is not None
    assert facts.rust.version == "1.75.0"
    assert facts.producers[0] == "GCC: (Debian) 12.2.0"


@pytest.mark.parametrize(
    "path", [b"/rustc/82e1608dfa6e/library/std/src/io.rs", b"/usr/src/rustc-1.63.0/library/core/src/a"]
)
def test_rust_is_known_by_the_file_names_in_its_panic_messages(path: bytes) -> None:
    facts = facts_of(tinyelf.elf(interpreter=GLIBC, needed=["libc.so.6"], code=bytes(200_000) + path))
    assert facts.rust is not None
    assert facts.rust.version is None


def test_a_program_that_only_speaks_of_rustc_is_not_rust() -> None:
    facts = facts_of(tinyelf.elf(interpreter=GLIBC, needed=["libc.so.6"], code=b"see /rustc/ and rustc"))
    assert facts.rust is None


def test_upx_is_known_by_its_signature_and_the_lack_of_section_headers() -> None:
    packed = tinyelf.elf(code=b"\xf4abcUPX!\x0d\x0c")
    assert facts_of(packed).upx
    unpacked = bytearray(packed)
    unpacked[60:62] = struct.pack("<H", 20)
    assert not facts_of(bytes(unpacked)).upx


def test_a_truncated_file_still_gives_its_facts() -> None:
    whole = tinyelf.elf(interpreter=GLIBC, needed=["libc.so.6"], code=bytes(5000))
    facts = facts_of(whole[:4000])
    assert facts.truncated
    assert (facts.file_size, facts.file_size_needed) == (4000, len(whole))


def changed(offset: int, raw: bytes, **options: str) -> bytes:
    content = bytearray(tinyelf.elf(**options))  # type: ignore[arg-type] # only texts are passed on
    content[offset : offset + len(raw)] = raw
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "magic number"),
        (b"\x7fELF", "ends after 4 bytes"),
        (tinyelf.hello()[:50], "ends after 50 bytes"),
        (changed(4, b"\x07"), "neither a word size nor a byte order"),
        (changed(5, b"\x00"), "neither a word size nor a byte order"),
        (changed(54, b"\x09\x00"), "9 bytes long each"),
        (changed(56, b"\x00\x00"), "has no program headers"),
        (changed(56, b"\xff\xff"), "65535 program headers"),
        (changed(32, b"\xff" * 8), "beyond the end of the file"),
        (changed(64 + 56 + 32, b"\xff" * 8, interpreter="/l"), "bytes long"),
        (changed(64 + 56 + 32, b"\x03", interpreter="/lib/ld.so"), "does not end"),
    ],
)
def test_what_no_kernel_could_read_is_an_error_that_says_why(content: bytes, cause: str) -> None:
    with pytest.raises(ElfError) as caught:
        read_elf(io.BytesIO(content), name="'x'")
    assert caught.value.message.startswith("'x' cannot be read as an ELF program: ")
    assert cause in caught.value.message
    assert caught.value.fix


def test_a_library_name_outside_the_string_table_is_an_error() -> None:
    content = tinyelf.elf(needed=["libc.so.6"])
    garbled = content.replace(struct.pack("<QQ", 1, 1), struct.pack("<QQ", 1, 1 << 40))
    assert garbled != content
    with pytest.raises(ElfError, match="outside the string table"):
        facts_of(garbled)
