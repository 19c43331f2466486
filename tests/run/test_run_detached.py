"""`run -d`, `--keep`, `--name`: what stays is an ordinary container of podman's; what was not to stay does not."""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from containers import LOOP, Home, containers, left, podman, running, services

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.podman


@pytest.fixture
def clean(lonely_tools: Home) -> Iterator[Home]:
    """A store of its own, whose containers are ended after the test."""
    yield lonely_tools
    lonely_tools.run(["podman", "rm", "--all", "--force", "--time", "0"])


def logged(home: Home, name: str, wanted: str) -> bool:
    """Whether the container comes to say that within a while."""
    deadline = time.monotonic() + 20
    while wanted not in podman(home, "logs", name) and time.monotonic() < deadline:
        time.sleep(0.1)
    return wanted in podman(home, "logs", name)


def test_detached_it_is_an_ordinary_container_that_outlives_our_service(clean: Home) -> None:
    script = f"trap 'echo bye; exit 5' TERM; echo up; {LOOP}"
    done = clean.cli("run", "-d", "--name", "web", "--label", "a=b=c", "tools", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    container = done.stdout.decode().strip()
    assert re.fullmatch(r"[0-9a-f]{64}", container)
    deadline = time.monotonic() + 20
    while services(clean) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert services(clean) == []
    assert podman(clean, "ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}") == [container, "web"]
    assert logged(clean, "web", "up")
    assert clean.cli("run", "-q", "tools", "true").returncode == 0
    assert containers(clean) == ["web"], "no later run takes it for a leftover"
    assert podman(clean, "inspect", "--format", '{{index .Config.Labels "a"}}', "web") == ["b=c"]
    podman(clean, "stop", "--time", "10", "web")
    assert logged(clean, "web", "bye")
    assert podman(clean, "inspect", "--format", "{{.State.ExitCode}}", "web") == ["5"]
    podman(clean, "rm", "web")
    assert left(clean) == []


def test_what_is_detached_has_a_name_and_the_json_its_id(clean: Home) -> None:
    answer = json.loads(clean.cli("run", "--json", "-d", "tools", "sleep", "60").stdout)
    assert podman(clean, "ps", "--no-trunc", "--format", "{{.ID}}") == [answer["container_id"]]
    assert answer["exit_code"] == 0


def test_the_timeout_holds_for_what_is_detached_too(clean: Home) -> None:
    clean.cli("run", "-d", "--name", "short", "--timeout", "1", "tools", "sleep", "60")
    deadline = time.monotonic() + 20
    while podman(clean, "ps", "--format", "{{.Names}}") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert podman(clean, "ps", "--format", "{{.Names}}") == []


def test_detached_with_a_stdin_that_podman_attaches_to_later(clean: Home) -> None:
    assert clean.cli("run", "-d", "-i", "--name", "cat", "tools", "cat").returncode == 0
    done = subprocess.run(
        ["podman", "attach", "--sig-proxy=false", "cat"],
        env=clean.environment,
        input=b"hello\n",
        capture_output=True,
        timeout=60,
        check=False,
    )
    # podman 4.3 adds an empty line of its own.
    assert done.stdout.rstrip() == b"hello", done.stderr


def test_what_cannot_start_is_not_left_behind_detached_or_kept(clean: Home) -> None:
    for option in ("-d", "--keep"):
        done = clean.cli("run", option, "--entrypoint", "/nosuch", "tools")
        assert (done.returncode, done.stdout) == (127, b"")
        assert b"/nosuch is not in the image" in done.stderr
        assert left(clean) == []


def test_kept_it_stays_with_its_output_and_says_where(clean: Home) -> None:
    done = clean.cli("run", "--keep", "--name", "one", "tools", "sh", "-c", "echo out; exit 3")
    assert (done.returncode, done.stdout) == (3, b"out\n")
    assert b"kept as one" in done.stderr
    assert clean.cli("run", "-q", "tools", "true").returncode == 0
    assert containers(clean) == ["one"]
    assert podman(clean, "logs", "one") == ["out"]
    podman(clean, "rm", "one")
    assert left(clean) == []


def test_a_name_is_taken_once_unless_it_is_to_be_replaced(clean: Home) -> None:
    assert clean.cli("run", "-d", "--name", "web", "tools", "sleep", "60").returncode == 0
    done = clean.cli("run", "--name", "web", "tools", "true")
    assert done.returncode == 125
    assert b"There is a container 'web' already" in done.stderr
    assert containers(clean) == ["web"], "the one that has the name is untouched"
    done = clean.cli("run", "--name", "web", "--replace", "tools", "hostname")
    assert done.returncode == 0
    assert left(clean) == []
    assert clean.cli("run", "-q", "--name", "web", "--replace", "tools", "true").returncode == 0
    assert clean.cli("run", "--replace", "tools", "true").returncode == 2


def test_a_named_run_that_was_killed_is_removed_by_the_next_and_only_that_one(clean: Home) -> None:
    with running(clean, LOOP, "--name", "mine") as dead:
        dead.kill()
        dead.wait()
    assert containers(clean) == ["mine"]
    # Somebody takes the name before we come back.
    podman(clean, "rename", "mine", "renamed")
    assert clean.cli("run", "-d", "--name", "mine", "tools", "sleep", "60").returncode == 0
    assert containers(clean) == ["mine"]


def test_a_kept_run_whose_reader_goes_away_is_ended_and_stays(clean: Home) -> None:
    with running(clean, "while :; do echo more; done", "--keep", "--name", "one") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=30) == 141
    deadline = time.monotonic() + 20
    while podman(clean, "ps", "--format", "{{.Names}}") and time.monotonic() < deadline:
        time.sleep(0.1)
    status, code = podman(clean, "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "one")
    # podman says the first until it has cleaned up behind it.
    assert (status in ("stopped", "exited"), code) == (True, "137")
