"""`run` killed by SIGKILL, which nobody can handle, at moments of its whole life: the next call takes it back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from containers import Home, containers, left, services, shell

pytestmark = pytest.mark.podman

DYING = """
import os, runpy, signal, sys, threading
asked, later = sys.argv.pop(1), float(sys.argv.pop(1)) / 1000
die = threading.Timer(later, os.kill, (os.getpid(), signal.SIGKILL))
if not asked:
    die.start()
else:
    from rootless_scratch.engine import http, service
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
"""rootless-scratch, which kills itself some milliseconds after a request, or its start, or ending its service."""

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
        killed = [sys.executable, "-c", DYING, asked, str(later), *words]
        with subprocess.Popen(killed, env=lonely_tools.environment) as process:
            assert process.wait(timeout=30) == -signal.SIGKILL, (asked, later)
        removed_by = time.monotonic() + 10
        while shell(lonely_tools, "echo next", "--name", "two").stdout != b"next\n" or containers(lonely_tools):
            assert time.monotonic() < removed_by, (asked, later)
    ended_by = time.monotonic() + 15
    # The next call ends the service of the one that was killed. One that was killed before it listened finds its
    # directory gone, and ends; or by itself, when nobody has asked it anything for 10 seconds.
    while services(lonely_tools) and time.monotonic() < ended_by:
        time.sleep(0.1)
    assert services(lonely_tools) == []
    assert list(lonely_tools.runtime.glob("rootless-scratch-*")) == [], "no socket stays"
    # For half a minute a container may come late, and its lease stays until then; we do not wait for that.
    for lease in (lonely_tools.path / ".local/state/rootless-scratch/runs").iterdir():
        os.utime(lease, (0, 0))
    assert shell(lonely_tools, "echo last").stdout == b"last\n"
    assert left(lonely_tools) == []
