"""`run`, `debug` and `rs.container` on another host, as a user meets them: a real sshd, and podman behind it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import Home
from containers import LOOP, containers, left, make_image, podman
from remote_hosts import HOST, Remote, podman_service, remote_host, write_key
from screens import PROMPT, screen

import rootless_scratch as rs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.podman

ECHO = ("tools", "echo", "hi")


@pytest.fixture(scope="module")
def far_home() -> Iterator[Home]:
    """The other host's home: a store that only it has, with the image `tools`."""
    home = Home(Path(tempfile.mkdtemp(prefix="rst-")))
    make_image(home, "tools", "/busybox")
    yield home
    home.remove()


@pytest.fixture(scope="module")
def near_home() -> Iterator[Home]:
    """The caller's home, whose own store is empty."""
    home = Home(Path(tempfile.mkdtemp(prefix="rst-")))
    yield home
    home.remove()


@pytest.fixture(scope="module")
def remote(far_home: Home, near_home: Home) -> Iterator[Remote]:
    with remote_host(far_home, near_home) as host, podman_service(far_home, host.socket):
        near_home.environment |= host.environment
        yield host


@pytest.fixture
def python_near(remote: Remote, near_home: Home, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """This very process is the caller."""
    for name in set(os.environ) - set(near_home.environment):
        monkeypatch.delenv(name)
    for name, value in near_home.environment.items():
        monkeypatch.setenv(name, value)
    return remote


def refused(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a call said that could not go there: one sentence of cause, one of fix."""
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (125, b""), lines
    assert len(lines) == 2
    assert lines[1].startswith("  fix: ")
    return "\n".join(lines)


def test_an_image_of_another_host_runs_there_with_its_output_its_input_and_its_exit_code(
    remote: Remote, near_home: Home
) -> None:
    sent = os.urandom(3_000_000)
    script = "echo err >&2; /busybox sha256sum; exit 7"
    words = ["run", "-q", "-i", "--network", "none", "--url", remote.url, "tools", "sh", "-c", script]
    done = near_home.cli(*words, input=sent)
    assert (done.returncode, done.stderr) == (7, b"err\n")
    assert done.stdout.decode() == f"{hashlib.sha256(sent).hexdigest()}  -\n"
    assert remote.wait_until_alone()
    assert left(near_home) == []
    assert containers(remote.home) == []


def test_what_a_program_says_at_length_comes_whole(remote: Remote, near_home: Home) -> None:
    done = near_home.cli("run", "--network", "none", "--url", remote.url, "tools", "seq", "1", "500000")
    assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 500_001))


def test_where_the_url_names_no_socket_podman_on_that_host_tells_it(remote: Remote, near_home: Home) -> None:
    done = near_home.cli("run", "--network", "none", "--url", remote.bare, *ECHO)
    assert (done.returncode, done.stdout) == (0, b"hi\n"), done.stderr
    assert near_home.cli("run", "-q", "--url", f"ssh://build-machine{remote.socket}", *ECHO).stdout == b"hi\n"


def test_container_host_leads_there_too_and_the_words_of_a_call_come_before_it(
    remote: Remote, near_home: Home
) -> None:
    done = near_home.cli("run", "-q", *ECHO, environment={"CONTAINER_HOST": remote.url})
    assert (done.returncode, done.stdout) == (0, b"hi\n"), done.stderr
    gone = {"CONTAINER_HOST": "unix:///nowhere.sock", "CONTAINER_CONNECTION": "nowhere"}
    assert near_home.cli("run", "-q", "--url", remote.url, *ECHO, environment=gone).stdout == b"hi\n"
    assert "CONTAINER_HOST names /nowhere.sock" in refused(near_home.cli("run", *ECHO, environment=gone))


def test_a_unix_socket_is_named_in_the_same_way(remote: Remote, near_home: Home) -> None:
    done = near_home.cli("run", "-q", "--url", f"unix://{remote.socket}", *ECHO)
    assert (done.returncode, done.stdout) == (0, b"hi\n"), done.stderr


def test_a_connection_that_podman_knows_is_named_with_its_key_and_is_used_only_then(
    remote: Remote, near_home: Home
) -> None:
    write_key(remote.place / "other")
    # `podman system connection add` of 4.3 notes only sockets below /run as they are.
    settings = near_home.path / ".config/containers/containers.conf"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(
        f"""
[engine]
active_service = "builder"
[engine.service_destinations.builder]
uri = "{remote.keyless}"
identity = "{remote.place / "client_key"}"
[engine.service_destinations.locked]
uri = "{remote.keyless}"
identity = "{remote.place / "other"}"
"""
    )
    try:
        done = near_home.cli("run", "-q", "--connection", "builder", *ECHO)
        assert (done.returncode, done.stdout) == (0, b"hi\n"), done.stderr
        named = {"CONTAINER_CONNECTION": "builder"}
        assert near_home.cli("run", "-q", *ECHO, environment=named).stdout == b"hi\n"
        assert "refuses the login (publickey)" in refused(near_home.cli("run", "--connection", "locked", *ECHO))
        assert "Did you mean builder?" in refused(near_home.cli("run", "--connection", "bilder", *ECHO))
        assert "system connection list" in refused(near_home.cli("run", "--connection", "", *ECHO))
        # It is podman's default, and this host has no such image.
        assert "tools" in refused(near_home.cli("run", "-q", *ECHO))
    finally:
        settings.unlink()


def test_the_doctor_says_that_another_host_is_not_judged_here(near_home: Home) -> None:
    for variable, where in (("CONTAINER_HOST", "ssh://builder"), ("CONTAINER_CONNECTION", "builder")):
        done = near_home.cli("doctor", "--json", environment={variable: where})
        found = {each["rule"]: each["subject"] for each in json.loads(done.stdout)["findings"]}
        assert found.get("host-socket-elsewhere") == where


def test_two_ways_at_once_are_a_usage_error(near_home: Home) -> None:
    for verb in ("run", "debug"):
        done = near_home.cli(verb, "--url", "unix:///x", "--connection", "y", "tools")
        assert done.returncode == 2
        assert b"--url and --connection both" in done.stderr
    with pytest.raises(rs.UsageError):
        rs.run("tools", url="unix:///x", connection="y")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ssh://{host}:1/x", "No ssh answers at 127.0.0.1, port 1: Connection refused"),
        ("ssh://no-such-host.invalid/x", "The host no-such-host.invalid is not known"),
        ("ssh://{host}:{port}/no/podman.sock", "sshd of 127.0.0.1 cannot reach /no/podman.sock"),
        # Newer servers of an ordinary user hang up on any other, older ones refuse the key.
        ("ssh://nobody@{host}:{port}/x", " nobody@127.0.0.1 "),
        ("ssh://-oProxyCommand=true/x", "names no host that ssh can be given: '-oProxyCommand=true'"),
        ("ssh://-x@{host}/x", "names no user that ssh can be given"),
        ("ssh://{host}/a:b", "names no path that ssh can be given"),
        ("ssh:///run/x", "names no host"),
        ("ssh://a:secret@{host}/x", "has a password in it"),
        ("ssh://{host}:0/x", "has the port 0"),
        ("tcp://{host}:{port}", "only a unix socket can be used, here or by ssh"),
        ("nowhere", "only a unix socket can be used, here or by ssh"),
    ],
)
def test_a_way_that_leads_nowhere_is_told_with_its_cause_and_its_fix(
    remote: Remote, near_home: Home, url: str, said: str
) -> None:
    done = near_home.cli("run", "--url", url.format(host=HOST, port=remote.port), *ECHO)
    assert said in refused(done)
    assert remote.wait_until_alone()
    assert left(near_home) == []


def test_a_host_whose_key_is_unknown_or_has_changed_is_not_spoken_to(remote: Remote, near_home: Home) -> None:
    known = remote.place / "known_hosts"
    right = known.read_text()
    write_key(remote.place / "wrong")
    try:
        known.write_text("")
        assert "The host key of 127.0.0.1 is not known here" in refused(
            near_home.cli("run", "--url", remote.url, *ECHO)
        )
        known.write_text(f"[{HOST}]:{remote.port} {(remote.place / 'wrong.pub').read_text()}")
        assert "has another host key" in refused(near_home.cli("run", "--url", remote.url, *ECHO))
    finally:
        known.write_text(right)


def test_a_key_that_is_not_there_is_told_and_one_that_is_not_let_in_too(remote: Remote, near_home: Home) -> None:
    gone = near_home.cli("run", "--url", remote.keyless, *ECHO, environment={"CONTAINER_SSHKEY": "/no/key"})
    assert "The key /no/key cannot be read" in refused(gone)
    right = {"CONTAINER_SSHKEY": str(remote.place / "client_key")}
    assert near_home.cli("run", "-q", "--url", remote.keyless, *ECHO, environment=right).stdout == b"hi\n"


def test_a_host_that_forbids_to_forward_sockets_is_told(far_home: Home, near_home: Home) -> None:
    with remote_host(far_home, near_home, forwarding=False) as host:
        said = refused(near_home.cli("run", "--url", host.url, *ECHO, environment=host.environment))
    assert "AllowStreamLocalForwarding" in said


def test_without_ssh_its_package_is_named(remote: Remote, near_home: Home, tmp_path: Path) -> None:
    # The directories of the administrator are looked into as well, and have none.
    done = near_home.cli("run", "--url", remote.url, *ECHO, environment={"PATH": str(tmp_path)})
    assert "openssh-client" in refused(done)


def test_detached_it_stays_on_that_host_until_it_is_removed_there(remote: Remote, near_home: Home) -> None:
    words = ["-d", "--name", "away", "--network", "none", "--url", remote.url]
    done = near_home.cli("run", "-q", *words, "tools", "sh", "-c", LOOP)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rb"[0-9a-f]{64}\n", done.stdout)
    assert remote.wait_until_alone()
    assert containers(remote.home) == ["away"]
    podman(remote.home, "rm", "--force", "--time", "0", "away")
    assert left(near_home) == []


def test_a_killed_call_leaves_no_ssh_and_the_next_one_removes_its_container(
    remote: Remote, near_home: Home
) -> None:
    words = ["run", "-q", "--network", "none", "--url", remote.url, "tools", "sh", "-c", "echo up; sleep 600"]
    argv = [sys.executable, "-m", "rootless_scratch", *words]
    with subprocess.Popen(argv, env=near_home.environment, stdout=subprocess.PIPE) as dead:
        assert dead.stdout is not None
        assert dead.stdout.readline() == b"up\n"
        assert len(remote.logins()) == 2
        dead.kill()
    assert remote.wait_until_alone()
    assert list(near_home.runtime.glob("rootless-scratch-*")) == []
    assert len(containers(remote.home)) == 1
    assert near_home.cli("run", "-q", "--url", remote.url, *ECHO).stdout == b"hi\n"
    assert containers(remote.home) == []
    assert left(near_home) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_while_a_host_does_not_answer_a_call_can_be_ended_and_leaves_no_ssh(
    remote: Remote, near_home: Home, number: signal.Signals
) -> None:
    with socket.create_server((HOST, 0)) as silent:
        silent.settimeout(30)
        port = silent.getsockname()[1]
        for url in (f"ssh://{HOST}:{port}", f"ssh://{HOST}:{port}/run/podman.sock"):
            argv = [sys.executable, "-m", "rootless_scratch", "run", "--url", url, *ECHO]
            with subprocess.Popen(argv, env=near_home.environment) as call:
                login, _ = silent.accept()
                with login:
                    call.send_signal(number)
                    assert call.wait(timeout=10) in (128 + number, -number)
                    login.settimeout(5)
                    # ssh's own greeting, and then the end of its connection.
                    while login.recv(1024):
                        pass
    deadline = time.monotonic() + 5
    while list(near_home.runtime.glob("rootless-scratch-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert near_home.cli("run", "-q", "--url", remote.url, *ECHO).stdout == b"hi\n"
    assert left(near_home) == []


def test_where_ssh_dies_in_the_midst_that_is_said_and_the_next_call_cleans_up(
    remote: Remote, near_home: Home
) -> None:
    words = ["run", "-q", "--network", "none", "--url", remote.url, "tools", "sh", "-c", f"echo up; {LOOP}"]
    argv = [sys.executable, "-m", "rootless_scratch", *words]
    with subprocess.Popen(argv, env=near_home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as call:
        assert call.stdout is not None
        assert call.stdout.readline() == b"up\n"
        os.kill(remote.logins()[-1], signal.SIGKILL)
        _, said = call.communicate(timeout=60)
    assert call.returncode == 125
    assert remote.bare.encode() in said
    assert near_home.cli("run", "-q", "--url", remote.url, *ECHO).stdout == b"hi\n"
    assert containers(remote.home) == []


def test_from_python_it_is_one_word_and_explanations_are_not_those_of_this_hosts_images(
    python_near: Remote,
) -> None:
    result = rs.run("tools", ["sh", "-c", "cat; exit 3"], input=b"in", url=python_near.url, network="none")
    assert (result.exit_code, result.stdout) == (3, b"in")
    with pytest.raises(rs.CommandNotFoundError) as caught:
        rs.run("tools", entrypoint="/nosuch", url=python_near.url, network="none")
    assert caught.value.explanation is None
    with pytest.raises(rs.ImageNotFoundError) as missing:
        rs.run("toolz", url=python_near.url)
    assert missing.value.fix == "Did you mean localhost/tools:latest?"
    with pytest.raises(rs.ImageNotFoundError, match=f"no image 'hello' at {python_near.url}") as absent:
        rs.run("hello", url=python_near.url)
    assert f"podman save hello | podman --url {python_near.url} load" in absent.value.fix
    assert python_near.wait_until_alone()


def test_a_container_of_a_block_answers_at_the_name_of_its_host(python_near: Remote) -> None:
    from registries import free_port

    port = free_port()
    serve = f"echo page > /tmp/index.html; exec /busybox httpd -f -p {port} -h /tmp"
    url = f"ssh://build-machine{python_near.socket}"
    with rs.container("tools", ["sh", "-c", serve], network="host", publish={port: None}, url=url) as web:
        # The name that ssh's configuration has for it.
        assert web.address(port) == (HOST, port)
        assert web.exec(["/busybox", "echo", "inside"]).stdout == b"inside\n"
        with (
            pytest.raises(rs.EngineError, match=f"in use on {HOST}|in use on this host"),
            rs.container("tools", ["sh"], network="host", publish={port: None}, url=url),
        ):
            pass
    assert python_near.wait_until_alone()
    assert containers(python_near.home) == []


def test_a_volume_is_the_other_hosts_and_no_ids_of_this_one_are_mapped(
    remote: Remote, near_home: Home, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("there")
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o755)
    words = ["run", "-q", "--network", "none", "--url", remote.url]
    script = ["tools", "sh", "-c", "/busybox cat /v/file; /busybox cat /proc/self/uid_map"]
    mounted = near_home.cli(*words, "--volume", f"{tmp_path}:/v", *script)
    assert mounted.stdout.startswith(b"there"), mounted.stderr
    alone = near_home.cli(*words, *script)
    assert mounted.stdout == b"there" + alone.stdout
    asked = near_home.cli(*words, "--userns", "keep-id:uid=65532,gid=65532", *script)
    assert asked.stdout != alone.stdout


def test_debug_looks_into_a_container_of_that_host(remote: Remote, near_home: Home) -> None:
    words = ["-d", "--name", "web", "--network", "none", "--url", remote.url]
    assert near_home.cli("run", "-q", *words, "tools", "sh", "-c", f"echo secret > /tmp/x; {LOOP}").returncode == 0
    try:
        script = "cat /target/tmp/x; ls /target/busybox; id -u"
        done = near_home.cli("debug", "--url", remote.url, "web", "--exec", script, "--json")
        assert json.loads(done.stdout)["stdout"] == "secret\n/target/busybox\n65532\n", done.stderr
        over = near_home.cli("debug", "--url", remote.url, "tools", "--exec", "ls -d /target/data")
        assert (over.returncode, over.stdout) == (0, b"/target/data\n"), over.stderr
        lost = near_home.cli("debug", "--url", remote.url, "wep", "--exec", "true")
        assert b"neither a container nor an image" in lost.stderr
        assert remote.wait_until_alone()
    finally:
        podman(remote.home, "rm", "--force", "--time", "0", "web")
    assert left(near_home) == []


def test_a_terminal_reaches_to_another_host(remote: Remote, near_home: Home) -> None:
    with screen(near_home, "run", "-q", "-it", "--url", remote.url, "tools", "sh") as shown:
        shown.shows(PROMPT)
        assert shown.says("stty size") == "30 101"
        shown.resize(40, 120)
        assert shown.says("sleep 0.3; stty size") == "40 120"
        shown.type("sleep 60\r")
        time.sleep(0.3)
        shown.type("\x03")
        shown.shows(PROMPT)
        shown.type("exit 7\r")
        assert shown.ends() == 7
    assert remote.wait_until_alone()


def test_a_service_of_ours_that_was_started_too_soon_makes_room(python_near: Remote) -> None:
    from contextlib import closing

    from rootless_scratch.engine.container.opening import Opening
    from rootless_scratch.engine.run import run

    with closing(Opening()) as early:
        assert early.starting is not None
        directory = Path(early.starting.directory.path)
        result = run("tools", ["echo", "hi"], network="none", url=python_near.url, opening=early)
    assert (result.stdout, directory.exists()) == (b"hi\n", False)
    deadline = time.monotonic() + 5
    while left(python_near.client) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left(python_near.client) == []
