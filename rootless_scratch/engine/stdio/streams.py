"""The container's output: taken out of its frames, passed on apart and byte for byte, in bounded memory."""

from __future__ import annotations

import os
import select
import stat

from rootless_scratch.expressions import expression

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator

    from rootless_scratch.engine.stdio.feed import Feed

TAIL = 4096
"""Bytes of the end of stderr that are kept to explain an exit."""

_CERTAIN = 4096
"""A pipe that poll(2) calls writable takes this much without blocking: PIPE_BUF, pipe(7)."""

_READ = 65_536
STDERR = 2

_FOREIGN = expression(
    rb"Error: (?:read|write) unixpacket @?->\S*attach: (?:read|write): (?:connection reset by peer|broken pipe)\s*"
)
"""What podman writes into the stderr of a container that ended with its stdin unread: podman issue 3302."""


class Sink:
    """Where one stream goes: a file descriptor of the caller, or memory where there is none."""

    def __init__(self, descriptor: int | None) -> None:
        self.captured = bytearray()
        self.tail = b""
        self.size = 0
        status = None if descriptor is None else os.fstat(descriptor)
        mode = 0 if status is None else status.st_mode
        self._own = None if descriptor is None or not stat.S_ISFIFO(mode) else _opened_again(descriptor)
        self.descriptor = descriptor if self._own is None else self._own
        # A regular file takes everything at once, and /dev/null; whatever may block is given pieces that do not.
        blocks = self._own is None and not stat.S_ISREG(mode) and not (status and _is_null(status))
        self.piece = _CERTAIN if blocks else _READ * 16

    def close(self) -> None:
        """Close what was opened here."""
        if self._own is not None:
            os.close(self._own)
            self._own, self.descriptor = None, None

    def note(self, data: bytes) -> None:
        """Count `data` and keep its end."""
        self.size += len(data)
        self.tail = (self.tail + data)[-TAIL:] if len(data) < TAIL else data[-TAIL:]


class Frames:
    """Takes content out of the frames of an attached connection: `>BxxxL`, the stream and the length."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self._stream = 0

    @property
    def torn(self) -> bool:
        """Whether what came so far ends inside a frame."""
        return self._left > 0 or bool(self._header)

    def split(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Pieces of content, each with its stream: 2 is stderr."""
        at, size = 0, len(data)
        while at < size:
            if self._left == 0:
                wanted = 8 - len(self._header)
                self._header += data[at : at + wanted]
                at += wanted
                if len(self._header) < 8:  # noqa: PLR2004 - the size of a frame's header
                    return
                self._stream = self._header[0]
                self._left = int.from_bytes(self._header[4:], "big")
                self._header = b""
            else:
                content = data[at : at + self._left]
                at += len(content)
                self._left -= len(content)
                yield self._stream, content


class Demultiplexer:
    """Reads the frames of an attached connection and writes their content.

    Where the program has a terminal (`framed` False) there are no frames, and all is stdout. It reads on only when
    everything read is written, so a slow reader slows the container down, and neither memory nor time is lost.
    Nothing here blocks.
    """

    def __init__(
        self,
        connection: socket.socket,
        early: bytes,
        *,
        stdout: int | None,
        stderr: int | None,
        framed: bool = True,
    ) -> None:
        self.stdout = Sink(stdout)
        self.stderr = Sink(stderr)
        self.ended = False
        self.mid_line = False
        self._connection = connection
        self.framed = framed
        self._frames = Frames()
        self._held = b""
        # In the order in which it came; nothing more is read before all is written.
        self._pending: list[tuple[Sink, bytearray]] = []
        self._written = 0
        connection.settimeout(0)
        self._take(early)

    def close(self) -> None:
        """Let go of the caller's descriptors."""
        self.stdout.close()
        self.stderr.close()

    @property
    def torn(self) -> bool:
        """Whether the connection ended inside a frame, or conmon was gone before it had taken it.

        The service's complaint is then all that came; where a program left its stdin unread its output came first.
        """
        nothing = bool(self._held) and not self.stdout.size and not self.stderr.size
        return self.ended and (self._frames.torn or nothing)

    def wanted(self) -> Iterator[tuple[int, int]]:
        """The descriptor and the event of poll(2) that it waits for, if any."""
        if self._pending:
            descriptor = self._pending[0][0].descriptor
            assert descriptor is not None  # noqa: S101 - what is captured is never pending
            yield descriptor, select.POLLOUT
        elif not self.ended:
            yield self._connection.fileno(), select.POLLIN

    def move(self) -> None:
        """Write what is pending, or read more; after poll(2) has said so. Raises OSError from writing."""
        if self._pending:
            sink, rest = self._pending[0]
            assert sink.descriptor is not None  # noqa: S101 - what is captured is never pending
            try:
                with memoryview(rest) as view:
                    self._written += os.write(sink.descriptor, view[self._written : self._written + sink.piece])
            except BlockingIOError:
                return
            if self._written == len(rest):
                del self._pending[0]
                self._written = 0
            return
        try:
            data = self._connection.recv(_READ)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if data:
            self._take(data)
        else:
            self.ended = True

    def _take(self, data: bytes) -> None:
        if not self.framed:
            if data:
                self._pass_on(self.stdout, data)
            return
        for stream, content in self._frames.split(data):
            self._pass_on(self.stderr if stream == STDERR else self.stdout, content)

    def _pass_on(self, sink: Sink, content: bytes) -> None:
        held, self._held = self._held, b""
        if held:
            self._put(self.stderr if self.framed else self.stdout, held)
        if self.framed and sink is self.stderr and _FOREIGN.fullmatch(content):
            # The service's complaint is the last that it writes: if anything follows, this was the program's.
            self._held = content
            return
        self._put(sink, content)

    def _put(self, sink: Sink, content: bytes) -> None:
        sink.note(content)
        self.mid_line = not content.endswith(b"\n")
        if sink.descriptor is None:
            sink.captured += content
        elif self._pending and self._pending[-1][0] is sink:
            self._pending[-1][1].extend(content)
        else:
            self._pending.append((sink, bytearray(content)))


def _is_null(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev


def _opened_again(descriptor: int) -> int | None:
    """A pipe with an open file description of its own, that does not block: the caller's stays as it is.

    None where that is not possible: where it is another user's, or /proc is not there.
    """
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None


def turn(parts: Iterable[Demultiplexer | Feed], timeout: float | None, wake: int | None) -> None:
    """Move what can be moved; wait for that `timeout` seconds at most, or until `wake` is readable.

    Raises OSError from writing output.
    """
    masks: dict[int, int] = {} if wake is None else {wake: select.POLLIN}
    waiting = []
    for part in parts:
        for descriptor, mask in part.wanted():
            masks[descriptor] = masks.get(descriptor, 0) | mask
            waiting.append((part, descriptor, mask))
    poll = select.poll()
    for descriptor, mask in masks.items():
        poll.register(descriptor, mask)
    ready = dict(poll.poll(None if timeout is None else max(0, timeout) * 1000))
    for part, descriptor, mask in waiting:
        # An end or an error (POLLHUP, POLLERR) is met by reading or writing.
        if ready.get(descriptor, 0) & (mask | ~(select.POLLIN | select.POLLOUT)):
            part.move()
