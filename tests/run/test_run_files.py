"""A program file, a layout and an archive run in one step, and once more without being built again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from containers import Home, containers, left, make_image, podman

import rootless_scratch as rs
from rootless_scratch.verbs.unstored import KEPT, REPOSITORY

pytestmark = pytest.mark.podman


@pytest.fixture
def home(fresh_home: Home) -> Home:
    """A home with a static and a dynamic program in it, and nothing in storage."""
    shutil.copy("/bin/busybox", fresh_home.path / "busybox")
    shutil.copy("/usr/bin/env", fresh_home.path / "env")
    return fresh_home


def kept(home: Home) -> list[str]:
    """The images that runs have left."""
    return podman(home, "images", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}")


def test_one_file_in_one_container_out(home: Home) -> None:
    done = home.cli("run", "./busybox", "echo", "hello")
    assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr.decode()
    images = kept(home)
    assert len(images) == 2
    assert images[1].startswith(f"{REPOSITORY}:2")
    assert home.cli("run", str(home.path / "busybox"), "sh", "-c", "exit 7").returncode == 7
    assert kept(home) == images, "the same program is the same image"
    assert left(home) == []
    assert home.temporary_files() == []  # type: ignore[attr-defined] # of conftest's Home
    podman(home, "rmi", *podman(home, "images", "-q", REPOSITORY))
    assert kept(home) == []


def test_what_a_dynamic_program_needs_comes_along_and_is_said_once(home: Home) -> None:
    done = home.cli("run", "./env")
    assert done.returncode == 0, done.stderr.decode()
    assert b"PATH=" in done.stdout
    again = home.cli("run", "--with", "tzdata", "-e", "A=b", "./env")
    assert b"A=b" in again.stdout
    third = home.cli("run", "--with", "tzdata", "-e", "A=b", "./env")
    assert b"--with auto" not in third.stderr
    assert len(kept(home)) == 4, "with other options it is another image"


def test_a_program_that_changes_is_another_image(home: Home) -> None:
    program = home.path / "say"
    for text in ("one", "two"):
        program.write_text(f"#!/busybox sh\necho {text}\n")
        program.chmod(0o755)
        done = home.cli("run", "./say")
        assert done.returncode == 125, "its interpreter is not there"
        assert b"/busybox" in done.stderr
    assert kept(home) == []


def test_a_path_is_a_file_and_a_bare_word_an_image(home: Home) -> None:
    make_image(home, "busybox", "/busybox")
    assert home.cli("run", "busybox", "ls", "/data").returncode == 0, "the image has it"
    assert home.cli("run", "./busybox", "ls", "/data").returncode == 1, "the file's image has it not"
    done = home.cli("run", "env")
    assert done.returncode == 125
    assert b"run by its path: ./env" in done.stderr


def test_layouts_and_archives_run_as_they_are(home: Home) -> None:
    outputs = ("oci:layout:v1", "oci-archive:one.tar:v1", "docker-archive:two.tar:hello:1")
    words = [word for output in outputs for word in ("-o", output)]
    done = home.cli("build", "./busybox", *words)
    assert done.returncode == 0, done.stderr
    number = done.stdout.decode().strip()
    for reference in (*outputs, "oci:layout", "docker-archive:two.tar"):
        done = home.cli("run", reference, "echo", "hello")
        assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr.decode()
    assert [each for each in kept(home) if not each.startswith(REPOSITORY)] == [number[:12]]
    for path, way in (("./layout", b"oci:./layout"), ("./one.tar", b"oci-archive:./one.tar")):
        done = home.cli("run", path)
        assert (done.returncode, way in done.stderr) == (2, True), done.stderr
    assert home.cli("run", "--with", "tzdata", "oci:layout").returncode == 2
    assert home.cli("run", "oci:nosuch").returncode == 125


def test_an_image_of_a_list_is_that_of_this_platform_or_of_the_one_that_was_named(home: Home) -> None:
    here, other = ("arm64", "amd64") if os.uname().machine == "aarch64" else ("amd64", "arm64")
    program = bytearray((home.path / "busybox").read_bytes())
    program[18:20] = {"amd64": b"\x3e\0", "arm64": b"\xb7\0"}[other]
    (home.path / "foreign").write_bytes(program)
    (home.path / "foreign").chmod(0o755)
    words = ("--platform", f"linux/{here}=busybox:/p", "--platform", f"linux/{other}=foreign:/p")
    done = home.cli("build", *words, "-o", "oci:list", "--no-check")
    assert done.returncode == 0, done.stderr.decode()
    run = home.cli("run", "oci:list", "true")
    assert run.returncode in (0, 127), run.stderr.decode()
    done = home.cli("run", "--platform", f"linux/{other}", "oci:list", "true")
    assert done.returncode != 0
    assert b"this host's processor is" in done.stderr


def test_what_stays_in_storage_is_bounded_and_what_runs_is_spared(home: Home) -> None:
    assert home.cli("run", "-d", "--name", "first", "./busybox", "sleep", "60").returncode == 0
    program = (home.path / "busybox").read_bytes()
    for number in range(KEPT + 1):
        (home.path / "busybox").write_bytes(program + bytes([number]))
        done = home.cli("run", "./busybox", "true")
        assert done.returncode == 0, done.stderr.decode()
    tags = [each for each in kept(home) if each.startswith(REPOSITORY)]
    assert len(tags) == KEPT + 1
    podman(home, "rm", "--force", "--time", "0", "first")


def test_two_at_once_make_one_image(home: Home) -> None:
    argv = [sys.executable, "-m", "rootless_scratch", "run", "-q", "./busybox", "echo", "hello"]
    several = [
        subprocess.Popen(argv, env=home.environment, cwd=home.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in several:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out) == (0, b"hello\n"), err.decode()
    assert len({each for each in kept(home) if not each.startswith(REPOSITORY)}) == 1
    assert containers(home) == []


@pytest.mark.parametrize("after", [0.05, 0.2, 0.4, 0.6])
def test_killed_while_it_is_made_the_next_call_makes_it(home: Home, after: float) -> None:
    argv = [sys.executable, "-m", "rootless_scratch", "run", "./busybox", "echo", "hello"]
    with subprocess.Popen(argv, env=home.environment, cwd=home.path, stdout=subprocess.DEVNULL) as process:
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
    done = home.cli("run", "./busybox", "echo", "hello")
    assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr.decode()
    assert home.temporary_files() == []  # type: ignore[attr-defined] # of conftest's Home
    assert containers(home) == []


def test_without_room_it_is_a_sentence_and_nothing_stays(home: Home) -> None:
    limited = 'ulimit -f 200; exec "$@"'
    argv = [sys.executable, "-m", "rootless_scratch", "run", "./busybox", "true"]
    done = subprocess.run(
        ["sh", "-c", limited, "sh", *argv], env=home.environment, cwd=home.path, capture_output=True, check=False
    )
    assert done.returncode == 125
    assert b"Traceback" not in done.stderr
    assert b"\n  fix: " in done.stderr
    assert home.temporary_files() == []  # type: ignore[attr-defined] # of conftest's Home
    assert kept(home) == []
    assert home.cli("run", "./busybox", "true").returncode == 0


def test_options_that_make_no_sense_are_told_before_anything_is_made(home: Home) -> None:
    done = home.cli("run", "--memory", "lots", "./busybox", "true")
    assert done.returncode == 2
    assert home.cli("run", "--with", "nosuch", "./busybox", "true").returncode == 2
    os.mkfifo(home.path / "fifo")
    for path in ("./nosuch", "./fifo", ".", "/dev/null"):
        assert home.cli("run", path, timeout=30).returncode == 125
    assert kept(home) == []


def test_from_python_a_path_is_a_program(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(home.path)
    assert rs.run(Path("busybox"), ["echo", "hello"]).stdout == b"hello\n"
    assert rs.run("./busybox", ["echo", "hello"], input=b"").stdout == b"hello\n"
    with rs.container(home.path / "busybox", ["sleep", "60"]) as running:
        assert running.exec(["/busybox", "echo", "beside"]).stdout == b"beside\n"
    assert len(kept(home)) == 2
