"""`watch --run`: what runs is what was saved last, and nothing of it stays."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from conftest import SERVER
from containers import containers, left, make_image
from registries import free_port
from watchers import Watcher, watching

import rootless_scratch as rs

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

pytestmark = [pytest.mark.podman, pytest.mark.compiler]

STUBBORN = (
    '#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts("WORD"); fflush(stdout); for (;;) pause(); }\n'
)
"""Has no handler of a signal, as most small programs."""

ENDING = "#include <stdio.h>\nint main(int count, char **values) { puts(values[count - 1]); return 3; }\n"


def compiled(path: Path, source: str) -> Path:
    """Compile it in place, as `make` does."""
    path.with_suffix(".c").write_text(source)
    subprocess.run(["gcc", "-static", "-o", path, path.with_suffix(".c")], check=True)
    return path


def page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        return str(answer.read().decode().strip())


def started(watcher: Watcher) -> str:
    return watcher.err("and started it")


def test_a_server_answers_with_what_was_saved_last_and_nothing_stays(fresh_home: Home, tmp_path: Path) -> None:
    port = free_port()
    program = compiled(tmp_path / "server", SERVER)
    words = (str(program), "-t", "server", "--run", "--network", "host", "--", str(port))
    with watching(fresh_home, *words) as watcher:
        assert watcher.out() == "up"
        started(watcher)
        watcher.err("watching 1 file")
        assert page(port) == "well"
        compiled(program, SERVER.replace("well\\n", "good\\n"))
        started(watcher)
        # The one before has had its stop signal, and said goodbye.
        assert [watcher.out(), watcher.out()] == ["bye", "up"]
        assert page(port) == "good"
        assert len(containers(fresh_home)) == 1

        program.write_bytes(program.read_bytes()[:100])
        watcher.err("server changed: failed")
        watcher.err("the container before runs on")
        assert page(port) == "good"

        compiled(program, SERVER.replace("well\\n", "fine\\n"))
        started(watcher)
        assert page(port) == "fine"
        assert watcher.end(signal.SIGTERM) == 128 + signal.SIGTERM
    with pytest.raises(urllib.error.URLError), socket.socket():
        page(port)
    assert left(fresh_home) == []
    assert fresh_home.temporary_files() == []


def test_a_program_without_a_handler_is_not_waited_for(fresh_home: Home, tmp_path: Path) -> None:
    program = compiled(tmp_path / "stubborn", STUBBORN.replace("WORD", "one"))
    with watching(fresh_home, str(program), "-t", "stubborn", "--run", "--stop-timeout", "3600") as watcher:
        assert watcher.out() == "one"
        watcher.err("watching")
        compiled(program, STUBBORN.replace("WORD", "two"))
        assert watcher.out() == "two"
        started(watcher)
        assert watcher.end() == 130
    assert left(fresh_home) == []


def test_a_program_that_ends_is_told_of_and_started_again_by_the_next_change(
    fresh_home: Home, tmp_path: Path
) -> None:
    program = compiled(tmp_path / "ending", ENDING)
    with watching(fresh_home, str(program), "-t", "ending", "--run", "--", "first", "last") as watcher:
        assert watcher.out() == "last"
        watcher.err("has ended with exit code 3")
        program.touch()
        assert watcher.is_silent(1)
        compiled(program, ENDING.replace("count - 1", "1"))
        assert watcher.out() == "first"
        watcher.err("has ended with exit code 3")
        watcher.process.kill()
        watcher.process.wait()
    # Killed so that it could end nothing, it leaves that to the next call.
    assert fresh_home.cli("run", "./ending", "one", cwd=tmp_path).returncode == 3
    assert left(fresh_home) == []


def test_one_that_was_killed_leaves_its_container_to_the_next_call(fresh_home: Home, tmp_path: Path) -> None:
    program = compiled(tmp_path / "stubborn", STUBBORN)
    make_image(fresh_home, "tools", "/busybox")
    with watching(fresh_home, str(program), "-t", "stubborn", "--run") as watcher:
        watcher.out()
        watcher.err("watching")
        assert len(containers(fresh_home)) == 1
        watcher.process.kill()
        watcher.process.wait()
    fresh_home.cli("run", "tools", "true")
    deadline = time.monotonic() + 15
    while left(fresh_home) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left(fresh_home) == []
    fresh_home.json("build", str(program), "-t", "stubborn")
    assert fresh_home.temporary_files() == []


def test_an_image_of_a_layout_alone_and_by_buildah_runs_too(fresh_home: Home, tmp_path: Path) -> None:
    program = compiled(tmp_path / "ending", ENDING)
    for options in (("-o", f"oci:{tmp_path}/layout"), ("-t", "ending", "--backend", "buildah")):
        compiled(program, ENDING)
        with watching(fresh_home, str(program), *options, "--run", "--", "first", "last") as watcher:
            assert watcher.out() == "last"
            started(watcher)
            watcher.err("watching")
            compiled(program, ENDING.replace("count - 1", "1"))
            assert watcher.out() == "first"


def test_python_has_the_container_of_each_image(python_home: Home, tmp_path: Path) -> None:
    program = compiled(tmp_path / "stubborn", STUBBORN.replace("WORD", "one"))
    before = containers(python_home)
    with rs.watch(program, tag="stubborn", run={"memory": "100m"}) as watching:
        found = iter(watching)
        first = next(found)
        assert first.restarted
        assert first.container is not None
        assert next(first.container.logs(follow=True, timeout=30)) == b"one\n"
        compiled(program, STUBBORN.replace("WORD", "two"))
        second = next(found)
        assert second.container is not None
        assert second.container.id != first.container.id
        assert next(second.container.logs(follow=True, timeout=30)) == b"two\n"
    assert containers(python_home) == before
