"""The container's output: taken out of its frames, passed on apart and byte for byte, in bounded memory."""

from __future__ import annotations

import fcntl
import os
import select
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_TAIL = 4096
"""Bytes of the end of stderr that are kept to explain an exit."""

_CERTAIN = 4096
"""A pipe that poll(2) calls writable takes this much without blocking: PIPE_BUF, pipe(7)."""

_READ = 65_536
_STDERR = 2


class Sink:
    """Where one stream goes: a file descriptor of the caller, or memory where there is none."""

    def __init__(self, descriptor: int | None) -> None:
        self.descriptor = descriptor
        self.captured = bytearray()
        self.tail = b""
        self.size = 0
        # A regular file takes everything at once; whatever may block is given pieces that do not.
        regular = descriptor is not None and stat.S_ISREG(os.fstat(descriptor).st_mode)
        self.piece = _READ * 16 if regular else _CERTAIN

    def note(self, data: bytes) -> None:
        """Count `data` and keep its end."""
        self.size += len(data)
        self.tail = (self.tail + data)[-_TAIL:] if len(data) < _TAIL else data[-_TAIL:]


class Output:
    """Reads the frames of an attached connection (`>BxxxL`: stream, length) and writes their content.

    It reads on only when everything read is written, so a slow reader slows the container down, and neither
    memory nor time is lost. Nothing here blocks except `wait`.
    """

    def __init__(self, connection: socket.socket, early: bytes, *, stdout: int | None, stderr: int | None) -> None:
        self.stdout = Sink(stdout)
        self.stderr = Sink(stderr)
        self.ended = False
        self._connection = connection
        self._header = b""
        self._left = 0
        self._current = self.stdout
        self._pending: list[tuple[Sink, memoryview]] = []
        connection.settimeout(0)
        self._take(early)

    @property
    def torn(self) -> bool:
        """Whether the connection ended inside a frame."""
        return self.ended and (self._left > 0 or bool(self._header))

    def wait(self, timeout: float | None, wake: int | None) -> bool:
        """Wait until something can be moved, `timeout` seconds have passed, or `wake` is readable.

        Returns whether something can be moved.
        """
        poll = select.poll()
        if wake is not None:
            poll.register(wake, select.POLLIN)
        if self._pending:
            watched = self._pending[0][0].descriptor
            assert watched is not None  # noqa: S101 - what is captured is never pending
            poll.register(watched, select.POLLOUT)
        else:
            watched = self._connection.fileno()
            poll.register(watched, select.POLLIN)
        ready = poll.poll(None if timeout is None else max(0, timeout) * 1000)
        return any(descriptor == watched for descriptor, _ in ready)

    def move(self) -> None:
        """Write what is pending, or read more; after `wait` has said so. Raises OSError from writing."""
        if self._pending:
            sink, rest = self._pending[0]
            assert sink.descriptor is not None  # noqa: S101 - what is captured is never pending
            try:
                written = os.write(sink.descriptor, rest[: sink.piece])
            except BlockingIOError:
                return
            if written < len(rest):
                self._pending[0] = (sink, rest[written:])
            else:
                del self._pending[0]
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
        at, size = 0, len(data)
        while at < size:
            if self._left == 0:
                wanted = 8 - len(self._header)
                self._header += data[at : at + wanted]
                at += wanted
                if len(self._header) < 8:  # noqa: PLR2004 - the size of a frame's header
                    return
                self._current = self.stderr if self._header[0] == _STDERR else self.stdout
                self._left = int.from_bytes(self._header[4:], "big")
                self._header = b""
            else:
                content = data[at : at + self._left]
                at += len(content)
                self._left -= len(content)
                self._pass_on(self._current, content)

    def _pass_on(self, sink: Sink, content: bytes) -> None:
        sink.note(content)
        if sink.descriptor is None:
            sink.captured += content
        else:
            self._pending.append((sink, memoryview(content)))


def open_for_writing(descriptor: int) -> bool:
    """Whether the caller's descriptor is there and can be written to (`>&-` closes it)."""
    try:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    except OSError:
        return False
    return flags & os.O_ACCMODE != os.O_RDONLY
