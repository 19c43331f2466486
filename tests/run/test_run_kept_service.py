"""The service that is kept for the next call: who meets it, what it holds, and when it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import Home
from containers import containers, left, make_image, service_processes, shell

import rootless_scratch as rs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.podman

VARIABLE = "ROOTLESS_SCRATCH_KEEP_SERVICE"
LONG = "10m"
"""Longer than any of these tests."""

RUN = [sys.executable, "-m", "rootless_scratch", "run", "-q"]


@pytest.fixture
def home(lonely_tools: Home) -> Iterator[Home]:
    """A store of its own, and no service in it at the end."""
    yield lonely_tools
    for pid in service_processes(lonely_tools):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def usual_home() -> Iterator[Home]:
    """A home where homes are, which no test removes."""
    home = Home(Path(tempfile.mkdtemp(prefix=".rst-", dir=Path.home())))
    make_image(home, "tools", "/busybox")
    yield home
    home.remove()


def gone(home: Home, *, within: float) -> bool:
    """Whether nothing is there any more of a service, nor its directory."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not service_processes(home) and not list(home.runtime.glob("rootless-scratch-*")):
            return True
        time.sleep(0.05)
    return False


def test_the_next_run_meets_the_service_of_the_first(home: Home) -> None:
    assert shell(home, "echo one", "--keep-service", LONG).stdout == b"one\n"
    kept = service_processes(home).keys()
    assert kept
    done = shell(home, "echo two; exit 3", "--keep-service", LONG)
    assert (done.returncode, done.stdout) == (3, b"two\n"), done.stderr
    assert service_processes(home).keys() == kept
    assert containers(home) == []


def test_it_ends_by_itself_when_its_time_is_over_and_leaves_nothing(home: Home) -> None:
    assert shell(home, "true", "--keep-service=2s").returncode == 0
    assert service_processes(home)
    assert gone(home, within=10)
    assert left(home) == []


def test_a_single_run_keeps_none_and_of_those_that_follow_each_other_the_later_do(usual_home: Home) -> None:
    assert shell(usual_home, "true").returncode == 0
    assert left(usual_home) == []
    assert shell(usual_home, "true").returncode == 0
    kept = service_processes(usual_home).keys()
    assert kept
    assert shell(usual_home, "true").returncode == 0
    assert service_processes(usual_home).keys() == kept
    assert gone(usual_home, within=20)


def test_in_a_home_that_will_be_removed_nothing_is_kept_unasked(home: Home) -> None:
    for _ in range(2):
        assert shell(home, "true").returncode == 0
        assert left(home) == []


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_run_with_0_keeps_none_and_ends_the_one_that_it_meets(home: Home, how: str) -> None:
    shell(home, "true", "--keep-service=10s")
    assert service_processes(home)
    zero = {VARIABLE: "0"} if how == "environment" else None
    options = ["--keep-service", "0"] if how == "option" else []
    assert shell(home, "true", *options, environment=zero).returncode == 0
    assert left(home) == []


def test_what_the_environment_says_holds_where_no_option_does(home: Home) -> None:
    assert shell(home, "true", environment={VARIABLE: LONG}).returncode == 0
    assert service_processes(home)
    done = home.cli("run", "tools", "true", environment={VARIABLE: "soon"})
    assert done.returncode == 2
    assert b"ROOTLESS_SCRATCH_KEEP_SERVICE 'soon' is not a duration" in done.stderr


def test_another_environment_storage_or_configuration_meets_another_service(home: Home) -> None:
    keep = ["--keep-service", LONG]
    shell(home, "true", *keep)
    first = service_processes(home).keys()
    # Its containers would get the first one's proxy.
    shell(home, "true", *keep, environment={"HTTPS_PROXY": "http://proxy.example:3128"})
    second = service_processes(home).keys() - first
    assert second
    # What podman reads once, when it starts.
    (home.path / ".config/containers").mkdir(parents=True)
    (home.path / ".config/containers/containers.conf").write_text('[containers]\ntz = "UTC"\n')
    shell(home, "true", *keep)
    third = service_processes(home).keys() - first - second
    assert third
    shell(home, "true", *keep, environment={"XDG_DATA_HOME": str(home.path / "elsewhere")})
    assert service_processes(home).keys() - first - second - third


def test_after_podman_system_reset_the_next_run_meets_a_service_that_knows_the_new_storage(home: Home) -> None:
    for _ in range(2):
        assert shell(home, "true", "--keep-service", LONG).returncode == 0
    before = service_processes(home).keys()
    assert before
    home.run(["podman", "system", "reset", "--force"])
    make_image(home, "tools", "/busybox")
    for _ in range(2):
        done = shell(home, "echo here", "--keep-service", LONG)
        assert (done.returncode, done.stdout) == (0, b"here\n"), done.stderr
    assert service_processes(home).keys() - before


def test_two_runs_at_once_and_one_that_keeps_none_end_right(home: Home) -> None:
    words = [*RUN, "-i", "tools", "sh", "-c", "echo up; read -r word; echo $word"]
    keeps, kept_by = ["--keep-service=10s", "--keep-service=0"], []
    for keep in keeps:
        process = subprocess.Popen(
            [*words[:4], keep, *words[4:]], env=home.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        kept_by.append(process)
    used = service_processes(home).keys()
    # Whoever leaves last decides.
    assert kept_by[1].communicate(b"first\n", timeout=60)[0] == b"first\n"
    assert service_processes(home).keys() == used
    assert kept_by[0].communicate(b"last\n", timeout=60)[0] == b"last\n"
    assert service_processes(home).keys() == used
    assert gone(home, within=20)


def test_killed_at_any_moment_a_run_leaves_nothing_after_the_promise(home: Home) -> None:
    for moment in (0.02, 0.06, 0.12, 0.2, 0.35):
        process = subprocess.Popen([*RUN, "--keep-service=2s", "tools", "sleep", "60"], env=home.environment)
        time.sleep(moment)
        process.kill()
        process.wait()
    assert shell(home, "echo well", "--keep-service=2s").stdout == b"well\n"
    assert gone(home, within=15)
    assert left(home) == []


def test_a_kept_service_that_is_killed_is_replaced_and_its_directory_goes(home: Home) -> None:
    shell(home, "true", "--keep-service", LONG)
    for pid in service_processes(home):
        os.kill(pid, signal.SIGKILL)
    # A call of another kind comes next; it takes away what nobody else would.
    assert shell(home, "echo well", "--keep-service=1s").stdout == b"well\n"
    assert gone(home, within=10)


def test_one_that_was_killed_whole_keeps_no_later_one_from_leaving_nothing(home: Home) -> None:
    assert shell(home, "true", "--keep-service", "2s").returncode == 0
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{home.runtime}/rootless-scratch-".encode() in (path / "cmdline").read_bytes():
                os.kill(int(path.name), signal.SIGKILL)
    assert list(home.runtime.glob("rootless-scratch-*/s-*"))
    assert shell(home, "true", "--keep-service", "2s").returncode == 0
    assert gone(home, within=20)


def test_a_pipeline_and_its_descriptors_end_with_the_run(home: Home) -> None:
    read, write = os.pipe()
    begin = time.monotonic()
    # Test harnesses and make pass descriptors of their own on, and wait until everybody has closed them.
    words = ["sh", "-c", '"$@" 2>&1 | cat', "sh", *RUN, "--keep-service", LONG, "tools", "echo", "hi"]
    done = subprocess.run(words, env=home.environment, pass_fds=(write,), capture_output=True, check=True)
    os.close(write)
    assert done.stdout == b"hi\n"
    assert os.read(read, 1) == b""
    os.close(read)
    assert time.monotonic() - begin < 60
    for pid in service_processes(home):
        held = {os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")[:3]}
        assert not any(each.startswith("pipe:") for each in held)
    assert service_processes(home)


def test_ctrl_c_at_a_terminal_does_not_reach_it(home: Home) -> None:
    shell(home, "true", "--keep-service", LONG)
    sessions = {os.getsid(pid) for pid in service_processes(home)}
    assert sessions
    assert os.getsid(0) not in sessions


def test_calls_of_python_keep_it_too(python_home: Home, tools: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_DIRS", "/nobody/else/meets/this/one")
    before = service_processes(tools).keys()
    for number in range(3):
        assert rs.run("tools", ["echo", str(number)], network="none", keep_service="10s").exit_code == 0
    kept = service_processes(tools).keys() - before
    with rs.container("tools", ["sleep", "100"], network="none", keep_service=10):
        assert service_processes(tools).keys() - before == kept
    assert rs.run("tools", ["true"], network="none", keep_service=0).exit_code == 0
    assert not service_processes(tools).keys() & kept
    with pytest.raises(rs.UsageError, match="is not a duration"):
        rs.run("tools", ["true"], keep_service="for ever")
    assert python_home is tools


def test_without_flock_the_next_call_takes_the_directory_away(home: Home, tmp_path: Path) -> None:
    for program in ("sh", "podman", "runc", "crun", "conmon", "newuidmap", "newgidmap", "rm", "rmdir", "env"):
        found = shutil.which(program)
        if found is not None:
            (tmp_path / program).symlink_to(found)
    bare = {"PATH": str(tmp_path)}
    assert shell(home, "true", "--keep-service=1s", environment=bare).returncode == 0
    deadline = time.monotonic() + 10
    while service_processes(home) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(home.runtime.glob("rootless-scratch-*"))
    assert shell(home, "true", "--keep-service=0").returncode == 0
    assert left(home) == []
