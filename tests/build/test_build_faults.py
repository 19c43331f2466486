"""What a build leaves behind when it is killed, interrupted, or out of disk: nothing that the next one meets."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf

if TYPE_CHECKING:
    from conftest import Home

pytestmark = pytest.mark.buildah

SETTLED = 3.2
"""Seconds after which a file of this age may be known by its status."""

SOURCE = Path(__file__).resolve().parents[2]
BIG = 150_000_000


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A program that takes a while to copy and to commit."""
    program = tinyelf.write(tmp_path / "big")
    with program.open("ab") as file:
        block = os.urandom(1 << 20)
        for _ in range(BIG >> 20):
            file.write(block)
    return program


def begin(home: Home, *words: str) -> subprocess.Popen[bytes]:
    """Start a build in a process group of its own, as a shell or a CI runner does."""
    return subprocess.Popen(
        [sys.executable, "-m", "rootless_scratch", "build", *words],
        env=home.environment,
        cwd=home.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def images(home: Home) -> set[str]:
    """The names of all images; `<none>` where a dangling one is among them."""
    listed = home.run(["buildah", "images", "--all", "--noheading", "--format", "{{.Name}}:{{.Tag}}"])
    return set(listed.stdout.decode().split())


def left_behind(home: Home) -> list[str]:
    """Working containers, mounts, records and temporary files of ours."""
    containers = home.run(["buildah", "containers", "--all", "--quiet"]).stdout.decode().split()
    records = home.path / ".local/state/rootless-scratch/builds"
    files = [str(path) for path in records.rglob("*") if path.is_file()] if records.exists() else []
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(home.path) in line]
    return [*containers, *files, *(path.name for path in home.temporary.iterdir()), *mounts]


def descendants(group: int) -> list[int]:
    """All processes that stem from a process, whatever their groups and sessions."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    found = [group]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def frozen(group: int) -> list[int]:
    """The same, stopped from above, so that none can start another before all of them are killed."""
    stopped: list[int] = []
    while new := [pid for pid in descendants(group) if pid not in stopped]:
        for pid in new:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGSTOP)
        stopped += new
    return stopped


@pytest.mark.parametrize("everything", [False, True], ids=["the process group", "every process of the build"])
def test_killed_at_any_moment_the_next_build_works_and_nothing_is_left(
    fresh_home: Home, big: Path, tmp_path: Path, everything: bool
) -> None:
    small = tinyelf.write(tmp_path / "small")
    began = time.monotonic()
    done = fresh_home.cli("build", str(big), "-t", "big")
    assert done.returncode == 0, done.stderr.decode()
    whole = time.monotonic() - began
    fresh_home.run(["buildah", "rmi", "big"])
    neighbour = begin(fresh_home, str(big), "-t", "neighbour")
    for moment in range(20):
        victim = begin(fresh_home, str(big), "-t", "victim")
        time.sleep(whole * 1.1 * moment / 20)
        if everything:
            for pid in frozen(victim.pid):
                with_pid_gone(pid)
        else:
            os.killpg(victim.pid, signal.SIGKILL)
        victim.communicate()
        done = fresh_home.cli("build", str(small), "-t", "small")
        assert done.returncode == 0, f"after a kill at moment {moment}: {done.stderr.decode()}"
        if moment == 0:
            said, errors = neighbour.communicate(timeout=60)
            assert neighbour.returncode == 0, errors.decode()
            assert len(said) == 65
        assert left_behind(fresh_home) == [], f"after a kill at moment {moment}"
        found = images(fresh_home)
        assert found <= {"localhost/small:latest", "localhost/neighbour:latest", "localhost/victim:latest"}, moment
        fresh_home.run(["buildah", "rmi", "victim"], check=False)


def with_pid_gone(pid: int) -> None:
    """Kill it, unless it has just ended."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


STEPS = ("unshare", "from", "mount", "config", "commit")


def wait_until_runs(step: str, victim: subprocess.Popen[bytes]) -> None:
    """Wait until a process that stems from the build runs this step, or already a later one."""
    wanted = {word.encode() for word in STEPS[STEPS.index(step) :]}
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for pid in descendants(victim.pid):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted.intersection(words[1:3]):
                return
    raise AssertionError(f"nothing ran `{step}`")


@pytest.mark.parametrize("step", STEPS)
def test_ctrl_c_ends_a_build_cleanly_with_130(fresh_home: Home, big: Path, step: str) -> None:
    small = tinyelf.write(big.with_name("small"))
    assert fresh_home.cli("build", str(small), "-t", "old").returncode == 0
    victim = begin(fresh_home, str(big), "-t", "new")
    wait_until_runs(step, victim)
    os.killpg(victim.pid, signal.SIGINT)
    said, errors = victim.communicate(timeout=30)
    assert (victim.returncode, said) == (130, b""), errors.decode()
    assert b"Traceback" not in errors
    assert left_behind(fresh_home) == []
    assert images(fresh_home) == {"localhost/old:latest"}


@pytest.mark.parametrize("backend", ["buildah", "direct"])
@pytest.mark.parametrize("size", ["64m", "200m", "350m"], ids=["to copy", "to spool", "to commit"])
def test_on_a_full_disk_one_sentence_is_said_and_nothing_is_named(
    fresh_home: Home, big: Path, tmp_path: Path, size: str, backend: str
) -> None:
    """A small file system in a namespace of the test's own holds the whole storage."""
    small = tinyelf.write(tmp_path / "small")
    script = (
        'set -e; mount -t tmpfs -o "size=$5" tmpfs "$1"\n'
        'mkdir "$1/tmp"; export HOME="$1" TMPDIR="$1/tmp"; unset XDG_DATA_HOME\n'
        'set +e; "$2" -m rootless_scratch build "$3" -t big --backend "$6"; echo "exit $?"\n'
        'buildah images --all --quiet; buildah containers --all --quiet; ls "$1/tmp"\n'
        'find "$1/.local/state" -type f\n'
        '"$2" -m rootless_scratch build -q "$4" -t small >/dev/null; echo "then $?"\n'
    )
    place = tmp_path / "full"
    place.mkdir()
    done = inside_namespaces(fresh_home, script, str(place), sys.executable, str(big), str(small), size, backend)
    assert done.stdout.decode().splitlines() == ["exit 1", "then 0"], done.stderr.decode()
    (cause, fix) = [line for line in done.stderr.decode().splitlines() if not line.startswith("time=")]
    assert "no space left" in cause.lower()
    assert fix.startswith("  fix: ")


def inside_namespaces(home: Home, script: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell script where mounts are its own, as root of a user namespace."""
    return subprocess.run(
        ["podman", "unshare", "sh", "-c", script, "sh", *words],
        env=home.environment | {"_CONTAINERS_ROOTLESS_UID": str(os.getuid())},
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_a_broken_store_is_told_in_one_sentence(fresh_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    assert fresh_home.cli("build", str(program), "-t", "x").returncode == 0
    storage = fresh_home.path / ".local/share/containers/storage"
    (layers,) = storage.glob("*-layers")
    fresh_home.run(["buildah", "unshare", "rm", "-r", str(layers)])
    layers.write_text("no directory")
    done = fresh_home.cli("build", str(program), "-t", "y")
    assert (done.returncode, done.stdout) == (1, b"")
    assert len(done.stderr.splitlines()) == 2
    assert b"\n  fix: " in done.stderr


def test_what_is_known_is_built_again_where_the_list_of_images_is_cut_off(
    fresh_home: Home, tmp_path: Path
) -> None:
    program = tinyelf.write(tmp_path / "program")
    time.sleep(SETTLED)
    words = ("build", str(program), "-t", "x")
    first = fresh_home.json(*words)["image_id"]
    (images,) = fresh_home.path.glob(".local/share/containers/storage/*-images/images.json")
    whole = images.read_bytes()
    for length in (0, 50):
        images.write_bytes(whole[:length])
        done = fresh_home.cli(*words)
        assert (done.returncode, done.stdout.decode()) == (0, f"{first}\n"), done.stderr.decode()
        assert fresh_home.json("inspect", "x")["image_id"] == first


def test_a_tmpdir_that_is_not_there_is_passed_over_and_mentioned(fresh_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    done = fresh_home.cli("build", str(program), "-t", "x", environment={"TMPDIR": str(tmp_path / "missing")})
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(b"note: TMPDIR is ignored: ")


def test_without_buildah_its_package_is_named_and_a_bad_program_still_first(
    fresh_home: Home, tmp_path: Path
) -> None:
    program = tinyelf.write(tmp_path / "program")
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    # A PATH without buildah does not hide /usr/sbin, where no distribution puts it.
    nowhere = {"PATH": str(tmp_path)}
    done = fresh_home.cli("build", str(program), "-t", "x", environment=nowhere)
    assert done.returncode == 1
    assert b"The program buildah is not installed or not in PATH." in done.stderr
    assert b"apt-get install buildah" in done.stderr
    refused = fresh_home.cli("build", str(script), "-t", "x", environment=nowhere)
    assert b"[script-interpreter-missing]" in refused.stderr


def test_a_cancelled_build_leaves_one_of_the_same_content_and_several_names_alone(
    fresh_home: Home, tmp_path: Path
) -> None:
    small = tinyelf.write(tmp_path / "small")
    for moment in range(12):
        neighbour = begin(fresh_home, str(small), "-t", "first", "-t", "second")
        victim = begin(fresh_home, str(small), "-t", "victim")
        time.sleep(0.2 + moment * 0.03)
        os.killpg(victim.pid, signal.SIGINT)
        victim.communicate()
        _, errors = neighbour.communicate()
        assert neighbour.returncode == 0, errors.decode()
        assert {"localhost/first:latest", "localhost/second:latest"} <= images(fresh_home)


def test_an_image_that_is_not_what_was_planned_loses_the_name_to_the_one_that_had_it(
    fresh_home: Home, tmp_path: Path
) -> None:
    buildah = shutil.which("buildah", path=fresh_home.environment["PATH"])
    other = tmp_path / "bin" / "buildah"
    other.parent.mkdir()
    # As a version of buildah that stamps labels of its own on what it is told to configure.
    other.write_text(
        f'#!/bin/sh\nif [ "$1" = config ]; then shift; set -- config --label a=b "$@"; fi\nexec {buildah} "$@"\n'
    )
    other.chmod(0o755)
    program, next_one = tinyelf.write(tmp_path / "hello"), tinyelf.write(tmp_path / "next", text=b"next")
    known = fresh_home.json("build", str(program), "-t", "kept")["image_id"]
    path = f"{other.parent}:{fresh_home.environment['PATH']}"
    done = fresh_home.cli("build", str(next_one), "-t", "kept", "-t", "new", environment={"PATH": path})
    assert done.returncode == 1
    # Values may be secrets: the keys that differ are named.
    assert b"buildah wrote a config that differs from the plan (Labels)." in done.stderr
    assert images(fresh_home) == {"localhost/kept:latest"}
    assert fresh_home.json("inspect", "kept")["image_id"] == known
    assert left_behind(fresh_home) == []
