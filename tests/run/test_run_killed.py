"""`run` killed by SIGKILL, which nobody can handle, at moments of its whole life: the next call takes it back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from containers import Home, containers, left, podman, running, services, shell

from rootless_scratch.engine.container.strays import end_strays

pytestmark = pytest.mark.podman

DYING = """
import os, runpy, signal, sys, threading
asked, later, killed = sys.argv.pop(1), float(sys.argv.pop(1)) / 1000, sys.argv.pop(1)
def end():
    place = os.environ["XDG_RUNTIME_DIR"].encode()
    for pid in filter(str.isdigit, os.listdir("/proc") if killed == "both" else ()):
        try:
            words = open(f"/proc/{pid}/cmdline", "rb").read().split(bytes(1))
            if b"service" in words and any(place in word for word in words):
                os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass
    os.kill(os.getpid(), signal.SIGKILL)
die = threading.Timer(later, end)
if not asked:
    die.start()
else:
    from rootless_scratch.engine.api import http
    from rootless_scratch.engine.service import local as service
    def telling(do):
        def told(*words):
            if asked in f"{do.__name__} {words[0]} {words[1]}" and not die.is_alive():
                die.start()
            return do(*words)
        return told
    http._head, service._signal = telling(http._head), telling(service._signal)
sys.argv[0] = "rootless-scratch"
runpy.run_module("rootless_scratch", run_name="__main__", alter_sys=True)
"""
"""rootless-scratch, which kills itself some milliseconds after a request, or its start, or ending its service.

Where `both` are to be killed, the service comes first.
"""

MOMENTS = (
    # While Python loads, the service is started, and does not listen yet.
    *(("", later) for later in (0, 12, 24, 36, 48)),
    # Before the service has heard of a container, while it makes it, and when it has just answered.
    *(("/containers/create", later) for later in (0, 3, 6, 12)),
    # While the runtime makes the container ready.
    *(("/attach", later) for later in (0, 12, 24, 36)),
    # As the program begins, and while it runs.
    *(("/start", later) for later in (0, 5, 100)),
    # When it has ended: its exit code is asked for, it is removed, and our service is ended.
    ("/json", 0),
    *(("DELETE", later) for later in (0, 4)),
    ("_signal", 0),
)
"""What is asked of podman, and how many milliseconds later the end comes."""


def test_at_twenty_moments_sigkill_leaves_nothing_that_the_next_call_does_not_remove(lonely_tools: Home) -> None:
    assert len(MOMENTS) == 20
    for asked, later in MOMENTS:
        words = [
            "run",
            "-q",
            "--name",
            "one",
            "tools",
            "sleep",
            "0.2" if asked in ("/json", "DELETE", "_signal") else "60",
        ]
        killed = [sys.executable, "-c", DYING, asked, str(later), "caller", *words]
        with subprocess.Popen(killed, env=lonely_tools.environment) as process:
            assert process.wait(timeout=30) == -signal.SIGKILL, (asked, later)
        done = shell(lonely_tools, "echo next", "--name", "two")
        assert done.stdout == b"next\n", (asked, later, done.returncode, done.stderr)
        assert [*containers(lonely_tools), *leases(lonely_tools)] == [], (asked, later)
    ended_by = time.monotonic() + 15
    # The next call ends the service of the one that was killed. One that was killed before it listened finds its
    # directory gone, and ends; or by itself, when nobody has asked it anything for 10 seconds.
    while services(lonely_tools) and time.monotonic() < ended_by:
        time.sleep(0.1)
    assert services(lonely_tools) == []
    assert list(lonely_tools.runtime.glob("rootless-scratch-*")) == [], "no socket stays"
    assert left(lonely_tools) == []


@pytest.mark.parametrize(
    ("asked", "moments"),
    [
        # Storage has the container and podman's database does not yet.
        pytest.param("/containers/create", range(0, 60, 10), id="while podman makes it"),
        # conmon and the runtime come up, and podman has not noted it yet.
        pytest.param("/attach", range(0, 80, 13), id="while the runtime makes it ready"),
    ],
)
def test_a_run_that_was_killed_with_its_service_leaves_nothing_after_the_next_call(
    lonely_tools: Home, asked: str, moments: range
) -> None:
    for later in moments:
        words = ["run", "-q", "--name", "one", "tools", "sleep", "60"]
        killed = [sys.executable, "-c", DYING, asked, str(later), "both", *words]
        with subprocess.Popen(killed, env=lonely_tools.environment) as process:
            assert process.wait(timeout=30) == -signal.SIGKILL, later
        assert shell(lonely_tools, "echo next", "--name", "two").stdout == b"next\n", later
        found = [*stored(lonely_tools), *left(lonely_tools), *parts(lonely_tools), *states(lonely_tools)]
        assert found == [], later


def test_a_run_whose_conmon_is_killed_ends_with_an_error(lonely_tools: Home) -> None:
    """conmon alone tells podman of the end of a program, which would be waited for for ever."""
    with running(lonely_tools, "sleep 6543") as process:
        for pid in processes_of(lonely_tools):
            if words(Path(f"/proc/{pid}/cmdline")).startswith(b"/usr/bin/conmon"):
                os.kill(pid, signal.SIGKILL)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 125
    assert b"conmon, which watches the container, was killed" in said
    # podman is not sure of such a container at first.
    assert shell(lonely_tools, "echo next").stdout == b"next\n"
    assert [*left(lonely_tools), *states(lonely_tools)] == []


def test_a_conmon_that_is_killed_while_the_runtime_makes_its_container_leaves_nothing_of_both(
    lonely_tools: Home,
) -> None:
    """The runtime goes on by itself: podman has removed the container before it makes a state of it."""
    call = [sys.executable, "-m", "rootless_scratch", "run", "-q", "tools", "sleep", "6543"]
    with subprocess.Popen(call, env=lonely_tools.environment, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 30
        while not states(lonely_tools) and time.monotonic() < until:
            pass
        for pid in wait_for_parts(lonely_tools, (b"runc", b"crun")):
            # A first process of the runtime ends by itself, where it has started the next one.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in wait_for_parts(lonely_tools, (b"conmon",)):
            os.kill(pid, signal.SIGKILL)
        _, said = process.communicate(timeout=30)
        assert process.returncode in (125, 126), said
    assert [*left(lonely_tools), *parts(lonely_tools), *states(lonely_tools)] == []


def test_what_runtime_and_conmon_have_noted_of_a_container_is_forgotten_and_nothing_of_others(
    lonely_tools: Home,
) -> None:
    state, exits = lonely_tools.runtime / "runc", lonely_tools.runtime / "libpod/tmp/exits"
    for number in ("a" * 64, "b" * 64):
        (state / number).mkdir(parents=True)
        os.mkfifo(state / number / "exec.fifo")
        exits.mkdir(parents=True, exist_ok=True)
        (exits / number).touch()
        (exits / f"{number}.NZSHZ3").touch()
    end_strays(["a" * 64], lonely_tools.environment)
    assert sorted(map(os.path.basename, states(lonely_tools))) == ["b" * 64, "b" * 64, f"{'b' * 64}.NZSHZ3"]


def test_all_of_podman_killed_with_a_run_does_not_stop_the_next_call(lonely_tools: Home) -> None:
    """podman then does nothing any more: its user namespace is gone, and a container runs by its database."""
    # A number of its own, for another account may run these tests too.
    seconds = str(100_000 + os.getpid())
    with running(lonely_tools, f"sleep {seconds}") as process:
        # The program itself has no word of this home in it, and lives on.
        process.send_signal(signal.SIGSTOP)
        # What was killed may just have started another, and one whose child was killed may have ended by itself.
        while alive := processes_of(lonely_tools) - {process.pid}:
            for pid in alive:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.kill()
    assert lonely_tools.run(["podman", "ps"], check=False).returncode != 0, "it is not what this is about"
    done = lonely_tools.cli("run", "tools", "sh", "-c", "echo next")
    assert done.stdout == b"next\n", done.stderr
    assert b"podman system migrate" in done.stderr
    found = [*stored(lonely_tools), *left(lonely_tools), *parts(lonely_tools), *states(lonely_tools)]
    assert found == []
    assert not [
        each
        for each in Path("/proc").glob("[0-9]*/cmdline")
        if words(each) == f"/busybox\0sleep\0{seconds}\0".encode()
    ]


def words(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def processes_of(home: Home) -> set[int]:
    """Those that have this home in their words or their environment."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        if os.fsencode(home.path) in words(entry / "cmdline") + words(entry / "environ"):
            found.add(int(entry.name))
    return found


def wait_for_parts(home: Home, names: tuple[bytes, ...]) -> list[int]:
    """The processes of this home with such names, as soon as there are any."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = [
            pid
            for pid in processes_of(home)
            if os.path.basename(words(Path(f"/proc/{pid}/cmdline")).split(b"\0")[0]).startswith(names)
        ]
        if found:
            return found
    pytest.fail(f"no {names}")


def leases(home: Home) -> list[str]:
    return os.listdir(home.path / ".local/state/rootless-scratch/runs")


def stored(home: Home) -> list[str]:
    """The containers that storage has, whether podman knows them or not."""
    return podman(home, "ps", "--all", "--external", "--quiet")


def parts(home: Home) -> list[str]:
    """The processes that containers of this home consist of."""
    found = []
    for pid in processes_of(home):
        line = words(Path(f"/proc/{pid}/cmdline"))
        if os.path.basename(line.split(b"\0")[0]).startswith((b"conmon", b"runc", b"crun")):
            found.append(line.decode("utf-8", "replace"))
    return found


def states(home: Home) -> list[str]:
    """What the runtime and conmon have noted of containers; filters that crun has compiled are of none."""
    return [
        str(path)
        for place in ("runc", "crun", "libpod/tmp/exits")
        for path in (home.runtime / place).glob("*")
        if path.name != ".cache"
    ]
