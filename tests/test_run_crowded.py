"""`run` where there is far too much to do at once."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from containers import Home, left

from rootless_scratch.engine import service as service_module
from rootless_scratch.engine.opening import Opening

pytestmark = pytest.mark.podman


def test_fifty_runs_at_the_same_time_all_end_right_and_leave_nothing(lonely_tools: Home) -> None:
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


@pytest.mark.usefixtures("python_home")
def test_a_service_that_ended_before_anybody_came_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a host that is so busy that our own turn comes late.
    monkeypatch.setattr(service_module, "IDLE", 1)
    with closing(Opening()) as opening:
        assert opening.starting is not None
        first = opening.starting.directory
        opening.starting.process.wait()
        assert opening.ready().client.listens()
        assert not Path(first).exists()
