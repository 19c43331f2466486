"""Limits of a process, full disks and closed directories: each is told as what it is, with what can be done."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import pytest
import tinyelf

from rootless_scratch import command
from rootless_scratch.errors import BuildError
from rootless_scratch.ship.refusals import judge_refusal
from rootless_scratch.troubles import trouble_in, trouble_met

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from conftest import Home

GO_MEMORY = """\
fatal error: failed to reserve page summary memory

runtime stack:
runtime.throw({0xfbd1d7?, 0x7fff7e99a6d0?})
\t/usr/lib/go-1.19/src/runtime/panic.go:1047 +0x5d fp=0x7fff7e99a680 sp=0x7fff7e99a650 pc=0x43e6bd

goroutine 0 [idle]:
\truntime/asm_amd64.s:345 +0x11c fp=0x7ffe8a6182c8 sp=0x7ffe8a6182c0 pc=0x475cfc
"""
GO_THREAD = """\
runtime/cgo: pthread_create failed: Resource temporarily unavailable
SIGABRT: abort
PC=0x7f63713b2eec m=0 sigcode=18446744073709551610

goroutine 0 [idle]:
\truntime/asm_amd64.s:345 +0x11c
"""
GO_CRASH = """\
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x1]

goroutine 1 [running]:
main.main()
\t/src/main.go:7 +0x1d
"""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (GO_MEMORY, "too little memory"),
        (GO_THREAD, "No more threads"),
        ("fatal error: runtime: out of memory\n", "too little memory"),
        ("Traceback (most recent call last):\nMemoryError\n", "too little memory"),
        ("Error: open /x/storage.lock: too many open files\n", "ulimit -n"),
        ("Error: write /x: file too large\n", "ulimit -f"),
        ("Error: writing blob: write /x: no space left on device\n", "no space left"),
        ("Error: write /x: disk quota exceeded\n", "no space left"),
        ("Error: mkdir /run/user/7/libpod: read-only file system\n", "/run/user/7/libpod cannot be written"),
    ],
)
def test_whoever_says_it_it_is_told_alike(said: str, told: str) -> None:
    found = trouble_in(said)
    assert found is not None
    assert told in found.cause
    refusal = judge_refusal(said, name="host/name:tag")
    assert (refusal.cause, refusal.fix, refusal.passing) == (found.cause, found.fix, False)
    error = command.failed(["skopeo", "copy"], exit_code=2, stderr=said.encode())
    assert told.lower() in error.message.lower()
    assert error.fix == found.fix
    assert "goroutine" not in error.message


@pytest.mark.parametrize(
    "said", ["", "Error: denied", "Error: exec /x: permission denied", "hello: out of memory"]
)
def test_what_has_another_cause_is_not_taken_for_a_limit(said: str) -> None:
    assert trouble_in(said) is None


def test_a_crash_of_another_kind_is_told_by_its_first_line() -> None:
    error = command.failed(["skopeo", "copy"], exit_code=2, stderr=GO_CRASH.encode())
    assert "panic: runtime error: invalid memory address or nil pointer dereference" in error.message


def test_a_limit_is_found_behind_what_came_of_it() -> None:
    limit = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    error = BuildError("The image cannot be written.", fix="Name another directory.")
    error.__cause__ = limit
    found = trouble_met(error)
    assert found is not None
    assert "ulimit -n" in found.cause
    assert trouble_met(BuildError("x", fix="y")) is None
    assert trouble_met(OSError(errno.ENOENT, "no")) is None


def words_of(home: Home, place: Path) -> dict[str, list[str]]:
    """One call of each verb that starts something, all of which work."""
    program = str(tinyelf.write(place / "limited"))
    assert home.cli("build", "-q", program, "-t", "limited", "-o", f"oci:{place}/layout").returncode == 0
    return {
        "build -t": ["build", program, "-t", "new"],
        "build -o": ["build", program, "-o", f"oci:{place}/new"],
        "build -t -o": ["build", program, "-t", "new", "-o", f"oci:{place}/both"],
        "run": ["run", "limited"],
        "debug": ["debug", "limited", "--exec", "true"],
        "save": ["save", "limited", "-o", f"{place}/saved.tar"],
        "push": ["push", f"oci:{place}/layout", "docker://localhost:1/limited", "--retries", "0"],
        "check": ["check", "localhost/limited"],
        "inspect": ["inspect", "limited"],
    }


def limited(home: Home, limit: str, words: list[str]) -> subprocess.CompletedProcess[bytes]:
    call = [sys.executable, "-m", "rootless_scratch", *words]
    return home.run(["sh", "-c", f'ulimit -S {limit} && exec "$@"', "sh", *call], check=False)


@pytest.mark.podman
def test_too_little_memory_is_told_by_every_verb_that_meets_it(fresh_home: Home, tmp_path: Path) -> None:
    for verb, words in words_of(fresh_home, tmp_path).items():
        for memory in (100_000, 400_000):
            done = limited(fresh_home, f"-v {memory}", words)
            if verb == "build -o":
                assert done.returncode == 0, done.stderr
                continue
            told(done, words, b"`ulimit -v`")
            assert b"runtime" not in done.stderr, done.stderr
            assert b"Run it again" not in done.stderr


@pytest.mark.podman
def test_too_few_descriptors_are_told_by_every_verb_that_meets_them(fresh_home: Home, tmp_path: Path) -> None:
    for words in words_of(fresh_home, tmp_path).values():
        done = limited(fresh_home, "-n 5", words)
        told(done, words, b"`ulimit -n`")
        assert b"ake room" not in done.stderr
        for count in (6, 7, 9, 11, 13):
            done = limited(fresh_home, f"-n {count}", words)
            if done.returncode != 0 and b"localhost:1" not in done.stderr:
                told(done, words, b"`ulimit -n`")


@pytest.mark.podman
def test_a_limit_of_file_sizes_is_told(fresh_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "large")
    with program.open("ab") as file:
        file.write(os.urandom(3_000_000))
    assert fresh_home.cli("build", "-q", str(program), "-t", "large").returncode == 0
    for words in (
        ["build", str(program), "-t", "new"],
        ["build", str(program), "-o", f"oci:{tmp_path}/new"],
        ["save", "large", "-o", f"{tmp_path}/saved.tar"],
        ["push", "large", "docker://localhost:1/large", "--retries", "0"],
    ):
        told(limited(fresh_home, "-f 1000", words), words, b"`ulimit -f`")


IN_SMALL = 'mount -t tmpfs -o size={size} none "$0" && {first} && {name}="$0" exec "$@"'


def in_small(
    home: Home, place: Path, words: list[str], *, name: str, first: str = ":", size: str = "2m"
) -> subprocess.CompletedProcess[bytes]:
    """A call whose variable `name` names a file system of that size, in the namespace of this user's storage."""
    place.mkdir(exist_ok=True)
    unshare = ["unshare", "--mount"] if os.getuid() == 0 else ["buildah", "unshare"]
    script = IN_SMALL.format(size=size, first=first, name=name)
    call = [sys.executable, "-m", "rootless_scratch", *words]
    return home.run([*unshare, "sh", "-c", script, str(place), *call], check=False)


@pytest.mark.podman
def test_a_full_disk_is_told_by_save_and_push_in_our_own_words(fresh_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "large")
    with program.open("ab") as file:
        file.write(os.urandom(5_000_000))
    assert fresh_home.cli("build", "-q", str(program), "-t", "large").returncode == 0
    for words in (
        ["save", "large", "-o", f"{tmp_path}/saved.tar"],
        ["push", "large", "docker://localhost:1/large", "--retries", "0"],
    ):
        done = in_small(fresh_home, tmp_path / "small", words, name="TMPDIR")
        told(done, words, b"no space left where images are read and written")
        assert b"podman image prune" in done.stderr
        assert b"by hand" not in done.stderr
        assert not (tmp_path / "saved.tar").exists()


@pytest.mark.podman
def test_a_full_state_directory_is_told_by_run_and_debug(fresh_home: Home, tmp_path: Path) -> None:
    words = words_of(fresh_home, tmp_path)
    full = 'mkdir -p "$0/rootless-scratch/runs" && { cat /dev/zero >"$0/fill" 2>/dev/null || :; }'
    many = '{ i=0; while touch "$0/$i"; do i=$((i+1)); done; } 2>/dev/null || :'
    inodes = f'mkdir -p "$0/rootless-scratch/runs" && {many}'
    for verb in ("run", "debug"):
        for first, size in ((full, "64k"), (inodes, "64k,nr_inodes=20")):
            place = tmp_path / "state"
            done = in_small(fresh_home, place, words[verb], name="XDG_STATE_HOME", first=first, size=size)
            told(done, words[verb], b"where owners of containers are noted, cannot be used: No space left")
            assert b"Make room there" in done.stderr


@pytest.mark.podman
def test_a_runtime_directory_that_cannot_be_written_to_is_passed_over(fresh_home: Home, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    for verb, words in words_of(fresh_home, tmp_path).items():
        done = fresh_home.cli(*words, environment={"XDG_RUNTIME_DIR": str(closed)})
        assert b"Run it again" not in done.stderr
        if verb != "push":
            assert done.returncode == 0, done.stderr
        if verb in ("build -t", "run", "debug", "save"):
            assert f"note: XDG_RUNTIME_DIR is ignored: {closed} cannot be written to.".encode() in done.stderr


def test_a_working_directory_that_is_gone_is_told(fresh_home: Home, tmp_path: Path) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    for words in (
        ["build", program, "-o", "oci:layout"],
        ["inspect", "oci:layout"],
        ["save", "oci:layout", "-o", "x"],
    ):
        (tmp_path / "gone").mkdir()
        script = 'cd "$0" && rmdir "$0" && exec "$@"'
        call = [sys.executable, "-m", "rootless_scratch", *words]
        done = fresh_home.run(["sh", "-c", script, str(tmp_path / "gone"), *call], check=False)
        told(done, words, b"The working directory is gone.")


def told(done: subprocess.CompletedProcess[bytes], words: list[str], sentence: bytes) -> None:
    """It failed, with the code of its verb, by one sentence of cause and one of fix."""
    assert done.returncode == (125 if words[0] in ("run", "debug") else 1), done.stderr
    assert sentence in done.stderr, done.stderr
    assert b"Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith(b"note: ")]
    assert len(lines) == 2, lines
    assert lines[0].startswith(b"rootless-scratch: ")
    assert lines[1].startswith(b"  fix: ")
