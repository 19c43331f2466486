"""`run -i` as its users see it: what they send arrives, to the last byte, and its end is seen."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from containers import Home, left, shell

import rootless_scratch as rs

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

pytestmark = pytest.mark.podman

RUN = [sys.executable, "-m", "rootless_scratch", "run", "-q"]

MEASURING = (
    "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]);"
    "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)); sys.exit(code)"
)
"""A small process in between: a child's peak counts from its parent's, and that of the tests is large."""


def test_what_comes_through_a_pipe_is_read_to_its_end(tools: Home) -> None:
    assert tools.cli("run", "-q", "-i", "tools", "wc", "-c", input=b"x" * 100_001).stdout == b"100001\n"
    assert tools.cli("run", "-q", "-i", "tools", "cat", input=b"").stdout == b""


def test_a_file_is_read_to_its_end(tools: Home, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file:
        done = subprocess.run(
            [*RUN, "-i", "tools", "cat"],
            env=tools.environment,
            stdin=file,
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, content, b"")


def test_a_closed_stdin_is_an_empty_one(tools: Home) -> None:
    words = " ".join([*RUN, "-i", "tools", "wc", "-c", "<&-"])
    done = subprocess.run(["sh", "-c", words], env=tools.environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b"0\n")


def test_nothing_is_read_that_was_not_offered(tools: Home) -> None:
    words = " ".join([*RUN, "tools", "cat", "; cat"])
    done = subprocess.run(
        ["sh", "-c", words], env=tools.environment, input=b"rest", capture_output=True, timeout=60, check=False
    )
    assert done.stdout == b"rest", "the caller's next program still has it"


def test_every_byte_passes_also_those_that_detach_a_terminal(tools: Home) -> None:
    content = bytes(range(256)) + b"\x10\x11" * 3
    assert tools.cli("run", "-q", "-i", "tools", "cat", input=content).stdout == content
    words = [*RUN, "-i", "tools", "cat"]
    with subprocess.Popen(
        words, env=tools.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # One by one, as a terminal would send them, each answered before the next.
        for byte in (b"\x10", b"\x11", b"!"):
            process.stdin.write(byte)
            assert process.stdout.read(1) == byte
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def test_two_gigabytes_go_in_and_come_out_the_same_while_the_reader_stalls_in_little_memory(tools: Home) -> None:
    block = os.urandom(1_000_000)
    wanted = hashlib.sha256()

    def feed(pipe: IO[bytes]) -> None:
        with pipe:
            for number in range(2000):
                # No two are the same, so that none can be lost, or change places with another, unseen.
                piece = number.to_bytes(8, "big") + block[8:]
                wanted.update(piece)
                pipe.write(piece)

    words = [sys.executable, "-c", MEASURING, *RUN, "-i", "tools", "cat"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, env=tools.environment, **pipes) as process:  # type: ignore[call-overload] # pipes only
        feeder = threading.Thread(target=feed, args=(process.stdin,))
        feeder.start()
        got, size = hashlib.sha256(process.stdout.read(1)), 1
        feeder.join(timeout=1)
        assert feeder.is_alive(), "what nobody reads piles up nowhere"
        while piece := process.stdout.read(1 << 20):
            got.update(piece)
            size += len(piece)
        said = process.stderr.read()
        assert process.wait(timeout=30) == 0, said
        feeder.join()
    assert (size, got.hexdigest()) == (2_000_000_000, wanted.hexdigest())
    assert int(said) < 100_000, "kB"


def test_a_program_that_closes_its_stdin_goes_on(tools: Home) -> None:
    script = "exec <&-; /busybox sleep 0.3; echo still; exit 4"
    done = shell(tools, script, "-i", input=b"x" * 3_000_000)
    assert (done.returncode, done.stdout) == (4, b"still\n")


def test_a_program_that_ends_does_not_wait_for_its_callers_stdin(lonely_tools: Home) -> None:
    with subprocess.Popen(
        [*RUN, "-i", "tools", "echo", "done"],
        env=lonely_tools.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"done\n"
        assert process.wait(timeout=30) == 0
    assert left(lonely_tools) == []


def test_json_has_what_the_program_made_of_its_stdin(tools: Home) -> None:
    answer = json.loads(tools.cli("run", "--json", "-i", "tools", "tr", "a-z", "A-Z", input=b"abc").stdout)
    assert (answer["exit_code"], answer["stdout"], answer["container_id"]) == (0, "ABC", None)


@pytest.mark.usefixtures("tools", "python_home")
def test_from_python_stdin_is_input() -> None:
    content = os.urandom(200_000)
    result = rs.run("tools", ["cat"], input=content, network="none")
    assert (result.exit_code, result.stdout) == (0, content)
    assert rs.run("tools", ["cat"], network="none").stdout == b""
