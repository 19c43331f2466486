"""The parts of `run` that need no podman: words, hosts, texts, frames, leases."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from rootless_scratch.engine.api.http import Client
from rootless_scratch.engine.container import lease, specification
from rootless_scratch.engine.container.launch import missing_controllers
from rootless_scratch.engine.diagnose import explaining, failures
from rootless_scratch.engine.request.destination import destination_of
from rootless_scratch.engine.request.mounts import parse_volume
from rootless_scratch.engine.request.options import request_of
from rootless_scratch.engine.request.values import parse_env, parse_port
from rootless_scratch.engine.service.local import found_service
from rootless_scratch.engine.service.remote import way_to
from rootless_scratch.engine.stdio.streams import Demultiplexer, turn
from rootless_scratch.errors import (
    CannotInvokeError,
    CommandNotFoundError,
    EngineError,
    HostError,
    ImageNotFoundError,
    ScratchError,
    UsageError,
)
from rootless_scratch.host.cgroups import cgroup_mode
from rootless_scratch.host.network import private_network_problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rootless_scratch.engine.request.request import Request


def asked(**options: Any) -> Request:  # noqa: ANN401 - the words of Options
    return request_of("hello", (), options)  # type: ignore[arg-type] # whatever a test wants to see refused


@pytest.mark.parametrize(
    ("mounts", "controllers", "mode"),
    [
        (["/sys/fs/cgroup cgroup2"], "", "v2"),
        (["/sys/fs/cgroup tmpfs", "/sys/fs/cgroup/pids cgroup", "/sys/fs/cgroup/unified cgroup2"], "", "v1"),
        (
            ["/sys/fs/cgroup tmpfs", "/sys/fs/cgroup/pids cgroup", "/sys/fs/cgroup/unified cgroup2"],
            "cpu memory",
            "hybrid",
        ),
        (["/sys/fs/cgroup tmpfs", "/sys/fs/cgroup/pids cgroup"], "", "v1"),
        (["/proc proc"], "", "none"),
    ],
)
def test_the_cgroup_mode_is_read_from_what_is_mounted(
    tmp_path: Path, mounts: Sequence[str], controllers: str, mode: str
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    lines = [f"30 1 0:1 / {where} rw - {kind} x rw\n" for where, kind in (m.split() for m in mounts)]
    (tmp_path / "proc/self/mountinfo").write_text("".join(lines))
    unified = tmp_path / "sys/fs/cgroup/unified"
    unified.mkdir(parents=True)
    (unified / "cgroup.controllers").write_text(controllers)
    assert cgroup_mode(str(tmp_path)) == mode


@pytest.mark.parametrize(
    ("given", "missing"),
    [("cpuset cpu io memory pids", []), ("memory pids", ["cpu"]), ("hugetlb", ["cpu", "memory", "pids"])],
)
def test_limits_that_nobody_delegated_are_known(tmp_path: Path, given: str, missing: list[str]) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("30 1 0:1 / /sys/fs/cgroup rw - cgroup2 x rw\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/job\n")
    (tmp_path / "sys/fs/cgroup/job").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/job/cgroup.controllers").write_text(f"{given}\n")
    limits = asked(cpus=0.5, memory="64m", pids_limit=20)
    assert missing_controllers(limits, str(tmp_path)) == missing
    assert missing_controllers(asked(), str(tmp_path)) == []


def test_env_takes_the_callers_value_where_only_a_name_is_given() -> None:
    env = parse_env(["A=1", "B", "C=", "MISSING"], {"B": "mine"})
    assert env == {"A": "1", "B": "mine", "C": ""}


@pytest.mark.parametrize(
    ("word", "mount"),
    [
        ("/a:/b", ("/a", "/b", False)),
        ("/a:/b:ro", ("/a", "/b", True)),
        ("data:/b:rw", ("data", "/b", False)),
        ("./x:/b", (f"{os.getcwd()}/x", "/b", False)),
    ],
)
def test_a_volume_is_a_path_or_a_name(word: str, mount: tuple[str, str, bool]) -> None:
    parsed = parse_volume(word)
    assert (parsed.source, parsed.target, parsed.read_only) == mount


@pytest.mark.parametrize("word", ["", "a", "/a:b", "/a:/b:rx", "a b:/c", ":/c", "/a:/b:ro:rw"])
def test_a_volume_that_cannot_be_understood_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="--volume"):
        parse_volume(word)


@pytest.mark.parametrize(
    ("word", "port"),
    [
        ("80", ("", 0, 80, "tcp")),
        ("8080:80", ("", 8080, 80, "tcp")),
        ("127.0.0.1:8080:80/udp", ("127.0.0.1", 8080, 80, "udp")),
        ("[::1]:8080:80", ("::1", 8080, 80, "tcp")),
        ("127.0.0.1::80", ("127.0.0.1", 0, 80, "tcp")),
    ],
)
def test_a_port_may_name_an_address_a_port_of_the_host_and_a_protocol(
    word: str, port: tuple[str, int, int, str]
) -> None:
    parsed = parse_port(word)
    assert (parsed.address, parsed.host, parsed.container, parsed.protocol) == port


@pytest.mark.parametrize("word", ["", "0", "70000", "80:70000", "a:80", "80/xyz", "8000-8010:80", "::1:80:80"])
def test_a_port_that_cannot_be_understood_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="--publish"):
        parse_port(word)


@pytest.mark.parametrize(
    "words",
    [
        {"timeout": 0.0},
        {"timeout": float("nan")},
        {"network": "container:x"},
        {"network": "none", "publish": ["80"]},
        {"env": {"A=B": "1"}},
        {"env": {"A": "\udcff"}},
        {"user": "a\0b"},
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(words: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        asked(**words)


def test_the_users_own_mount_replaces_the_tmp_in_memory() -> None:
    spec = specification.generator(asked(volumes=["/x:/tmp"]), name="n", owner="o", network="none")
    assert [m["type"] for m in spec["mounts"] if m["destination"] == "/tmp"] == ["bind"]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("nosuch: image not known", ImageNotFoundError, "no image"),
        ("invalid reference format", ImageNotFoundError, "not an image name"),
        (
            'runc: exec: "/x": stat /x: no such file or directory: OCI runtime attempted to invoke a command',
            CommandNotFoundError,
            "/x is not in the image",
        ),
        (
            "crun: executable file `helo` not found in $PATH: No such file or directory",
            CommandNotFoundError,
            "helo is not in any directory",
        ),
        ('runc: exec: "/etc": permission denied: OCI permission denied', CannotInvokeError, "/etc"),
        ("crun: open executable: Permission denied: OCI permission denied", CannotInvokeError, "permission"),
        ("crun: create keyring `x`: Disk quota exceeded: OCI runtime error", HostError, "kernel keys"),
        ("crun: cgroups in hybrid mode not supported, drop all", failures.RuntimeUnsuitedError, "crun"),
        ("unable to find user app: no matching entries in passwd file", EngineError, "'app'"),
        ("runc: unable to setup user: invalid argument: OCI", failures.IdsMissingError, "outside the ids"),
        (
            "rootlessport cannot expose privileged port 80, you can add",
            HostError,
            "port 80",
        ),
        ("could not find slirp4netns, the network namespace", failures.NetworkMissingError, "network"),
        (
            'slirp4netns failed: "open(\\"/dev/net/tun\\"): Permission denied',
            failures.NetworkMissingError,
            "/dev/net/tun",
        ),
        ("something nobody has ever seen", EngineError, "something nobody has ever seen"),
    ],
)
def test_what_podman_says_becomes_a_cause_and_a_fix(text: str, kind: type[ScratchError], words: str) -> None:
    error = failures.create_failure(text, asked())
    assert type(error) is kind
    assert words in error.message
    assert error.fix


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        (b"exec /hello: no such file or directory\n", "loader-missing"),
        (b"exec /hello: exec format error\n", "exec-format"),
        (
            b'{"msg":"exec container process `/hello`: No such file or directory"}',
            "loader-missing",
        ),
        (b"exec container process `/s`: Operation not permitted", "file-capabilities"),
        (
            b"/hello: error while loading shared libraries: libc.so.6: cannot open shared object file\n",
            "library-missing",
        ),
        (
            (
                b"/app: /lib/libc.so.6: version `GLIBC_2.38' not found (required by /app)\n"
                b"/app: /lib/libc.so.6: version `GLIBC_2.39' not found (required by /app)\n"
            ),
            "library-version",
        ),
        (b"Error relocating /app: __strtol_chk: symbol not found\n", "library-version"),
        (b"Fatal glibc error: CPU does not support x86-64-v3\n", "processor-too-old"),
        (
            b"This program can only be run on AMD64 processors with v3 microarchitecture support.\n",
            "processor-too-old",
        ),
        (b"FATAL: kernel too old\n", "kernel-too-old"),
    ],
)
def test_the_last_words_of_a_runtime_are_explained(said: bytes, rule: str) -> None:
    finding = explaining.explain(1, wrote=len(said), output=said)
    assert finding is not None
    assert rule in (finding.rule, *finding.aliases)


def test_the_words_of_a_program_that_ran_are_not_explained() -> None:
    said = b"exec /hello: no such file or directory\n"
    assert explaining.explain(0, wrote=len(said), output=said) is None
    assert explaining.explain(1, wrote=len(said) + 5, output=said) is None
    assert explaining.explain(1, wrote=9 + len(said), output=b"starting\n" + said) is None


def test_frames_are_put_together_however_they_are_cut() -> None:
    frames = b"".join(
        bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data
        for stream, data in ((1, b"one"), (2, b"err\0\xff"), (1, b""), (1, b"two" * 1000))
    )
    for size in (1, 7, 8, 9, 4096):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            output = Demultiplexer(ours, frames[:5], stdout=None, stderr=None)
            writer = threading.Thread(
                target=lambda theirs=theirs, size=size: (
                    [theirs.sendall(frames[at : at + size]) for at in range(5, len(frames), size)]
                    + [theirs.shutdown(socket.SHUT_WR)]
                )
            )
            writer.start()
            while not output.ended:
                turn([output], 10, None)
            writer.join()
            assert bytes(output.stdout.captured) == b"one" + b"two" * 1000
            assert bytes(output.stderr.captured) == b"err\0\xff"
            assert not output.torn


def test_a_lease_is_left_over_only_when_its_owner_is_gone(tmp_path: Path) -> None:
    directory = str(tmp_path / "runs")
    with lease.hold(directory) as mine, lease.hold(directory) as living:
        living.record(engine="local", directory=None)
        with lease.hold(directory) as dead:
            dead.record(engine="local", directory="/x")
        found = [
            (item.lease.owner, item.engine, item.directory) for item in lease.leftovers(directory, living=mine)
        ]
        assert found == [(dead.owner, "local", "/x")]
        living.end()
        mine.end()
    assert [entry.name for entry in (tmp_path / "runs").iterdir()] == [dead.owner]


def test_a_lease_tells_what_podman_was_asked_for_and_what_it_answered(tmp_path: Path) -> None:
    directory = str(tmp_path / "runs")
    with lease.hold(directory) as mine:
        for number in ("", "0123abcd"):
            with lease.hold(directory) as dead:
                dead.record(engine="local", directory=None)
                dead.expects(lease.Wanted(name="one", socket="/run/s", since=12.5, id=number))
            wanted = [item.wanted for item in lease.leftovers(directory, living=mine)][-1]
            assert wanted is not None
            assert (wanted.name, wanted.socket, wanted.since, wanted.id) == ("one", "/run/s", 12.5, number)
            dead.end()
        with lease.hold(directory) as removed:
            removed.record(engine="local", directory=None)
            removed.expects(lease.Wanted(name="one", socket="/run/s", since=12.5))
            removed.expects(None)
        assert [item.wanted for item in lease.leftovers(directory, living=mine)] == [None]


def test_a_service_is_busy_until_it_has_let_go_of_a_caller_that_was_killed(tmp_path: Path) -> None:
    client = Client(path=str(tmp_path / "s"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(client.path)
        listener.listen()
        assert not client.is_busy()
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(client.path)
        assert client.is_busy(), "it has not even looked yet"
        ours, _ = listener.accept()
        with ours:
            assert client.is_busy()
        assert not client.is_busy()
    assert not client.is_busy()


def test_a_host_without_tun_is_known_before_anything_is_tried(tmp_path: Path) -> None:
    problem = private_network_problem(tun=str(tmp_path / "tun"))
    assert problem is not None or os.getuid() == 0


def reached(address: str) -> None:
    destination = destination_of(None, None, {"CONTAINER_HOST": address})
    assert destination is not None
    way_to(destination, {}).service()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "/run/x.sock", "unix://x", "host"])
def test_a_container_host_that_is_no_unix_socket_here_or_by_ssh_is_an_error(address: str) -> None:
    with pytest.raises(EngineError, match="only a unix socket"):
        reached(address)


def test_a_container_host_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(stale))
    with pytest.raises(EngineError, match="CONTAINER_HOST"):
        reached(f"unix://{stale}")


def test_the_users_stale_socket_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "podman").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "podman/podman.sock"))
    assert found_service({"XDG_RUNTIME_DIR": str(tmp_path)}) is None


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", b"OK"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
            b"abcde",
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
    ],
)
def test_an_answer_is_read_whatever_its_framing(tmp_path: Path, answer: bytes, body: bytes) -> None:
    assert exchange(tmp_path, answer).request("GET", "/x").body == body


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nOK",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ],
)
def test_an_answer_that_is_cut_off_or_garbled_is_an_error(tmp_path: Path, answer: bytes) -> None:
    with pytest.raises(EngineError):
        exchange(tmp_path, answer).request("GET", "/x")


def exchange(directory: Path, answer: bytes) -> Client:
    """A client of a service that gives this one answer, cut into single bytes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "s"))
    listener.listen(1)

    def serve() -> None:
        connection, _ = listener.accept()
        with listener, connection:
            connection.recv(65_536)
            # The client may have read what it wanted, and gone.
            with suppress(BrokenPipeError):
                for byte in answer:
                    connection.sendall(bytes([byte]))

    threading.Thread(target=serve, daemon=True).start()
    return Client(path=str(directory / "s"))
