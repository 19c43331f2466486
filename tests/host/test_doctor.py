"""`doctor` on the host at hand, and inside hosts that are made worse for one process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rootless_scratch.host.namespaces import probe_namespaces
from rootless_scratch.host.storage import read_location

if TYPE_CHECKING:
    from conftest import Home

OPERATIONS = ["build-direct", "build-buildah", "run", "network", "limits", "push", "debug"]

FILTER = """
import ctypes, errno, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
LOAD, EQUAL, RETURN, ALLOW, REFUSE = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000 | errno.EPERM
UNSHARE = {"x86_64": 272, "aarch64": 97, "riscv64": 97, "ppc64le": 282, "s390x": 303}[os.uname().machine]
program = b"".join(
    struct.pack("HBBI", *each)
    for each in ((LOAD, 0, 0, 0), (EQUAL, 0, 1, UNSHARE), (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW))
)
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Filter(len(program) // 8, program)), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a program under a seccomp filter like docker's, which refuses unshare(2)."""


TERMINAL = "import pty, sys; pty.spawn(sys.argv[1:])"
"""Runs a program on a terminal of its own."""


def doctor(home: Home, *prefix: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "rootless_scratch", "doctor", "--json"],
        env=home.environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.buildah
def test_doctor_answers_for_every_operation_and_its_exit_code_follows_the_findings(
    shared_home: Home,
) -> None:
    code, answer = doctor(shared_home)
    assert answer["schema"] == 1
    assert list(answer["operations"]) == OPERATIONS
    named = {rule for each in answer["operations"].values() for rule in each["findings"]}
    assert named == {finding["rule"] for finding in answer["findings"]}
    assert code == int(any(finding["severity"] == "error" for finding in answer["findings"]))


@pytest.mark.buildah
def test_where_the_tests_run_building_and_running_work(shared_home: Home) -> None:
    code, answer = doctor(shared_home)
    assert code == 0
    assert answer["operations"]["build-buildah"]["works"]
    assert answer["operations"]["run"]["works"]


@pytest.mark.buildah
def test_a_person_reads_one_line_per_operation_and_a_fix_for_each_finding(shared_home: Home) -> None:
    done = shared_home.cli("doctor")
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines[: len(OPERATIONS)]] == OPERATIONS
    answer = shared_home.json("doctor")
    assert sum(line.startswith("  fix: ") for line in lines) == len(answer["findings"])
    assert "\x1b" not in done.stdout.decode()


@pytest.mark.buildah
def test_on_a_terminal_doctor_uses_colours_unless_no_color_is_set(shared_home: Home) -> None:
    for setting, coloured in ((None, True), ("1", False)):
        environment = shared_home.environment | {"TERM": "xterm"} | ({"NO_COLOR": setting} if setting else {})
        done = subprocess.run(
            [sys.executable, "-c", TERMINAL, sys.executable, "-m", "rootless_scratch", "doctor"],
            env=environment,
            capture_output=True,
            timeout=120,
            check=True,
        )
        assert (b"\x1b[3" in done.stdout) == coloured


@pytest.mark.buildah
def test_under_a_seccomp_filter_doctor_says_so_and_exits_1(shared_home: Home) -> None:
    code, answer = doctor(shared_home, sys.executable, "-c", FILTER)
    assert code == 1
    assert not answer["operations"]["build-buildah"]["works"]
    assert answer["operations"]["build-direct"]["works"]
    assert "host-user-namespaces-seccomp" in answer["operations"]["run"]["findings"]


@pytest.mark.buildah
def test_with_no_user_namespaces_left_the_probe_names_the_step_and_the_errno() -> None:
    # The limit is kept per user namespace, so one inside another is a host of its own in this respect.
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" "$@"'
    probe = (
        "from rootless_scratch.host.namespaces import probe_namespaces as p; import os;"
        "found = p(environment=os.environ); print(found.failed_step, found.errno)"
    )
    done = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", script, sys.executable, "-c", probe],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split(b"\n")[0] == b"user namespace 28", done.stderr


@pytest.mark.buildah
def test_where_containers_work_the_probe_fails_at_no_step() -> None:
    assert probe_namespaces(environment=os.environ).failed_step is None


@pytest.mark.buildah
def test_reading_the_host_leaves_no_process_behind(fresh_home: Home) -> None:
    fresh_home.cli("doctor")
    assert not [line for line in processes() if os.fsencode(fresh_home.path) in line]


def processes() -> set[bytes]:
    """Command lines of all processes, with those of their environments that may be read."""
    seen = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            seen.add((process / "cmdline").read_bytes() + b" " + (process / "environ").read_bytes())
    return seen


@pytest.mark.buildah
def test_a_runtime_directory_that_is_not_ours_is_ignored_and_mentioned(shared_home: Home) -> None:
    answer = shared_home.json("doctor", environment={"XDG_RUNTIME_DIR": "/run"})
    assert "host-runtime-dir" in answer["operations"]["run"]["findings"] or os.getuid() == 0


def test_without_any_tool_in_path_doctor_still_answers(shared_home: Home) -> None:
    done = shared_home.cli("doctor", "--json", environment={"PATH": "/nonexistent"})
    assert list(json.loads(done.stdout)["operations"]) == OPERATIONS
    assert done.stderr == b""


def test_a_place_that_does_not_exist_yet_is_judged_by_its_nearest_parent(tmp_path: Path) -> None:
    found = read_location(str(tmp_path / "not" / "yet"))
    assert found.path == str(tmp_path / "not" / "yet")
    assert found.writable
    assert found.free > 0
    assert found.fstype != "unknown"


@pytest.mark.buildah
def test_a_container_host_that_is_gone_is_an_error_before_a_run_meets_it(shared_home: Home) -> None:
    done = shared_home.cli("doctor", "--json", environment={"CONTAINER_HOST": "unix:///run/gone.sock"})
    assert done.returncode == 1
    assert not json.loads(done.stdout)["operations"]["run"]["works"]
