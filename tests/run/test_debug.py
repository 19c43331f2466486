"""`debug` as a user meets it who looks into a container that has no shell; everything with real podman."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from containers import Home, left, podman
from screens import screen

from rootless_scratch.host.cgroups import choose_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.podman, pytest.mark.compiler]

TOOLBOX = "rootless-scratch-toolbox"


@pytest.fixture(scope="module")
def web(shared_home: Home, server: Path) -> Iterator[Home]:
    """A home in which the container `web` serves, as user 65532, hardened, and with a file of its own."""
    settings = f"{server / 'settings'}:/etc/settings:mode=0400,uid=65532"
    assert shared_home.cli("build", str(server / "server"), "-t", "web", "--copy", settings).returncode == 0
    start(shared_home, "web", "web")
    yield shared_home
    podman(shared_home, "rm", "--force", "--time", "0", "web")


@pytest.fixture
def other(web: Home) -> Iterator[str]:
    """The name of a second container, which a test starts as it needs it."""
    yield "other"
    pid = web.run(["podman", "inspect", "--format", "{{.State.Pid}}", "other"], check=False).stdout.strip()
    if pid not in (b"", b"0"):
        # podman 5 does not get it done where the container has the process ids of the host.
        web.run(["podman", "unshare", "kill", "-9", pid.decode()], check=False)
    podman(web, "rm", "--force", "--ignore", "--time", "0", "other")


def start(home: Home, name: str, *words: str) -> None:
    done = home.cli("run", "-q", "-d", "--network", "none", "--name", name, *words)
    assert done.returncode == 0, done.stderr


def by_podman(home: Home, name: str, *words: str) -> None:
    """Started by podman's own command line, less hardened than by ours, on any port that is free."""
    runtime = choose_runtime().name
    chosen = [] if runtime is None else ["--runtime", runtime]
    home.run(["podman", *chosen, "run", "-d", "--name", name, *words, "web", "0"])


def debug(home: Home, *words: str) -> subprocess.CompletedProcess[bytes]:
    return home.cli("debug", "-q", *words)


def changes(home: Home, name: str) -> set[str]:
    return set(home.run(["podman", "diff", name]).stdout.decode().splitlines())


def test_a_shell_less_server_is_asked_listed_and_read_from_beside_it(web: Home) -> None:
    before = changes(web, "web")
    asked = debug(web, "web", "--exec", "wget -qO- 127.0.0.1:8080")
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, b"well\n", b"")
    listed = debug(web, "web", "--exec", "ps").stdout.decode()
    assert any(line.split()[0] == "1" and line.endswith(" /server") for line in listed.splitlines()[1:]), listed
    # A file that only the program's own user may read: the tools are that user.
    read = debug(web, "web", "--exec", "cat /target/etc/settings; id -u; id -g")
    assert read.stdout == b"port=8080\n65532\n65532\n"
    assert changes(web, "web") == before, "nothing was written into it"
    assert podman(web, "ps", "--all", "--format", "{{.Names}}") == ["web"]


def test_the_exit_code_and_the_streams_are_the_commands(web: Home) -> None:
    done = debug(web, "web", "--exec", "echo out; echo err >&2; exit 9")
    assert (done.returncode, done.stdout, done.stderr) == (9, b"out\n", b"err\n")
    done = debug(web, "web", "--json", "--exec", "echo out; echo err >&2; exit 9")
    answer = json.loads(done.stdout)
    assert done.returncode == 9
    assert answer["schema"] == 1
    assert [answer[key] for key in ("exit_code", "stdout", "stderr", "explanation")] == [9, "out\n", "err\n", None]


def test_a_person_at_a_terminal_gets_a_shell_and_without_one_stdin_is_its_script(web: Home) -> None:
    with screen(web, "debug", "-q", "web") as shown:
        shown.shows("$ ")
        assert shown.says("cat /target/etc/settings") == "port=8080"
        assert shown.says("stty size") == "30 101"
        shown.type("exit 4\r")
        assert shown.ends() == 4
    done = web.cli("debug", "-q", "web", input=b"echo given\nexit 3\n")
    assert (done.returncode, done.stdout) == (3, b"given\n")
    assert podman(web, "ps", "--all", "--format", "{{.Names}}") == ["web"]


def test_another_user_or_root_sees_it_too_but_only_root_reads_all(web: Home) -> None:
    look = "test -x /target/server && echo seen; cat /target/etc/settings"
    assert debug(web, "web", "--user", "0", "--exec", look).stdout == b"seen\nport=8080\n"
    assert debug(web, "web", "--user", "7:7", "--exec", look).stdout == b"seen\n"
    refused = debug(web, "web", "--user", "bob", "--exec", look)
    assert refused.returncode == 2
    assert b"the toolbox knows no names" in refused.stderr


def test_the_toolbox_is_made_once_and_anew_for_another_program(web: Home, tmp_path: Path) -> None:
    def toolboxes() -> set[str]:
        return set(podman(web, "images", "--format", "{{.ID}}", TOOLBOX))

    # The home is other tests' too, and they may have made some.
    assert debug(web, "web", "--exec", "true").returncode == 0
    made = toolboxes()
    assert made
    assert debug(web, "web", "--exec", "true").returncode == 0
    assert toolboxes() == made
    # A dynamically linked shell comes with its libraries.
    shell = tmp_path / "shell"
    shutil.copy(os.path.realpath("/bin/dash"), shell)
    with shell.open("ab") as file:
        file.write(b"of this test alone")
    done = debug(web, "web", "--toolbox", str(shell), "--exec", "echo /target/s*")
    assert (done.returncode, done.stdout.split()) == (0, [b"/target/server", b"/target/sys"]), done.stderr
    assert len(toolboxes() - made) == 1


@pytest.mark.parametrize("content", [None, b"no program\n", b"\x7fELF"])
def test_what_can_be_no_toolbox_is_refused_with_a_cause_and_a_fix(
    web: Home, tmp_path: Path, content: bytes | None
) -> None:
    program = tmp_path / "busybox"
    if content is not None:
        program.write_bytes(content)
        program.chmod(0o755)
    done = debug(web, "web", "--toolbox", str(program), "--exec", "true")
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"busybox" in done.stderr
    assert done.stderr.count(b"\n  fix: ") == 1
    assert b"Traceback" not in done.stderr


def test_without_a_busybox_the_package_and_another_way_are_named(web: Home, tmp_path: Path) -> None:
    done = web.cli("debug", "web", "--exec", "true", environment={"PATH": str(tmp_path)})
    assert done.returncode == 125
    assert b"There is no busybox on this host" in done.stderr
    assert b"busybox-static" in done.stderr
    assert b"--toolbox PROGRAM" in done.stderr


def test_an_image_that_does_not_start_shows_its_files_read_only(fresh_home: Home) -> None:
    dynamic = os.path.realpath("/bin/true")
    assert fresh_home.cli("build", "-q", "--no-check", f"{dynamic}:/true", "-t", "broken").returncode == 0
    assert fresh_home.cli("run", "-q", "broken").returncode != 0
    done = debug(fresh_home, "broken", "--exec", "ls /target; id -u; echo x > /target/new")
    assert (done.returncode, done.stdout) == (1, b"true\n65532\n")
    assert b"Read-only file system" in done.stderr
    done = debug(fresh_home, "broken", "-u", "0", "--exec", "echo x > /target/new")
    assert done.returncode == 1
    assert b"Read-only file system" in done.stderr
    assert left(fresh_home) == []


def test_what_is_not_there_or_does_not_run_is_said_with_the_way_out(web: Home, other: str) -> None:
    done = debug(web, "wep", "--exec", "true")
    assert done.returncode == 125
    assert b"There is neither a container nor an image 'wep'." in done.stderr
    assert b"Did you mean localhost/web:latest?" in done.stderr
    both = web.cli("debug", "web", "--exec", "true")
    assert b"note: web names a container and an image; this is the container." in both.stderr
    start(web, other, "web")
    podman(web, "stop", "--time", "0", other)
    done = debug(web, other, "--exec", "true")
    assert done.returncode == 125
    assert b"it ended with exit code 137" in done.stderr
    assert b"`rootless-scratch debug localhost/web:latest`" in done.stderr
    assert debug(web, "localhost/web:latest", "--exec", "test -x /target/server").returncode == 0
    assert debug(web, "", "--exec", "true").returncode == 2
    assert web.cli("debug", "--json", "web").returncode == 2


def test_a_container_with_a_user_namespace_of_its_own_is_looked_into(web: Home, other: str) -> None:
    (web.path / "data").mkdir(mode=0o700)
    start(web, other, "--volume", f"{web.path / 'data'}:/data", "web")
    script = "id -u; test -x /target/server && wget -qO- 127.0.0.1:8080; ls -dn /target/data"
    done = debug(web, other, "--exec", script)
    assert done.stdout.startswith(b"65532\nwell\n"), done.stderr
    assert done.stdout.split()[4:6] == [b"65532", b"65532"], "the caller is the program's user in there"


@pytest.mark.parametrize(
    "words",
    ["--cap-add NET_BIND_SERVICE", "--user 0", "--ipc private", "--init", "--network host"],
)
def test_containers_that_podman_started_in_other_ways_are_looked_into(web: Home, other: str, words: str) -> None:
    network = [] if "--network" in words else ["--network", "none"]
    by_podman(web, other, *network, *words.split())
    done = debug(web, other, "--exec", "test -x /target/server && echo seen; ps")
    assert done.stdout.startswith(b"seen\n"), done.stderr
    assert b"/server" in done.stdout


def test_a_container_without_process_ids_of_its_own_is_refused(web: Home, other: str) -> None:
    by_podman(web, other, "--network", "none", "--pid", "host")
    done = debug(web, other, "--exec", "true")
    assert done.returncode == 125
    assert b"has no process ids of its own (host)" in done.stderr


def test_when_the_container_ends_the_tools_end_and_its_own_run_is_not_held_up(web: Home) -> None:
    words = [sys.executable, "-m", "rootless_scratch", "run", "-q", "--network", "none", "--name", "brief", "web"]
    with subprocess.Popen(words, env=web.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"up\n"
        words = [sys.executable, "-m", "rootless_scratch", "debug", "brief", "--exec", "echo up; sleep 100"]
        with subprocess.Popen(words, env=web.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tools:
            assert tools.stdout is not None
            assert tools.stdout.readline() == b"up\n"
            podman(web, "kill", "brief")
            assert run.wait(timeout=60) == 137
            said = tools.communicate(timeout=60)[1]
    assert tools.returncode == 137
    assert b"The container brief has ended" in said
    assert podman(web, "ps", "--all", "--format", "{{.Names}}") == ["web"]


def test_killed_tools_are_removed_by_the_next_call(web: Home) -> None:
    words = [sys.executable, "-m", "rootless_scratch", "debug", "-q", "web", "--exec", "echo up; sleep 100"]
    with subprocess.Popen(words, env=web.environment, stdout=subprocess.PIPE) as tools:
        assert tools.stdout is not None
        assert tools.stdout.readline() == b"up\n"
        tools.kill()
    assert len(podman(web, "ps", "--all", "--quiet")) == 2
    deadline = time.monotonic() + 60
    while len(podman(web, "ps", "--all", "--quiet")) > 1 and time.monotonic() < deadline:
        assert debug(web, "web", "--exec", "wget -qO- 127.0.0.1:8080").stdout == b"well\n"
    assert podman(web, "ps", "--all", "--format", "{{.Names}}") == ["web"]
