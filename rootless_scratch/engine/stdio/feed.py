"""What the program reads: the caller's stdin on its way into the container, in bounded memory."""

from __future__ import annotations

import os
import select
from _socket import SHUT_WR

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

_READ = 65_536


class Feed:
    """Reads `source`, a descriptor or bytes, and writes it to an attached connection.

    Nothing is read before the last piece is written, so a program that reads slowly slows its caller down. The
    end of the source becomes the end of the program's stdin. `keys` are those that detach; they are not passed on.
    """

    def __init__(self, source: int | bytes, connection: socket.socket, *, keys: bytes = b"") -> None:
        self.ended = False
        self.detached = False
        self._connection = connection
        self._source = source if isinstance(source, int) else None
        self._rest = memoryview(b"" if isinstance(source, int) else source)
        self._keys = keys
        self._typed = 0

    def wanted(self) -> Iterator[tuple[int, int]]:
        """The descriptor and the event of poll(2) that it waits for, if any."""
        if self.ended or (self.detached and not self._rest):
            return
        if self._rest or self._source is None:
            yield self._connection.fileno(), select.POLLOUT
        else:
            yield self._source, select.POLLIN

    def move(self) -> None:
        """Write what has been read, or read more; where nobody reads any more, the rest is let be."""
        try:
            if self._rest:
                self._rest = self._rest[self._connection.send(self._rest[:_READ]) :]
                return
            data = b"" if self._source is None else self._take(self._source)
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            # The program has ended, or closed its stdin: its output tells the rest.
            self.ended = True
            return
        if data:
            self._rest = memoryview(data)
        elif data is not None:
            self._end()

    def _take(self, source: int) -> bytes | None:
        """More of the source, empty at its end; None while only a part of the keys has come."""
        try:
            data = os.read(source, _READ)
        except OSError as error:
            if isinstance(error, BlockingIOError):
                raise
            # A terminal that has gone: EIO, termios(3).
            data = b""
        if not self._keys:
            return data
        if not data:
            # What began like the keys were none.
            held, self._typed = self._keys[: self._typed], 0
            return held
        return self._without_keys(data) or None

    def _without_keys(self, data: bytes) -> bytes:
        passed = bytearray()
        for byte in data:
            if byte != self._keys[self._typed]:
                passed += self._keys[: self._typed]
                self._typed = 0
            if byte == self._keys[self._typed]:
                self._typed += 1
            else:
                passed.append(byte)
            if self._typed == len(self._keys):
                self.detached = True
                break
        return bytes(passed)

    def _end(self) -> None:
        self.ended = True
        try:
            self._connection.shutdown(SHUT_WR)
        except OSError:
            # The service has closed it already.
            return
