"""The user's containers.conf, which changes every container of podman, and a hardened run."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from containers import Home, containers, make_image, podman

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.podman

CONF = """
[containers]
pidns="host"
ipcns="private"
utsns="host"
volumes=["/etc/hostname:/etc/leaked:ro"]
env=["LEAK=yes"]
init=true
annotations=["leak=yes"]
devices=["/dev/zero:/dev/leaked"]
seccomp_profile="unconfined"
umask="0000"
"""

LOOK = "echo $$; umask; echo LEAK=$LEAK; ls /etc/leaked /dev/leaked 2>/dev/null; grep Seccomp: /proc/self/status"
HARDENED = "1\n0022\nLEAK=\nSeccomp:\t2\n"


@pytest.fixture
def home(fresh_home: Home) -> Home:
    make_image(fresh_home, "tools", "/busybox")
    place = fresh_home.path / ".config/containers"
    place.mkdir(parents=True)
    (place / "containers.conf").write_text(CONF)
    return fresh_home


@contextmanager
def served(home: Home, socket: Path) -> Iterator[None]:
    """A podman service at this socket, as the user configured it."""
    socket.parent.mkdir(exist_ok=True)
    argv = ["podman", "--runtime", "runc", "system", "service", "--time=0", f"unix://{socket}"]
    with subprocess.Popen(argv, env=home.environment, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 20
        while not socket.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        try:
            yield
        finally:
            process.terminate()


def test_what_weakens_a_run_does_not_reach_it_and_that_is_said(home: Home) -> None:
    done = home.cli("run", "tools", "sh", "-c", LOOK)
    assert (done.returncode, done.stdout.decode()) == (0, HARDENED), done.stderr.decode()
    assert b"does not reach a hardened run: pidns, utsns, volumes" in done.stderr
    assert b"not reach" not in home.cli("run", "-q", "tools", "true").stderr
    assert home.cli("run", "--init", "-e", "LEAK=mine", "tools", "sh", "-c", "echo $LEAK").stdout == b"mine\n"


def test_a_service_of_the_user_is_passed_by_for_one_of_ours(home: Home) -> None:
    with served(home, home.runtime / "podman" / "podman.sock"):
        done = home.cli("run", "tools", "sh", "-c", LOOK)
    assert (done.returncode, done.stdout.decode()) == (0, HARDENED), done.stderr.decode()


def test_what_a_service_that_was_named_cannot_be_told_is_read_back_and_said(home: Home) -> None:
    socket = home.runtime / "named.sock"
    with served(home, socket):
        words = ("run", "--url", f"unix://{socket}", "--network", "none")
        done = home.cli(*words, "tools", "sh", "-c", "umask; grep -c . /proc/1/comm; ls /etc/leaked")
        strict = home.cli(*words, "--strict", "tools", "true")
    assert done.returncode == 0, done.stderr.decode()
    said = done.stderr.decode()
    assert "weakens this run" in said
    for leak in ("its volumes", "its devices", "variable LEAK", "annotation leak", "no seccomp filter"):
        assert leak in said
    assert "process ids" not in said, "these it can be told"
    assert done.stdout.decode().startswith("0022\n")
    assert (strict.returncode, b"weakens this run" in strict.stderr) == (125, True)
    assert containers(home) == []


def test_a_service_describes_itself_once_and_another_in_its_place_again(home: Home) -> None:
    socket = home.runtime / "named.sock"
    words = ("run", "--url", f"unix://{socket}", "--network", "none", "tools", "true")
    kept = home.path / ".local/state/rootless-scratch/services"
    with served(home, socket):
        assert b"no seccomp filter" in home.cli(*words).stderr
        (described,) = kept.iterdir()
        begun = described.stat().st_mtime_ns
        assert b"no seccomp filter" in home.cli(*words).stderr
        assert [each.stat().st_mtime_ns for each in kept.iterdir()] == [begun]
        # What is to be refused is asked for each time.
        assert home.cli("run", "--strict", *words[1:]).returncode == 125
        assert [each.stat().st_mtime_ns for each in kept.iterdir()] != [begun]
    socket.unlink(missing_ok=True)
    (home.path / ".config/containers/containers.conf").unlink()
    with served(home, socket):
        done = home.cli(*words)
        assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
        assert [each.name for each in kept.iterdir()] != [described.name]


def test_a_container_that_outlives_the_call_ends_as_others_do(home: Home) -> None:
    done = home.cli("run", "-d", "--rm", "--name", "web", "tools", "sh", "-c", "sleep 1")
    assert done.returncode == 0, done.stderr.decode()
    assert home.cli("run", "-q", "-d", "--name", "kept", "tools", "sh", "-c", "exit 3").returncode == 0
    deadline = time.monotonic() + 20
    while "web" in containers(home):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert podman(home, "wait", "kept") == ["3"]
    podman(home, "rm", "kept")


def test_a_file_that_podman_cannot_read_is_podmans_own_cause(home: Home) -> None:
    (home.path / ".config/containers/containers.conf").write_text('[containers]\npidns="host\n')
    done = home.cli("run", "tools", "true")
    assert done.returncode == 125
    assert b"Traceback" not in done.stderr
    assert b"containers.conf" in done.stderr
