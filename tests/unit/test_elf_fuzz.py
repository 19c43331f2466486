"""Whatever the bytes: facts or an ElfError, and never more than a bounded part of the file is read."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import pytest
import tinyelf
from hypothesis import given, settings
from hypothesis import strategies as st
from planning import Present

from rootless_scratch.elf.facts import ElfFacts, read_elf
from rootless_scratch.elf.identity import FileIdentity
from rootless_scratch.elf.program import ProgramFacts, read_program
from rootless_scratch.errors import ElfError
from rootless_scratch.rules.program.programs import judge_program, verdict
from rootless_scratch.rules.view import Surroundings

if TYPE_CHECKING:
    from pathlib import Path

    from hypothesis.strategies import DrawFn

MEBIBYTE = 1 << 20

# No time is asserted, and nothing is kept in the source tree.
FUZZ = settings(deadline=None, max_examples=500, database=None)

GLIBC = "/lib64/ld-linux-x86-64.so.2"
SEEDS = (
    tinyelf.hello(),
    tinyelf.elf(interpreter=GLIBC, needed=["libc.so.6"], runpath="$ORIGIN", flags_1=tinyelf.PIE, type=tinyelf.DYN),
    tinyelf.elf(machine="arm", needed=["libc.so.6"], tail=tinyelf.arm_attributes(10)),
    tinyelf.elf(machine="s390x", soname="x", notes=[tinyelf.note("GNU", 3, b"12345678", byte_order="big")]),
    tinyelf.elf(data=tinyelf.go_build_info(CGO_ENABLED="1"), notes=[tinyelf.note("Go", 4, b"id")]),
    tinyelf.elf(data=tinyelf.go_build_info_by_pointers(), interpreter=GLIBC),
    tinyelf.elf(tail=tinyelf.comment("rustc version 1.75.0 (x)")),
    tinyelf.elf(
        notes=[
            tinyelf.note("GNU", 5, struct.pack("<IIII", 0xC0008002, 4, 3, 0)),
            tinyelf.note("FDO", 0x407C0C0A, b'[{"soname":["liba.so"]}]'),
        ]
    ),
    tinyelf.elf(type=tinyelf.DYN, soname="ld-linux-x86-64.so.2", code=b"\0/lib/\0/usr/lib/\0\0"),
)
EDGES = (0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


class CountingFile(io.BytesIO):
    """A file of the given size that knows how many bytes were read; behind its content it is all zeros."""

    def __init__(self, content: bytes, size: int) -> None:
        super().__init__(content)
        self.total = size
        self.position = 0
        self.count = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = self.total + offset if whence == io.SEEK_END else offset
        return self.position

    def read(self, size: int | None = -1) -> bytes:
        left = max(self.total - self.position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        self.count += wanted
        super().seek(self.position)
        found = super().read(wanted)
        self.position += wanted
        return found + bytes(wanted - len(found))


def judged(elf: ElfFacts) -> str:
    identity = FileIdentity(device=0, inode=0, size=elf.file_size, mtime_ns=0, ctime_ns=0)
    facts = ProgramFacts(path="x", identity=identity, mode=0o755, kind="elf", elf=elf)
    findings = judge_program(facts, subject="x", around=Surroundings(root=Present(GLIBC)))
    assert all(
        finding.message.isprintable() and finding.fix.isprintable() and finding.message.endswith(".")
        for finding in findings
    )
    return verdict(findings)


def read_and_judge(content: bytes) -> None:
    try:
        facts = read_elf(io.BytesIO(content))
    except ElfError:
        return
    assert judged(facts) in {"starts", "fails", "unknown"}


@st.composite
def mutated(draw: DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        offset = draw(st.integers(0, len(content) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                content[offset] = draw(st.integers(0, 255))
            case 1:
                raw = struct.pack("<Q", draw(st.sampled_from(EDGES)))[: draw(st.sampled_from((2, 4, 8)))]
                content[offset : offset + len(raw)] = raw
            case 2:
                other = draw(st.integers(0, len(content) - 1))
                content[offset : offset + 8] = content[other : other + 8]
            case _:
                del content[max(offset, 16) :]
    return bytes(content)


@pytest.mark.slow
@FUZZ
@given(st.binary(max_size=2000))
def test_any_bytes_behind_the_magic_number_give_facts_or_an_elf_error(content: bytes) -> None:
    read_and_judge(content)
    read_and_judge(b"\x7fELF" + content)
    read_and_judge(tinyelf.hello()[:64] + content)


@FUZZ
@given(mutated())
def test_a_mutated_program_gives_facts_or_an_elf_error(content: bytes) -> None:
    read_and_judge(content)


@pytest.mark.slow
def test_every_byte_and_every_length_of_small_programs_gives_facts_or_an_elf_error() -> None:
    for seed in SEEDS:
        content = seed[:700]
        for offset in range(len(content)):
            read_and_judge(content[:offset])
            for value in (0x00, 0xFF):
                read_and_judge(content[:offset] + bytes([value]) + content[offset + 1 :])


def header_with(count: int, program_headers: bytes) -> bytes:
    content = bytearray(tinyelf.elf())[:64]
    content[56:58] = struct.pack("<H", count)
    return bytes(content) + program_headers


def program_header(kind: int, offset: int, address: int, size: int, flags: int = 6) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, flags, offset, address, address, size, size, 4)


def hostile_segments() -> bytes:
    """As many program headers as the kernel takes, each for the whole of a file of 4 GB, all overlapping."""
    kinds = [program_header(1, 0, 0x400000, 4 << 30, flags=4)] * 600
    kinds += [program_header(1, 0, 0x400000, 4 << 30)] * 269
    kinds += [program_header(4, 64, 0x400000, 4 << 30)] * 300
    kinds.append(program_header(3, 64 + 56 * 1170, 0, 8))
    return header_with(1170, b"".join(kinds)) + b"/ld.so\0\0"


def hostile_names() -> bytes:
    """Thousands of libraries whose names are all the same four thousand bytes."""
    return tinyelf.elf(interpreter=GLIBC, needed=["lib" + "x" * 4000] * 4000)


def hostile_paths() -> bytes:
    """Thousands of libraries, and hundreds of directories to look for each of them."""
    names = [f"lib{number}.so" for number in range(4000)]
    return tinyelf.elf(interpreter=GLIBC, needed=names, runpath=":".join(f"/{n:x}" for n in range(800)))


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (hostile_segments(), 4 << 30),
        (hostile_names(), 30 * MEBIBYTE),
        (hostile_paths(), 30 * MEBIBYTE),
        (tinyelf.elf(interpreter=GLIBC, needed=["libc.so.6"], code=bytes(60 * MEBIBYTE)), 60 * MEBIBYTE),
        (tinyelf.elf(data=b"\xff Go buildinf:\0\0" * MEBIBYTE), 20 * MEBIBYTE),
        (tinyelf.elf(type=tinyelf.CORE), 1 << 62),
    ],
    ids=["segments", "names", "paths", "scan", "go-magic", "core"],
)
def test_hostile_headers_do_not_make_us_read_more_than_a_bounded_part(content: bytes, size: int) -> None:
    file = CountingFile(content, size)
    try:
        facts = read_elf(file)
    except ElfError:
        pass
    else:
        judged(facts)
    assert file.count < 48 * MEBIBYTE


def test_a_sparse_file_of_four_gigabytes_is_read_at_once(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.write(tinyelf.elf(interpreter=GLIBC, needed=["libc.so.6"]))
        file.truncate(4 << 30)
    facts = read_program(str(sparse))
    assert facts.elf is not None
    assert facts.elf.needed == ("libc.so.6",)
    assert facts.identity.size == 4 << 30
