"""A host that lacks nothing is told of nothing; what this one lacks is looked at here, without doctor."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Home

pytestmark = [pytest.mark.buildah, pytest.mark.podman]

CGROUPS = Path("/sys/fs/cgroup")


def delegated() -> set[str]:
    """The controllers of cgroup v2 in groups that this user may write to: systemd's for it, and the own one."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    found: set[str] = set()
    for group in (f"user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service", *own):
        listed = CGROUPS / group / "cgroup.controllers"
        if os.access(CGROUPS / group, os.W_OK) and listed.exists():
            found |= set(listed.read_text().split())
    return found


def lacking() -> dict[str, str]:
    """The rules that this host breaks, and the operation that each stops."""
    found = {}
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        found["host-tun"] = "network"
    kind = subprocess.run(["stat", "-fc", "%T", CGROUPS], capture_output=True, text=True, check=True).stdout
    if kind.strip() != "cgroup2fs":
        found["host-cgroup-limits"] = "limits"
    elif not {"cpu", "memory", "pids"} <= delegated():
        found["host-cgroup-delegation"] = "limits"
    return found


def test_a_healthy_host_has_no_error_and_no_warning(fresh_home: Home) -> None:
    missing = lacking()
    done = fresh_home.cli("doctor", "--json")
    answer = json.loads(done.stdout)
    serious = {each["rule"]: each["message"] for each in answer["findings"] if each["severity"] != "info"}
    assert set(serious) == set(missing), serious
    assert done.returncode == 0
    stopped = {name for name, each in answer["operations"].items() if not each["works"]}
    assert stopped == set(missing.values())
