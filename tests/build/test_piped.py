"""A program that comes by stdin and an archive that goes to stdout, as pipelines have them."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import tarfile
import time
from typing import TYPE_CHECKING

import pytest
import tinyelf

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

PROGRAM = [sys.executable, "-m", "rootless_scratch"]


def streamed(home: Home, *words: str) -> list[str]:
    """The names in the archive that a call sends to stdout."""
    done = home.cli(*words)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr, "the digest or the ID is told"
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        return archive.getnames()


def test_an_archive_goes_to_stdout_and_nothing_else_does(shared_home: Home, tmp_path: Path) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    built = shared_home.cli("build", program, "-o", "docker-archive:-:hello:1")
    written = shared_home.json("build", program, "-o", f"docker-archive:{tmp_path}/image.tar:hello:1")
    assert built.stdout == (tmp_path / "image.tar").read_bytes()
    assert built.stderr.decode() == f"{written['image_id']}\n"
    assert "index.json" in streamed(shared_home, "build", program, "-o", "oci-archive:-")
    words = ("-o", f"oci:{tmp_path}/layout", "-o", "oci-archive:-:v1")
    assert "index.json" in streamed(shared_home, "build", program, *words)
    for place, name in (
        ("-", "manifest.json"),
        ("docker-archive:-:x", "manifest.json"),
        ("oci-archive:-", "index.json"),
    ):
        assert name in streamed(shared_home, "save", f"oci:{tmp_path}/layout", "-o", place)
    assert "index.json" in streamed(shared_home, "push", f"oci:{tmp_path}/layout", "oci-archive:-")
    quiet = shared_home.cli("save", "-q", f"oci:{tmp_path}/layout", "-o", "-")
    assert (quiet.returncode, quiet.stderr) == (0, b"")
    assert not (shared_home.path / "-").exists()
    assert shared_home.temporary_files() == []


@pytest.mark.podman
@pytest.mark.parametrize("kind", ["docker-archive:-:piped:1", "oci-archive:-:piped:1"])
def test_podman_loads_what_comes_out_of_a_pipe(fresh_home: Home, tmp_path: Path, kind: str) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    fresh_home.run(["sh", "-c", '"$@" | podman load', "sh", *PROGRAM, "build", program, "-o", kind])
    assert fresh_home.cli("run", "piped:1").stdout == b"Hello World\n"


def test_stdout_takes_one_archive_and_is_no_terminal(shared_home: Home, tmp_path: Path) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    for words, said in (
        (("-o", "docker-archive:-", "-o", "oci-archive:-"), b"are both stdout"),
        (("-o", "docker-archive:-", "--json"), b"--json prints on stdout"),
        (("-o", "oci:-"), b"names no file"),
    ):
        done = shared_home.cli("build", program, *words)
        assert done.returncode == 2, words
        assert said in done.stderr
    ours, terminal = pty.openpty()
    for words in (("build", program, "-o", "docker-archive:-"), ("build", "-", "-t", "typed")):
        argv = [*PROGRAM, *words]
        done = subprocess.run(
            argv, env=shared_home.environment, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, check=False
        )
        assert done.returncode == 2
        assert b"is a terminal" in done.stderr
    os.close(terminal)
    os.close(ours)
    plan = shared_home.cli("build", program, "-o", "docker-archive:-", "--dry-run")
    assert plan.stdout.startswith(b"{")


def test_a_reader_that_goes_and_a_full_disk_end_it_and_leave_nothing(shared_home: Home, tmp_path: Path) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    (tmp_path / "large").write_bytes(os.urandom(4 << 20))
    words = ["build", program, "--copy", f"{tmp_path}/large:/large", "-o", "docker-archive:-"]
    argv = [*PROGRAM, *words]
    with subprocess.Popen(argv, env=shared_home.environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.read(1)
        child.stdout.close()
    assert child.returncode == 128 + signal.SIGPIPE
    with open("/dev/full", "wb") as full:
        done = subprocess.run(argv, env=shared_home.environment, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert b"The output cannot be written: No space left" in done.stderr
    assert shared_home.temporary_files() == []
    with subprocess.Popen(argv, env=shared_home.environment, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.read(1)
        child.kill()
    for left in shared_home.temporary_files():
        os.utime(left, (0, time.time() - 100))
    assert shared_home.cli("build", program, "-o", f"oci:{tmp_path}/after").returncode == 0
    assert shared_home.temporary_files() == []


def test_a_program_from_stdin_is_the_image_of_its_file(shared_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "hello")
    content = program.read_bytes()
    words = ("-o", f"oci:{tmp_path}/layout", "-t", "registry.example.com/team/hello:1.0", "--backend", "direct")
    places = (("-", "/hello"), ("/dev/stdin", "/hello"), ("/dev/stdin:/usr/bin/it", "/usr/bin/it"))
    for word, place in places:
        argv = (
            "build",
            word,
            *(words if word == "-" else words[:2]),
            *(("-t", "hello") if word == "/dev/stdin" else ()),
        )
        done = shared_home.cli(*argv[:4], "--dry-run", *argv[4:], input=content)
        assert f'"path": "{place}"'.encode() in done.stdout
    built = shared_home.cli("build", "/dev/stdin:/hello", "-o", f"oci:{tmp_path}/piped", input=content)
    by_file = shared_home.json("build", str(program), "-o", f"oci:{tmp_path}/named")
    assert built.stdout.decode().strip() == by_file["image_id"]
    assert shared_home.temporary_files() == []


@pytest.mark.buildah
def test_a_pipeline_builds_and_names(shared_home: Home, tmp_path: Path) -> None:
    content = tinyelf.write(tmp_path / "hello").read_bytes()
    answer = shared_home.json("build", "-", "-t", "team/piped:2", input=content)
    assert [file["path"] for file in shared_home.json("inspect", answer["image_id"])["files"]] == ["/piped"]


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", 1, "- is empty."),
        (b"some text\n", 1, "- is a text file"),
        (tinyelf.elf(needed=("libc.so.6",)), 1, "- needs the library libc.so.6"),
        (tinyelf.hello()[:70], 1, "-"),
    ],
)
def test_what_is_wrong_with_it_is_said_of_stdin(shared_home: Home, content: bytes, code: int, said: str) -> None:
    done = shared_home.cli("build", "-", "-t", "wrong", input=content)
    assert done.returncode == code
    assert said in done.stderr.decode()
    assert "rootless-scratch-" not in done.stderr.decode(), "no name of a private file"
    assert shared_home.temporary_files() == []


def test_stdin_needs_a_name_and_is_one_program(shared_home: Home, tmp_path: Path) -> None:
    nameless = shared_home.cli("build", "-", "-o", f"oci:{tmp_path}/layout", input=tinyelf.hello())
    assert (nameless.returncode, b"/dev/stdin:/PATH" in nameless.stderr) == (2, True)
    twice = shared_home.cli("build", "-", "/dev/stdin:/b", "-t", "a", input=tinyelf.hello())
    assert (twice.returncode, b"one program, and not two" in twice.stderr) == (2, True)
