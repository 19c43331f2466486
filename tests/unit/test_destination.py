"""Where a call is to go, and how ssh is told: the parts that need no podman and no sshd."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rootless_scratch import tether
from rootless_scratch.engine.diagnose.ssh_refusals import closed, refusal
from rootless_scratch.engine.request.address import Address, parse_address
from rootless_scratch.engine.request.destination import destination_of
from rootless_scratch.errors import EngineError, UsageError
from rootless_scratch.private import FORGETS, WORKS_IN

BOTH = {"CONTAINER_HOST": "unix:///host", "CONTAINER_CONNECTION": "name"}
BUILDER = Address(host="builder", user="me", port=2222, path="/run/podman.sock")


@pytest.mark.parametrize(
    ("url", "connection", "variables", "found"),
    [
        ("unix:///url", None, BOTH, ("unix:///url", "--url", False)),
        (None, "words", BOTH, ("words", "--connection", True)),
        (None, None, BOTH, ("unix:///host", "CONTAINER_HOST", False)),
        (
            None,
            None,
            {"CONTAINER_HOST": "", "CONTAINER_CONNECTION": "name"},
            ("name", "CONTAINER_CONNECTION", True),
        ),
    ],
)
def test_words_come_before_the_environment_and_an_address_there_before_a_name(
    url: str | None, connection: str | None, variables: dict[str, str], found: tuple[str, str, bool]
) -> None:
    destination = destination_of(url, connection, variables)
    assert destination is not None
    assert (destination.value, destination.origin, destination.is_name) == found


def test_where_nothing_is_named_it_is_this_host_and_two_words_are_one_too_many() -> None:
    assert destination_of(None, None, {}) is None
    with pytest.raises(UsageError):
        destination_of("", "", {})


@pytest.mark.parametrize(
    ("rest", "address", "words"),
    [
        ("builder", Address(host="builder"), ["--", "builder"]),
        ("me@builder:2222/run/podman.sock", BUILDER, ["-l", "me", "-p", "2222", "--", "builder"]),
        ("@Builder:/", Address(host="Builder"), ["--", "Builder"]),
        ("[fe80::1%25eth0]:22/x?secure=true", Address(host="fe80::1%eth0", port=22, path="/x"), None),
        ("a%40b@h/x", Address(host="h", user="a@b", path="/x"), ["-l", "a@b", "--", "h"]),
    ],
)
def test_an_address_is_user_host_port_and_socket(rest: str, address: Address, words: list[str] | None) -> None:
    assert parse_address(rest, origin="--url") == address
    assert words is None or address.arguments == words


def test_an_address_is_written_in_one_way() -> None:
    assert str(BUILDER) == "ssh://me@builder:2222/run/podman.sock"
    assert str(parse_address("[::1]:22/x", origin="--url")) == "ssh://[::1]:22/x"


@pytest.mark.parametrize(
    "rest",
    [
        *("", "/x", "-v/x", "-l@h/x", "h;id/x", "`id`@h/x", "$(id)/x", "h/a b", "h/%0a", "h/${HOME}", "h/%25h"),
        *("h/a:b", "h:x/x", "h:65536/x", "a:b:c/x", "u:p@h/x", "h/\\x", "%2doProxyCommand=x/x"),
    ],
)
def test_what_ssh_or_a_shell_would_take_for_its_own_is_refused(rest: str) -> None:
    with pytest.raises(EngineError) as caught:
        parse_address(rest, origin="--url")
    assert caught.value.message.startswith("--url ")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Host key verification failed.", "The host key of me@builder is not known here"),
        ("WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.", "another host key"),
        (
            "me@builder: Permission denied (publickey,password).",
            "me@builder refuses the login (publickey,password)",
        ),
        ("ssh: Could not resolve hostname builder: Name or service not known", "builder is not known: Name or"),
        ("ssh: connect to host builder port 2222: No route to host", "at builder, port 2222: No route to host."),
        ("kex_exchange_identification: Connection closed by remote host", "was closed before the login"),
        ('Load key "/k": bad permissions\nme@builder: Permission denied (publickey).', "/k cannot be used: bad"),
        (
            "Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. Their offer: ssh-rsa",
            "no method in common: no matching host key type found. Their offer: ssh-rsa.",
        ),
        ("Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures", "too many keys"),
        ("something new\n", "ssh to me@builder failed: something new."),
        ("", "ssh to me@builder failed: it said nothing."),
    ],
)
def test_what_ssh_says_becomes_one_sentence_and_a_fix(said: str, told: str) -> None:
    error = refusal(said, BUILDER)
    assert told in error.message
    assert error.fix
    assert "{" not in error.message + error.fix


def test_a_socket_that_is_not_opened_is_told_only_where_ssh_says_so() -> None:
    assert closed("Warning: Permanently added", BUILDER) is None
    error = closed("channel 2: open failed: connect failed: open failed", BUILDER)
    assert error is not None
    assert "/run/podman.sock" in error.message


def test_what_is_tethered_ends_with_its_holder_with_all_that_it_has_started(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "private/s").touch()
    script = 'sleep 600 & echo $! > "$0"; wait'
    argv = [sys.executable, "-I", "-S", tether.__file__, "/bin/sh", "-c", script, str(tmp_path / "pid")]
    variables = os.environ | {FORGETS: str(tmp_path / "private")}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True, env=variables) as held:
        deadline = time.monotonic() + 10
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child = int((tmp_path / "pid").read_text())
        assert held.stdin is not None
        held.stdin.close()
        assert held.wait(timeout=10) == -9
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        if ") Z " in Path(f"/proc/{child}/stat").read_text():
            break
        time.sleep(0.01)
    assert not (tmp_path / "private").exists()
    assert time.monotonic() < deadline


def test_what_is_tethered_may_end_before_its_holder_with_its_own_code(tmp_path: Path) -> None:
    argv = [sys.executable, "-I", "-S", tether.__file__, "/bin/sh", "-c", "exit 7"]
    variables = os.environ | {FORGETS: str(tmp_path)}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True, env=variables) as held:
        assert held.wait(timeout=10) == 7
    assert tmp_path.exists()


def test_a_variable_that_is_empty_stays_so_where_a_tool_works_elsewhere(tmp_path: Path) -> None:
    """An empty CONTAINERS_CONF means none to podman, and not the working directory."""
    given = {"CONTAINERS_CONF": "", "DOCKER_CONFIG": "", "SSL_CERT_DIR": "a:/b", "REGISTRY_AUTH_FILE": "auth.json"}
    script = 'echo "$CONTAINERS_CONF|$DOCKER_CONFIG|$SSL_CERT_DIR|$REGISTRY_AUTH_FILE|$PWD"'
    argv = [sys.executable, "-I", "-S", tether.__file__, "/bin/sh", "-c", script]
    (tmp_path / "place").mkdir()
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd=tmp_path,
        env=os.environ | given | {WORKS_IN: f"{tmp_path}/place"},
    ) as held:
        assert held.stdout is not None
        said = held.stdout.read().decode().strip()
    assert said == f"||{tmp_path}/a:/b|{tmp_path}/auth.json|{tmp_path}/place"
