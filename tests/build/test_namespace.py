"""The worker's own way into a user namespace: it is the one of `buildah unshare`, or buildah makes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Home

SOURCE = Path(__file__).resolve().parents[2]
LOOK = """
import json, os, sys
def text(name):
    with open(f"/proc/self/{name}") as file:
        return file.read()
kept = ("Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp")
print(json.dumps({
    "maps": [text(name).split() for name in ("uid_map", "gid_map", "setgroups")],
    "status": [line.split() for line in text("status").splitlines() if line.startswith(kept)],
    "variables": {name: value for name, value in os.environ.items() if name.startswith("_CONTAINERS")},
    "mounts": os.readlink("/proc/self/ns/mnt") != os.environ["OUTSIDE"],
}))
"""
ENTER = f"""
import sys
sys.path.insert(0, {str(SOURCE)!r})
if sys.argv[-1] == "enter":
    from rootless_scratch.backends.worker.namespace import enter
    enter({{buildah!r}}, lambda: None)
"""

pytestmark = pytest.mark.buildah


def enter(home: Home, program: str, *, path: str = "", before: str = "") -> subprocess.CompletedProcess[bytes]:
    found = home.run(["sh", "-c", "command -v buildah"]).stdout.decode().strip()
    script = before + ENTER.format(buildah=found) + program
    variables = {"OUTSIDE": os.readlink("/proc/self/ns/mnt"), "PATH": path + home.environment["PATH"]}
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, "enter"],
        env=home.environment | variables,
        capture_output=True,
        timeout=60,
        check=False,
    )


def seen(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_is_like_that_of_buildah_unshare(fresh_home: Home) -> None:
    outside = os.readlink("/proc/self/ns/mnt")
    argv = ["env", f"OUTSIDE={outside}", "buildah", "unshare", sys.executable, "-I", "-S", "-c", LOOK]
    theirs = json.loads(fresh_home.run(argv).stdout)
    assert seen(enter(fresh_home, LOOK)) == theirs
    assert theirs["mounts"]


def test_it_ends_as_the_process_inside_does(fresh_home: Home) -> None:
    assert enter(fresh_home, "sys.exit(7)").returncode == 7


@pytest.mark.parametrize("helper", ["newuidmap", "newgidmap"])
def test_where_ids_cannot_be_mapped_buildah_tells_it(fresh_home: Home, tmp_path: Path, helper: str) -> None:
    failing = tmp_path / helper
    failing.write_text("#!/bin/sh\necho no ids for you >&2\nexit 1\n")
    failing.chmod(0o755)
    done = enter(fresh_home, LOOK, path=f"{tmp_path}:")
    assert b"no ids for you" in done.stderr
    assert done.returncode != 0 or json.loads(done.stdout)["variables"]


def test_a_variable_that_claims_a_namespace_is_for_buildah_to_judge(fresh_home: Home) -> None:
    fresh_home.environment["_CONTAINERS_USERNS_CONFIGURED"] = "done"
    theirs = fresh_home.run(["buildah", "unshare", sys.executable, "-c", "pass"], check=False)
    assert enter(fresh_home, "").returncode == theirs.returncode


def test_want_of_descriptors_leaves_it_to_buildah(fresh_home: Home) -> None:
    # Two are enough for all that is read before, and too few for the pipes between the two processes.
    crowd = (
        "import sys\n"
        "if sys.argv[-1] == 'enter':\n"
        "    import ctypes, pwd, os\n"
        "    pwd.getpwuid(os.getuid())\n"
        f"    sys.path.insert(0, {str(SOURCE)!r})\n"
        "    import rootless_scratch.backends.worker.namespace\n"
        "    taken = []\n"
        "    try:\n"
        "        while True:\n"
        "            taken.append(os.open('/dev/null', os.O_RDONLY))\n"
        "    except OSError:\n"
        "        for each in taken[-3:]:\n"
        "            os.close(each)\n"
    )
    crowded = enter(fresh_home, LOOK, before=crowd)
    assert crowded.stderr == b""
    assert seen(crowded)["status"] == seen(enter(fresh_home, LOOK))["status"]


def test_where_the_process_inside_is_killed_buildah_takes_its_place(fresh_home: Home, tmp_path: Path) -> None:
    found = fresh_home.run(["sh", "-c", "command -v newuidmap"]).stdout.decode().strip()
    killing = tmp_path / "newuidmap"
    killing.write_text(
        f'#!/bin/sh\n[ ! -e {tmp_path}/killed ] || exec {found} "$@"\ntouch {tmp_path}/killed\nkill -9 "$1"\n'
        'until grep -q "State:.Z" "/proc/$1/status"; do sleep 0.01; done\n'
    )
    killing.chmod(0o755)
    done = enter(fresh_home, LOOK, path=f"{tmp_path}:")
    assert (tmp_path / "killed").exists()
    assert seen(done)["variables"]
    assert b"Traceback" not in done.stderr
