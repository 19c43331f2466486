"""What goes between caller and container, without one: frames, foreign lines, keys that detach, terminals."""

from __future__ import annotations

import os
import pty
import select
import socket
import termios
from typing import TYPE_CHECKING

import pytest

from rootless_scratch.engine.request.values import parse_keys
from rootless_scratch.engine.stdio.feed import Feed
from rootless_scratch.engine.stdio.streams import Demultiplexer, Sink, turn
from rootless_scratch.engine.stdio.terminal import Terminal
from rootless_scratch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOREIGN = b"Error: read unixpacket @->/proc/self/fd/21/attach: read: connection reset by peer\n"


def frame(stream: int, content: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(content).to_bytes(4, "big") + content


def received(frames: bytes) -> tuple[bytes, bytes]:
    """stdout and stderr of what the service sends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        output = Demultiplexer(ours, b"", stdout=None, stderr=None)
        theirs.sendall(frames)
        theirs.shutdown(socket.SHUT_WR)
        while not output.ended:
            turn([output], 10, None)
        return bytes(output.stdout.captured), bytes(output.stderr.captured)


@pytest.mark.parametrize(
    "line",
    [
        FOREIGN,
        b"Error: write unixpacket @->/proc/self/fd/9/attach: write: broken pipe",
    ],
)
def test_the_services_own_complaint_at_the_end_is_not_the_programs(line: bytes) -> None:
    assert received(frame(1, b"out") + frame(2, b"err") + frame(2, line)) == (b"out", b"err")


@pytest.mark.parametrize(
    ("frames", "torn"),
    [
        (frame(2, FOREIGN), True),
        (frame(1, b"out") + frame(2, FOREIGN), False),
        (frame(2, b"err") + frame(2, FOREIGN), False),
        (frame(1, b"out")[:9], True),
        (b"", False),
    ],
)
def test_output_of_which_nothing_could_come_is_not_taken_for_none(frames: bytes, *, torn: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        output = Demultiplexer(ours, b"", stdout=None, stderr=None)
        theirs.sendall(frames)
        assert not output.torn
        theirs.shutdown(socket.SHUT_WR)
        while not output.ended:
            turn([output], 10, None)
        assert output.torn == torn


def test_a_program_may_say_the_same_and_go_on() -> None:
    assert received(frame(2, FOREIGN) + frame(1, b"more")) == (b"more", FOREIGN)
    assert received(frame(2, b"my " + FOREIGN)) == (b"", b"my " + FOREIGN)
    assert received(frame(1, FOREIGN)) == (FOREIGN, b"")


def fed(pieces: Sequence[bytes], keys: bytes) -> tuple[bytes, bool]:
    """What arrives at the program of pieces that are typed one after the other, and whether the user detached."""
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    with ours, theirs:
        feed = Feed(read, ours, keys=keys)
        for piece in pieces:
            os.write(write, piece)
            while select.select([read], [], [], 0)[0] and not feed.detached:
                turn([feed], 0, None)
        os.close(write)
        while list(feed.wanted()):
            turn([feed], 10, None)
        ours.close()
        os.close(read)
        got = b""
        while piece := theirs.recv(4096):
            got += piece
        return got, feed.detached


KEYS = b"\x10\x11"


@pytest.mark.parametrize(
    ("pieces", "keys", "got", "detached"),
    [
        ([b"abc"], KEYS, b"abc", False),
        ([b"ab\x10\x11cd"], KEYS, b"ab", True),
        ([b"ab\x10", b"\x11"], KEYS, b"ab", True),
        ([b"\x10", b"x\x11"], KEYS, b"\x10x\x11", False),
        ([b"\x10\x10\x11"], KEYS, b"\x10", True),
        ([b"ab\x10"], KEYS, b"ab\x10", False),
        ([b"\x10\x11"], b"", b"\x10\x11", False),
        ([b"aab"], b"ab", b"a", True),
    ],
)
def test_only_the_whole_sequence_detaches_and_nothing_else_is_held_back(
    pieces: Sequence[bytes], keys: bytes, got: bytes, detached: bool
) -> None:
    assert fed(pieces, keys) == (got, detached)


@pytest.mark.parametrize(
    ("word", "keys"), [("ctrl-p,ctrl-q", KEYS), ("", b""), ("ctrl-a,d", b"\x01d"), ("ctrl-[,q", b"\x1bq")]
)
def test_keys_are_written_as_podman_has_them(word: str, keys: bytes) -> None:
    assert parse_keys(word) == keys


@pytest.mark.parametrize("word", ["ctrl", "ctrl-", "ctrl-pq", "ab", "ctrl-p,", "é"])
def test_keys_that_no_terminal_has_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match="--detach-keys"):
        parse_keys(word)


def test_a_terminal_is_raw_inside_and_as_before_afterwards_also_after_an_error() -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)

    def use() -> None:
        with Terminal(slave) as terminal:
            assert not termios.tcgetattr(slave)[3] & termios.ICANON
            terminal.say(lambda _: seen.append(termios.tcgetattr(slave)), "hello")
            assert not termios.tcgetattr(slave)[3] & termios.ECHO
            raise OSError

    seen: list[object] = []
    with pytest.raises(OSError, match=r"^$"):
        use()
    assert termios.tcgetattr(slave) == before
    assert seen == [before], "a sentence is said as on any terminal"
    os.close(master)
    os.close(slave)


def test_what_never_blocks_is_given_much_at_once_and_a_terminal_only_what_it_takes(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    with open(os.devnull, "wb") as null, (tmp_path / "file").open("wb") as file:
        assert Sink(null.fileno()).piece == Sink(file.fileno()).piece > 65_536
        assert Sink(slave).piece == 4096
    os.close(master)
    os.close(slave)


def test_what_is_no_terminal_is_let_be() -> None:
    read, write = os.pipe()
    with Terminal(read) as terminal:
        assert terminal.size() is None
    os.close(read)
    os.close(write)


def test_a_pipe_of_the_callers_keeps_its_own_flags() -> None:
    read, write = os.pipe()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        output = Demultiplexer(ours, b"", stdout=write, stderr=None)
        theirs.sendall(frame(1, b"x" * 150_000) + frame(1, b"y"))
        theirs.shutdown(socket.SHUT_WR)
        got = b""
        while len(got) < 150_001:
            turn([output], 0.01, None)
            assert os.get_blocking(write)
            if select.select([read], [], [], 0)[0]:
                got += os.read(read, 10_000)
        output.close()
    assert got == b"x" * 150_000 + b"y"
    os.close(write)
    assert os.read(read, 1) == b"", "nobody else holds it open"
    os.close(read)
