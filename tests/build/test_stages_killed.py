"""Builds of stages that are ended in the middle, or that run at the same time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from staging import Bench, arguments

from rootless_scratch import processes

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = [pytest.mark.buildah, pytest.mark.podman]


def building(lonely: Bench) -> subprocess.Popen[bytes]:
    """A build of the context's Containerfile that is under way."""
    argv = ["build", "-f", f"{lonely.context}/Containerfile", str(lonely.context), "-o", f"oci:{lonely.context}/l"]
    return subprocess.Popen(
        [sys.executable, "-m", "rootless_scratch", *argv, "--no-check"],
        env=lonely.home.environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_what_is_ended_in_the_middle_leaves_nothing_that_the_next_call_trips_over(
    lonely: Bench, number: signal.Signals
) -> None:
    text = (
        "FROM base AS build\nRUN echo one >/one\nRUN echo begun && busybox sleep {seconds}\n"
        "FROM scratch\nCOPY --from=build /one /\n"
    )
    (lonely.context / "Containerfile").write_text(text.format(seconds=321))
    child = building(lonely)
    wait_until(lambda: sleepers(321) > 0)
    child.send_signal(number)
    child.wait()
    wait_until(lambda: sleepers(321) == 0)
    files = lonely.files(text.format(seconds=0))
    assert files["/one"][3] == b"one\n"
    assert lonely.left_behind() == []
    assert not (lonely.context / "l").exists()


def test_where_everything_was_killed_at_once_the_next_call_ends_what_still_runs(lonely: Bench) -> None:
    text = "FROM base AS build\nRUN busybox sleep 654\nFROM scratch\nCOPY --from=build /bin/sh /\n"
    (lonely.context / "Containerfile").write_text(text)
    child = building(lonely)
    wait_until(lambda: sleepers(654) > 0)
    processes.signal_those(lambda pid: is_inside(lonely, pid), signal.SIGKILL)
    child.kill()
    child.wait()
    assert lonely.files(text.replace("654", "0"))["/sh"][0] == 0o755
    wait_until(lambda: sleepers(654) == 0)
    assert lonely.left_behind() == []


def is_inside(bench: Bench, pid: int) -> bool:
    """Whether a process is the Python of that home's build, inside the namespace."""
    argv = processes.arguments_of(pid)
    with open(f"/proc/{pid}/environ", "rb") as file:
        home = f"HOME={bench.home.path}".encode() in file.read().split(b"\0")
    return home and bool(argv) and argv[-1].endswith(b"verbs/inside.py") and b"python" in argv[0]


def sleepers(seconds: int) -> int:
    return sum(
        arguments(int(pid))[-2:] == [b"sleep", str(seconds).encode()]
        for pid in os.listdir("/proc")
        if pid.isdigit()
    )


def wait_until(done: Any) -> None:  # noqa: ANN401 - a function without arguments
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_builds_at_once_share_the_store(lonely: Bench, tmp_path: Path) -> None:
    children = []
    for number in range(3):
        context = tmp_path / f"context{number}"
        context.mkdir()
        (context / "Containerfile").write_text(
            f"FROM base AS build\nRUN echo {number} >/n && busybox sleep 1\nFROM scratch\nCOPY --from=build /n /\n"
        )
        argv = ["build", "-f", f"{context}/Containerfile", str(context), "-o", f"oci:{context}/l", "--no-check"]
        command = [sys.executable, "-m", "rootless_scratch", *argv]
        children.append(subprocess.Popen(command, env=lonely.home.environment, stdout=subprocess.DEVNULL))
    assert [child.wait() for child in children] == [0, 0, 0]
    assert lonely.files("FROM base AS b\nRUN true\nFROM scratch\nCOPY --from=b /bin/sh /\n")
    assert lonely.left_behind() == []
