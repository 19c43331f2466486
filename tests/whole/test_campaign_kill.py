"""The campaign of kills: that it runs, and that it sees what is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Home

SOURCE = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{SOURCE}:{SOURCE}/tests:{SOURCE}/scripts"}

LOOK = """
import os, sys
from traces import Store, adopt_orphans, descendants
adopt_orphans()
os.system("sh -c 'sleep 20 &'")
while not any(each.name == "sleep" for each in descendants().values()):
    pass
for process in descendants().values():
    print("process:", process)
    os.kill(process.pid, 9)
for trace in (*Store(os.environ).traces(), *Store(os.environ).asked()):
    print(trace)
"""


@pytest.mark.buildah
@pytest.mark.podman
@pytest.mark.registry
def test_some_kills_of_each_kind_leave_nothing() -> None:
    words = ["--rounds", "11", "--verb", "build -t", "--verb", "run", "--seed", "1"]
    done = subprocess.run(
        [sys.executable, SOURCE / "scripts/campaign_kill.py", *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    left = [line for line in done.stderr.splitlines() if line.startswith("left in round")]
    # A tool that is killed inside its own transaction may leave a layer that nobody may remove.
    assert [line for line in left if "layer of nobody" not in line] == [], done.stderr
    assert done.returncode == (1 if left else 0), done.stderr
    bad = len({line.split(",")[0] for line in left})
    head, _, *rows = done.stdout.splitlines()
    assert head == "| verb | caller | worker | service | tools | caller and helpers | whole tree |"
    # A call may have ended before the moment of its kill.
    verbs = [row.split("|")[1].strip() for row in rows]
    assert verbs in [["build -t", "run", f"all {kills}: {bad}"] for kills in range(6, 12)]


@pytest.mark.buildah
@pytest.mark.podman
def test_what_is_left_behind_is_seen(fresh_home: Home) -> None:
    container = fresh_home.run(["buildah", "from", "--name", "forgotten", "scratch"]).stdout.decode().strip()
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={**fresh_home.environment, "PYTHONPATH": ENVIRONMENT["PYTHONPATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert container == "forgotten"
    lines = done.stdout.splitlines()
    assert "process: sleep 20" in lines
    assert [line.split()[-1] for line in lines if line.startswith("container in storage: ")] == ["['forgotten']"]
    assert len([line for line in lines if line.startswith("container by buildah: ")]) == 1
