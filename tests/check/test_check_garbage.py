"""Whatever a word leads to: `check`, as a whole process with little memory, finds an answer and no traceback."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from hypothesis import given, settings
from hypothesis import strategies as st

from rootless_scratch.elf.program import read_program
from rootless_scratch.elf.roots import HostRoot
from rootless_scratch.errors import ScratchError
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, Spec
from rootless_scratch.rules.image.images import judge_plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Home
    from hypothesis.strategies import DrawFn

MEBIBYTE = 1 << 20
GLIBC = "/lib64/ld-linux-x86-64.so.2"
REAL = Path("/bin/tar")

LIMITED = 'ulimit -v 204800 && ulimit -t 5 && exec "$0" -m rootless_scratch "$@"'
"""200 MB of address space, of which Python itself takes a fifth, and at the very most 5 s of a processor."""


def checked(home: Home, *subjects: str) -> tuple[int, dict[str, Any], str]:
    words = ["sh", "-c", LIMITED, sys.executable, "check", "--bundle-libraries", "--json", *subjects]
    done = subprocess.run(words, env=home.environment, cwd=home.path, capture_output=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr.decode()


def sparse(path: Path) -> None:
    path.write_bytes(tinyelf.elf(interpreter=GLIBC, needed=["libc.so.6"]))
    os.truncate(path, 4 << 30)


def sparse_without_end(path: Path) -> None:
    path.touch()
    os.truncate(path, 4 << 30)


def many_segments(path: Path) -> None:
    """More program headers than bytes, for the whole of the address space."""
    content = bytearray(REAL.read_bytes())
    content[56:58] = struct.pack("<H", 0xFFFF)
    path.write_bytes(content)


def many_names(path: Path) -> None:
    path.write_bytes(tinyelf.elf(interpreter=GLIBC, needed=["lib" + "x" * 4000] * 4000))


def many_libraries(path: Path) -> None:
    names = [f"lib{number}.so" for number in range(4000)]
    path.write_bytes(tinyelf.elf(interpreter=GLIBC, needed=names, runpath=":".join(f"/{n:x}" for n in range(800))))


def sections_without_end(path: Path) -> None:
    """The headers of sections, where symbols are looked for, are as many as there can be."""
    content = bytearray(REAL.read_bytes())
    content[40:48] = struct.pack("<Q", 64)
    content[60:64] = struct.pack("<HH", 0xFFFF, 0xFFFE)
    path.write_bytes(content)


def a_library_of_itself(path: Path) -> None:
    """Libraries that need each other, and a loader that is the program."""
    place = path.parent
    for own, other in (("liba.so", "libb.so"), ("libb.so", "liba.so")):
        content = tinyelf.elf(type=tinyelf.DYN, dynamic=True, needed=[other], runpath=str(place))
        (place / own).write_bytes(content)
    path.write_bytes(tinyelf.elf(interpreter=str(path), needed=["liba.so", path.name], runpath=str(place)))


def a_garbled_library(path: Path) -> None:
    (path.parent / "libgarbled.so").write_bytes(b"\x7fELF" + b"\xff" * 4096)
    path.write_bytes(tinyelf.elf(interpreter=GLIBC, needed=["libgarbled.so"], runpath=str(path.parent)))


def a_pipe_as_library(path: Path) -> None:
    os.mkfifo(path.parent / "libpipe.so")
    path.write_bytes(tinyelf.elf(interpreter=GLIBC, needed=["libpipe.so"], runpath=str(path.parent)))


def links_in_a_circle(path: Path) -> None:
    (path.parent / "libcircle.so").symlink_to("libcircle.so")
    path.write_bytes(tinyelf.elf(interpreter=GLIBC, needed=["libcircle.so"], runpath=str(path.parent)))


def a_line_without_end(path: Path) -> None:
    path.write_bytes(b"#!/" + b"x" * (80 * MEBIBYTE))


ANSWERED: dict[Callable[[Path], None], str | None] = {
    sparse: None,
    sparse_without_end: "not-a-program",
    many_segments: None,
    many_names: "needs-libraries",
    many_libraries: "needs-libraries",
    sections_without_end: None,
    a_library_of_itself: None,
    a_garbled_library: "needs-libraries",
    a_pipe_as_library: "needs-libraries",
    links_in_a_circle: "needs-libraries",
    a_line_without_end: "script-line-too-long",
}
"""What a file is made of, and the rule that must speak; None where any verdict will do."""


@pytest.mark.parametrize("make", ANSWERED, ids=lambda make: make.__name__)
def test_hostile_files_get_a_verdict_in_little_memory(
    shared_home: Home, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "program"
    make(path)
    code, answer, said = checked(shared_home, str(path))
    assert said == ""
    assert answer["verdict"] in {"starts", "fails", "unknown"}
    rules = [finding["rule"] for finding in answer["findings"]]
    assert ANSWERED[make] in (None, *rules), rules
    assert code == any(finding["severity"] == "error" for finding in answer["findings"])


def test_what_is_no_regular_file_is_an_error_and_nobody_waits_for_it(shared_home: Home, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "directory").mkdir()
    (tmp_path / "dangling").symlink_to("/no/such/file")
    names = ("pipe", "circle", "directory", "dangling")
    for subject in (*(str(tmp_path / name) for name in names), "/dev/null", "/dev/zero", "/dev/full"):
        code, answer, said = checked(shared_home, subject)
        assert (code, "Traceback" in said) == (1, False), said
        assert answer["error"]["fix"]


def test_truncated_real_programs_get_a_verdict(shared_home: Home, tmp_path: Path) -> None:
    content = REAL.read_bytes()
    ends = (0, 1, 4, 16, 63, 64, 100, 700, 4096, len(content) // 2, len(content) - 1)
    for end in ends:
        (tmp_path / f"{end}").write_bytes(content[:end])
    _, answer, said = checked(shared_home, *(str(tmp_path / f"{end}") for end in ends))
    assert said == ""
    assert [each["verdict"] for each in answer["subjects"][:-2]] == ["fails"] * (len(ends) - 2)


@st.composite
def mutated(draw: DrawFn) -> bytes:
    """A real program with a few bytes changed, most of them where its headers and tables lie."""
    content = bytearray(REAL.read_bytes())
    for _ in range(draw(st.integers(1, 6))):
        where = draw(st.sampled_from((64, 1000, 20_000, len(content))))
        offset = draw(st.integers(0, where - 1))
        raw = draw(st.binary(min_size=1, max_size=8) | st.sampled_from((b"\xff" * 8, bytes(8), b"\xff" * 4)))
        content[offset : offset + len(raw)] = raw
    return bytes(content)


ROOT = HostRoot()


@pytest.mark.slow
@settings(deadline=None, max_examples=150, database=None)
@given(mutated())
def test_mutated_real_programs_are_resolved_and_judged_or_refused(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            read_program(file.name)
            spec = Spec(programs=(Copy(source=file.name, destination="/app"),), bundle_libraries=True)
            findings = judge_plan(plan(spec, environ={}, root=ROOT))
        except ScratchError as error:
            # Most are ElfError; else it is a path that no image can have, or a loader that cannot be read.
            said = [error.message, error.fix]
        else:
            said = [text for finding in findings for text in (finding.message, finding.fix)]
        assert all(text and text.isprintable() for text in said)
