"""Reading one program file of the host: what is no readable file is refused with its own cause and fix."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import tinyelf
from planning import Present

from rootless_scratch.elf.program import read_program
from rootless_scratch.errors import ElfError, SourceError
from rootless_scratch.rules.program.programs import judge_program
from rootless_scratch.rules.view import Surroundings

GLIBC = "/lib64/ld-linux-x86-64.so.2"


def put(directory: Path, content: bytes, name: str = "app") -> str:
    file = directory / name
    file.write_bytes(content)
    return str(file)


def test_a_missing_file_is_answered_with_the_name_that_was_meant(tmp_path: Path) -> None:
    path = put(tmp_path, tinyelf.hello(), "helloworld")
    with pytest.raises(SourceError, match="does not exist") as caught:
        read_program(str(tmp_path / "heloworld"))
    assert caught.value.fix == f"Did you mean {path!r}?"


def test_a_missing_directory_a_dangling_link_and_a_circle_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    file = put(tmp_path, b"x", "file")
    for path, cause, fix in (
        (f"{tmp_path}/none/app", "does not exist", "does not exist either"),
        (f"{tmp_path}/dangling", "symbolic link to 'nowhere'", "Correct the link"),
        (f"{tmp_path}/circle", "form a loop", "Correct"),
        (f"{file}/app", "not a directory", "Check"),
        ("a\0b", "NUL", "Check"),
        ("", "does not exist", "Check"),
        ("x" * 5000, "too long", "Check"),
    ):
        with pytest.raises(SourceError) as caught:
            read_program(path)
        assert cause in caught.value.message
        assert fix in caught.value.fix


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    for path, cause in (
        (str(pipe), "is a pipe"),
        (str(tmp_path / "socket"), "is a socket"),
        ("/dev/null", "is a device"),
        (str(tmp_path), "is a directory"),
    ):
        with pytest.raises(SourceError, match=cause) as caught:
            read_program(path)
        assert caught.value.fix


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, tinyelf.hello())
    Path(path).chmod(0)
    with pytest.raises(SourceError, match="permission denied"):
        read_program(path)


def test_a_symbolic_link_is_followed_and_the_identity_is_the_targets(tmp_path: Path) -> None:
    target = put(tmp_path, tinyelf.hello(), "target")
    (tmp_path / "link").symlink_to("target")
    Path(target).chmod(0o700)
    facts = read_program(str(tmp_path / "link"))
    status = Path(target).stat()
    assert (facts.identity.inode, facts.identity.size) == (status.st_ino, status.st_size)
    assert facts.mode == 0o700


def test_names_with_newlines_and_other_bytes_are_read(tmp_path: Path) -> None:
    name = b" -o a\n'\xff".decode("utf-8", "surrogateescape")
    facts = read_program(put(tmp_path, tinyelf.elf(interpreter=GLIBC), name))
    assert facts.elf is not None
    (finding,) = judge_program(facts, subject=name, around=Surroundings(root=Present()))
    assert finding.message.isprintable()


def test_a_garbled_elf_file_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = put(tmp_path, tinyelf.hello()[:40])
    with pytest.raises(ElfError) as caught:
        read_program(path)
    assert repr(path) in caught.value.message
    assert "ends after 40 bytes" in caught.value.message
