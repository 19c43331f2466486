"""`run` where there is far too much to do at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from containers import Home, left, running, service_processes, services

import rootless_scratch as rs
from rootless_scratch.engine.container.opening import Opening
from rootless_scratch.engine.service import keeping as service_module
from rootless_scratch.verbs import service as service_verb

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.podman


def test_fifty_runs_at_the_same_time_share_one_service_all_end_right_and_leave_nothing(lonely_tools: Home) -> None:
    words = [sys.executable, "-m", "rootless_scratch", "run", "-q", "-i", "tools", "sh", "-c"]
    processes = [
        subprocess.Popen(
            [*words, f"echo up; read -r word; echo $word {number}; exit {number}"],
            env=lonely_tools.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(50)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
    # A rootless podman is a pair of processes with the same words.
    assert len(set(services(lonely_tools))) == 1
    ended = [(process.communicate(b"go\n", timeout=300)[0], process.returncode) for process in processes]
    assert ended == [(f"go {number}\n".encode(), number) for number in range(50)]
    assert left(lonely_tools) == []


def test_fifty_runs_that_come_and_go_at_the_same_time_all_end_right_and_leave_nothing(lonely_tools: Home) -> None:
    words = [sys.executable, "-m", "rootless_scratch", "run", "-q", "tools", "sh", "-c"]
    processes = [
        subprocess.Popen(
            [*words, f"echo {number}; exit {number}"], env=lonely_tools.environment, stdout=subprocess.PIPE
        )
        for number in range(50)
    ]
    ended = [(process.communicate(timeout=300)[0], process.returncode) for process in processes]
    assert ended == [(f"{number}\n".encode(), number) for number in range(50)]
    assert left(lonely_tools) == []


def test_a_service_serves_on_when_the_run_that_started_it_has_ended(lonely_tools: Home) -> None:
    with (
        running(lonely_tools, "read -r word; echo $word", "-i") as first,
        running(lonely_tools, "read -r word; echo $word", "-i") as second,
    ):
        [service] = set(services(lonely_tools))
        assert first.communicate(b"done\n", timeout=60) == (b"done\n", b"")
        assert set(services(lonely_tools)) == {service}
        assert second.communicate(b"still here\n", timeout=60) == (b"still here\n", b"")
    assert left(lonely_tools) == []


def test_a_service_serves_on_when_the_directory_that_it_was_started_in_is_gone(
    lonely_tools: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing = tmp_path / "job"
    passing.mkdir()
    monkeypatch.chdir(passing)
    with running(lonely_tools, "read -r word", "-i"):
        monkeypatch.chdir("/")
        passing.rmdir()
        done = lonely_tools.cli("run", "-q", "tools", "sh", "-c", "echo hi")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"hi\n", b"")


def test_runs_with_different_settings_do_not_share_a_service(lonely_tools: Home, tmp_path: Path) -> None:
    settings = tmp_path / "containers.conf"
    settings.write_text('[containers]\numask = "0077"\n')
    told = {"CONTAINERS_CONF": str(settings)}
    with running(lonely_tools, "read -r word", "-i"):
        done = lonely_tools.cli("run", "-q", "tools", "sh", "-c", "umask", environment=told)
        assert (done.returncode, done.stdout) == (0, b"0077\n")


def test_a_place_that_is_open_to_others_is_not_used(lonely_tools: Home) -> None:
    with running(lonely_tools, "read -r word", "-i") as first:
        [place] = lonely_tools.runtime.glob("rootless-scratch-*")
        first.communicate(b"\n", timeout=60)
    # As if somebody had made it to listen in.
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    try:
        with running(lonely_tools, "read -r word", "-i") as second:
            assert list(place.iterdir()) == []
            assert second.communicate(b"\n", timeout=60) == (b"", b"")
    finally:
        place.rmdir()
    assert left(lonely_tools) == []


@pytest.mark.usefixtures("python_home")
def test_a_service_that_ended_before_anybody_came_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a host that is so busy that our own turn comes late.
    monkeypatch.setattr(service_module, "IDLE", 1)
    with closing(Opening()) as opening:
        assert opening.starting is not None
        first = opening.starting.process
        assert first is not None
        first.wait()
        assert opening.ready().client.listens()
        assert opening.starting.process is not first


@pytest.mark.usefixtures("python_home")
def test_calls_inside_a_block_of_a_service_use_that_one_however_long_they_come_apart(
    tools: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "IDLE", 1)
    monkeypatch.setattr(service_verb, "IDLE", 1)
    with rs.service():
        [service] = set(services(tools))
        assert rs.run("tools", ["true"], network="none").exit_code == 0
        time.sleep(2)
        assert rs.run("tools", ["true"], network="none").exit_code == 0
        with rs.container("tools", ["sleep", "100"], network="none"):
            assert set(services(tools)) == {service}
    assert not any(service in line for line in services(tools))


@pytest.mark.usefixtures("python_home")
def test_where_the_service_of_a_block_dies_the_next_call_starts_another(tools: Home) -> None:
    with rs.service():
        for pid in service_processes(tools):
            os.kill(pid, signal.SIGKILL)
        assert rs.run("tools", ["echo", "hi"], network="none").stdout == b"hi\n"


IDLE = """\
#!/bin/sh
case " $* " in *" system service "*)
    if mkdir "$0.gone" 2>/dev/null; then
        echo 'level=warning msg="Failed to add conmon: dial unix /run/user/1/bus: connect: no such file"' >&2
        exit 0
    fi
esac
exec {podman} "$@"
"""


def test_a_service_that_has_come_and_gone_with_a_warning_in_its_log_is_started_again(
    lonely_tools: Home, tmp_path: Path
) -> None:
    (tmp_path / "podman").write_text(IDLE.format(podman=shutil.which("podman")))
    (tmp_path / "podman").chmod(0o755)
    path = f"{tmp_path}:{lonely_tools.environment['PATH']}"
    done = lonely_tools.cli("run", "tools", "echo", "hi", environment={"PATH": path})
    assert (done.returncode, done.stdout) == (0, b"hi\n"), done.stderr
    assert (tmp_path / "podman.gone").is_dir()
    assert left(lonely_tools) == []
