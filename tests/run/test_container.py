"""`with rs.container(...)`: ready when the block begins, looked at while it lasts, gone when it ends."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from containers import LOOP, Home, containers, left, make_image

import rootless_scratch as rs
from rootless_scratch.engine.container.readiness import answers
from rootless_scratch.engine.request.options import request_of
from rootless_scratch.engine.request.request import Port
from rootless_scratch.engine.request.values import parse_ports
from rootless_scratch.host.network import private_network_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELL = ("sh", "-c")
SERVE = "echo page > /tmp/index.html; echo serving; exec /busybox httpd -f -p {} -h /tmp"


@pytest.fixture
def here(tools: Home, python_home: Home) -> Home:
    """This process sees the store that has the image `tools`."""
    assert tools is python_home
    return python_home


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


@pytest.mark.podman
def test_a_server_answers_when_the_block_begins_and_is_gone_when_it_ends(here: Home) -> None:
    port = free_port()
    script = f"sleep 0.5; {SERVE.format(port)}"
    with rs.container("tools", [*SHELL, script], network="host", publish={port: None}) as server:
        assert server.address(port) == ("127.0.0.1", server.port(port)) == ("127.0.0.1", port)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            assert answer.read() == b"page\n"
        assert server.name in containers(here)
    assert server.name not in containers(here)
    assert not answers("127.0.0.1", port)


@pytest.mark.podman
@pytest.mark.usefixtures("here")
def test_a_line_of_its_output_says_that_it_is_ready_and_logs_begin_with_the_first() -> None:
    script = f"echo one; echo two >&2; sleep 0.3; echo ready on 80; {LOOP}"
    with rs.container("tools", [*SHELL, script], ready=re.compile(r"ready on \d+")) as running:
        assert list(running.logs()) == [b"one\n", b"two\n", b"ready on 80\n"]
        assert list(running.logs(stderr=False)) == [b"one\n", b"ready on 80\n"]
        assert list(running.logs(stdout=False)) == [b"two\n"]
        with pytest.raises(rs.EngineTimeoutError):
            list(running.logs(follow=True, timeout=0.2))


@pytest.mark.podman
@pytest.mark.usefixtures("here")
def test_logs_are_followed_to_the_end_and_nothing_of_20_mb_is_lost() -> None:
    script = "/busybox seq 1 2500000; printf end"
    with rs.container("tools", [*SHELL, script]) as running:
        count, last = 0, b""
        for line in running.logs(follow=True):
            count, last = count + 1, line
        assert (count, last) == (2_500_001, b"end")
        assert running.wait(timeout=10) == 0
        assert sum(1 for _ in running.logs()) == 2_500_001


@pytest.mark.podman
@pytest.mark.usefixtures("here")
def test_another_program_is_started_in_it_with_input_output_and_its_own_exit_code() -> None:
    with rs.container("tools", [*SHELL, LOOP]) as running:
        script = 'cat; printf "%s" "$A" >&2; exit 7'
        done = running.exec(["/busybox", *SHELL, script], input=b"\0\x10\x11in", env={"A": "b c"})
        assert done == rs.ExecResult(exit_code=7, stdout=b"\0\x10\x11in", stderr=b"b c")
        status = running.exec(["/busybox", "cat", "/proc/self/status"]).stdout.decode()
        assert re.search(r"CapEff:\t0+\n", status)
        assert "NoNewPrivs:\t1" in status
        assert "Uid:\t65532\t" in status
        with pytest.raises(rs.CommandNotFoundError):
            running.exec(["/bin/bash"])
        with pytest.raises(rs.CannotInvokeError):
            running.exec(["/plain"])
        with pytest.raises(rs.EngineTimeoutError):
            running.exec(["/busybox", "sleep", "60"], timeout=0.3)
        assert running.exec(["/busybox", *SHELL, "exit 127"]).exit_code == 127


@pytest.mark.podman
@pytest.mark.usefixtures("here")
def test_it_is_waited_for_signalled_and_stopped() -> None:
    script = f"trap 'echo hup' HUP; trap 'echo bye; exit 5' TERM; echo up; {LOOP}"
    with rs.container("tools", [*SHELL, script], ready=re.compile("up")) as running:
        with pytest.raises(rs.EngineTimeoutError):
            running.wait(timeout=0.2)
        running.signal("HUP")
        assert next(line for line in running.logs(follow=True, timeout=10) if line != b"up\n") == b"hup\n"
        assert running.stop() == 5
        assert running.ended()
        assert running.stop() == running.wait() == 5
        assert list(running.logs())[-1] == b"bye\n"
        with pytest.raises(rs.EngineError, match="could not be sent"):
            running.signal("HUP")
        with pytest.raises(rs.EngineError, match="has ended"):
            running.exec(["/busybox", "true"])


@pytest.mark.podman
@pytest.mark.usefixtures("here")
def test_one_that_closes_its_streams_is_followed_to_its_end() -> None:
    script = "echo up; exec >&- 2>&-; /busybox sleep 2; exit 4"
    with rs.container("tools", [*SHELL, script], ready=re.compile("up")) as running:
        assert not running.ended(0.1)
        assert list(running.logs(follow=True, timeout=20)) == [b"up\n"]
        assert running.wait(timeout=20) == 4
    with (
        pytest.raises(rs.EngineTimeoutError, match="no line of its output"),
        rs.container("tools", [*SHELL, script], ready=re.compile("never"), ready_timeout=0.5),
    ):
        pytest.fail("the block began")


@pytest.mark.podman
@pytest.mark.usefixtures("here")
def test_logs_that_are_followed_by_another_thread_end_with_the_block() -> None:
    lines: list[bytes] = []
    begun = threading.Event()

    def follow() -> None:
        for line in running.logs(follow=True):
            lines.append(line)
            begun.set()

    with rs.container("tools", [*SHELL, f"echo up; {LOOP}"], ready=re.compile("up")) as running:
        thread = threading.Thread(target=follow)
        thread.start()
        assert begun.wait(10)
    thread.join(10)
    assert lines == [b"up\n"]
    with pytest.raises(rs.EngineError, match="has gone"):
        list(running.logs())


@pytest.mark.podman
def test_one_that_has_long_ended_is_still_there_to_be_looked_at(here: Home) -> None:
    with rs.container("tools", [*SHELL, "echo said; exit 3"]) as running:
        assert running.wait(timeout=20) == 3
        # A service that nobody asks anything would have ended meanwhile.
        time.sleep(7)
        assert running.stop() == 3
        assert running.name in containers(here)
    assert running.name not in containers(here)


@pytest.mark.podman
def test_a_program_that_ends_before_it_is_ready_is_told_with_its_words(here: Home) -> None:
    script = "echo starting; echo no config >&2; exit 9"
    with (
        pytest.raises(rs.EndedEarlyError, match="exit code 9 before it was ready") as caught,
        rs.container("tools", [*SHELL, script], ready=re.compile("never")),
    ):
        pytest.fail("the block began")
    assert caught.value.exit_code == 9
    assert caught.value.last_words == b"no config\n"
    assert "no config" in caught.value.message
    assert not [name for name in containers(here) if "rootless-scratch" in name]


@pytest.mark.podman
def test_one_that_does_not_become_ready_in_time_is_told_and_gone(here: Home) -> None:
    with (
        pytest.raises(rs.EngineTimeoutError, match=r"not ready within 0\.5 s: the function"),
        rs.container("tools", [*SHELL, LOOP], ready=lambda running: running.ended(), ready_timeout=0.5),
    ):
        pytest.fail("the block began")
    assert not [name for name in containers(here) if "rootless-scratch" in name]


@pytest.mark.podman
@pytest.mark.usefixtures("here")
def test_a_health_check_says_that_it_is_ready() -> None:
    script = f"sleep 0.4; touch /tmp/well; {LOOP}"
    check = "/busybox test -e /tmp/well"
    with rs.container("tools", [*SHELL, script], ready="healthy", health_cmd=check) as running:
        assert running.health() == "healthy"
        assert running.exec(["/busybox", "test", "-e", "/tmp/well"]).exit_code == 0
    with (
        pytest.raises(rs.EngineError, match="no health check"),
        rs.container("tools", [*SHELL, LOOP], ready="healthy"),
    ):
        pytest.fail("the block began")


@pytest.mark.podman
def test_an_error_in_the_block_and_a_start_that_fails_leave_nothing(
    lonely_tools: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in lonely_tools.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(KeyboardInterrupt), rs.container("tools", [*SHELL, LOOP]):
        raise KeyboardInterrupt
    make_image(lonely_tools, "broken", "/missing")
    with pytest.raises(rs.CommandNotFoundError) as caught, rs.container("broken"):
        pytest.fail("the block began")
    assert caught.value.explanation is not None
    assert caught.value.explanation.rule == "command-missing"
    assert left(lonely_tools) == []
    assert [thread for thread in threading.enumerate() if thread is not threading.main_thread()] == []


@pytest.mark.podman
def test_after_sigkill_the_next_call_removes_it(lonely_tools: Home) -> None:
    program = (
        "import rootless_scratch as rs, time\n"
        f"with rs.container('tools', ['sh', '-c', {LOOP!r}]) as running:\n"
        "    print(running.name, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], env=lonely_tools.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        process.kill()
    assert name in containers(lonely_tools)
    assert lonely_tools.cli("run", "-q", "tools", "true").returncode == 0
    assert name not in containers(lonely_tools)
    # The service of the one that was killed ends by itself, some seconds after the last question.
    deadline = time.monotonic() + 20
    while left(lonely_tools) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left(lonely_tools) == []


@pytest.mark.podman
@pytest.mark.usefixtures("here")
def test_where_no_port_can_be_published_that_is_said_with_a_way() -> None:
    if private_network_problem() is None:
        with rs.container("tools", [*SHELL, SERVE.format(8080)], publish={8080: None}) as server:
            assert answers(*server.address(8080))
        return
    with (
        pytest.raises(rs.HostError, match="no port can be published") as caught,
        rs.container("tools", [*SHELL, SERVE.format(8080)], publish={8080: None}),
    ):
        pytest.fail("the block began")
    assert 'network="host" (`--network host`)' in caught.value.fix
    with rs.container("tools", [*SHELL, LOOP]) as running, pytest.raises(rs.UsageError, match="not published"):
        running.port(8080)


@pytest.mark.podman
def test_a_port_of_the_host_that_somebody_has_is_refused_before_the_start(here: Home) -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as server,
        pytest.raises(rs.EngineError, match="is in use on this host already"),
        rs.container("tools", network="host", publish={server.getsockname()[1]: None}),
    ):
        pytest.fail("the block began")
    assert containers(here) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout": 3}, "'timeout'"),
        ({"detach": True}, "'detach'"),
        ({"ready": "listening"}, "not a condition to wait for"),
        ({"ready_timeout": "soon"}, "not a positive number of seconds"),
        ({"ready": "port"}, "no TCP port"),
        ({"ready": "port", "publish": {"53/udp": None}}, "no TCP port"),
        ({"network": "host", "publish": {80: 8080}}, "cannot be published as another"),
        ({"publish": {"x": None}}, "is not valid"),
        ({"bogus": 1}, "'bogus'"),
    ],
)
def test_words_that_make_no_sense_for_a_block_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(rs.UsageError, match=said), rs.container("tools", **options):  # type: ignore[arg-type] # words off on purpose
        pytest.fail("the block began")


def test_ports_are_read_as_words_and_as_a_mapping() -> None:
    def port(address: str, host: int, container: int, protocol: str = "tcp") -> Port:
        return Port(address=address, host=host, container=container, protocol=protocol)

    assert parse_ports(["80", "8080:80"]) == (port("", 0, 80), port("", 8080, 80))
    given = {80: None, 81: 8081, "53/udp": ("127.0.0.1", 5353), 82: ("::1", None)}
    assert parse_ports(given) == (
        port("", 0, 80),
        port("", 8081, 81),
        port("127.0.0.1", 5353, 53, "udp"),
        port("::1", 0, 82),
    )
    assert request_of("i", (), {"publish": {80: None}}).ports == (port("", 0, 80),)


@pytest.fixture
def forwarder() -> Iterator[int]:
    """Accepts and hangs up, as a forwarder of ports does behind which nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_forwarder_that_hangs_up_is_no_answer_and_a_silent_server_is_one(forwarder: int) -> None:
    assert not answers("127.0.0.1", forwarder)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        assert answers(*server.getsockname())
        port = server.getsockname()[1]
    assert not answers("127.0.0.1", port)
