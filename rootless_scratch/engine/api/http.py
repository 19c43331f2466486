"""HTTP/1.1 over a unix socket, as much of it as the podman service speaks.

podman-py cannot attach (its `attach` is not implemented, its `logs(follow=True)` loses output), and
importing http.client costs 20 ms of every start; hence this small reader of our own.
"""

from __future__ import annotations

import _socket
import os
import sys
from contextlib import contextmanager, suppress

from rootless_scratch.data import Value
from rootless_scratch.engine.api.logs import logged
from rootless_scratch.errors import EngineError
from rootless_scratch.host.causes import cause_in
from rootless_scratch.troubles import trouble_in, trouble_met

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from socket import socket
    from typing import Any, Self
else:

    class socket(_socket.socket):  # noqa: N801 - in place of that one
        """As much of socket.socket as is used here: that module makes tables of its constants, for 3 ms."""

        __slots__ = ()

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *raised: object) -> None:
            self.close()


API = "/v4.0.0/libpod"
"""podman 4 and 5 answer any version from 4 on under this prefix."""

PATIENCE = 60.0
"""Seconds that one answer may take; creating a container on a slow disk is the longest."""

_HEAD_LIMIT = 65_536
_BODY_LIMIT = 64 * 1024 * 1024
_BLOCK = 1024 * 1024


class Response(Value):
    """An answer of the service: `head` is the status line and the headers, `body` is decoded of chunking."""

    status: int
    head: bytes
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the service did what was asked."""
        return 200 <= self.status < 300  # noqa: PLR2004 - RFC 9110, 15.3

    def header(self, name: str) -> str | None:
        """The value of a header, or None."""
        return _header(self.head, name)

    def json(self) -> Any:  # noqa: ANN401 - whatever the service answers
        """The body as JSON; raises EngineError where it is none."""
        import json

        try:
            return json.loads(self.body)
        except ValueError as error:
            raise EngineError(
                "The podman service gave an answer that is not JSON.",
                fix="Check with `podman version` that podman is whole, and that the address is podman's.",
            ) from error

    def expect(self, failure: str, *, fix: str, or_status: int | None = None) -> None:
        """Raise EngineError where the service has refused, unless by this status: what failed, and why."""
        if not self.ok and self.status != or_status:
            refusal = self.refusal()
            cause = cause_in(refusal)
            if cause is None:
                raise EngineError(f"{failure}: {refusal.rstrip('.')}.", fix=fix)
            error = EngineError(cause.after(failure), fix=cause.fix, detail=refusal)
            error.rule = cause.rule
            raise error

    def refusal(self) -> str:
        """Why the service refused, in its own message."""
        import json

        try:
            answer = json.loads(self.body)
            return str(answer["message"] or answer["cause"])
        except (ValueError, KeyError, TypeError):
            return self.body.decode("utf-8", "replace").strip() or f"HTTP status {self.status}"


_CONNECTED = (b"02", b"03")
"""SS_CONNECTING, not accepted yet, and SS_CONNECTED."""


class Attached(Value):
    """A connection that has become the container's output; `early` holds what came with the answer's head."""

    connection: socket
    early: bytes


class Client(Value):
    """Speaks to the service behind a unix socket; every request has a connection of its own.

    `named` is the address by which the caller named it, None for one of this account; `log` holds what one of
    ours has said, which tells why it has gone.
    """

    path: str
    named: str | None = None
    log: str | None = None

    def request(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        patience: float = PATIENCE,
        meanwhile: Callable[[], object] | None = None,
    ) -> Response:
        """Ask and read the whole answer, whatever its status; `patience` in seconds.

        `meanwhile` is called while the service is at work. Raises EngineError where the service cannot be reached
        or its answer is cut off.
        """
        with self._open(patience) as connection, connection:
            connection.sendall(_head(method, target, body, "Connection: close\r\n"))
            if meanwhile is not None:
                meanwhile()
            return _read(connection, *_read_head(connection))

    def upload(self, target: str, path: str, *, patience: float = PATIENCE) -> Response:
        """Send a tar archive and read the answer, which may come before all is sent; otherwise as `request`."""
        with open(path, "rb") as archive, self._open(patience) as connection, connection:
            size = os.fstat(archive.fileno()).st_size
            connection.sendall(_opening("POST", target, f"Connection: close\r\n{_TAR}", size))
            with suppress(BrokenPipeError, ConnectionResetError):
                while block := archive.read(_BLOCK):
                    connection.sendall(block)
            return _read(connection, *_read_head(connection))

    def call(self, method: str, target: str, body: object = None, *, patience: float = PATIENCE) -> Any:  # noqa: ANN401 - whatever the service answers
        """Ask, and return the answer's JSON (None where it has no body); raises EngineError if refused."""
        response = self.request(method, target, body, patience=patience)
        fix = "Run `rootless-scratch doctor` to see what does not work here."
        response.expect("The podman service refused", fix=fix)
        return response.json() if response.body else None

    def attach(self, target: str, body: object = None) -> Attached | Response:
        """Ask for a connection that carries the container's output; a Response where that is refused.

        The caller closes the connection.
        """
        with self._open(PATIENCE) as connection:
            connection.sendall(_head("POST", target, body, "Connection: Upgrade\r\nUpgrade: tcp\r\n"))
            head, rest = _read_head(connection)
            if _status(head) == 101:  # noqa: PLR2004 - RFC 9110, 15.2.2
                connection.settimeout(None)
                return Attached(connection=connection, early=rest)
            with connection:
                return _read(connection, head, rest)

    def begin(self, method: str, target: str) -> socket:
        """Ask without waiting for the answer; the request is in the works until the caller closes this."""
        with self._open(PATIENCE) as connection:
            connection.sendall(_head(method, target, None, "Connection: close\r\n"))
            return connection

    def listens(self) -> bool:
        """Whether anything listens on the socket yet."""
        with socket(_socket.AF_UNIX, _socket.SOCK_STREAM) as connection:
            return connection.connect_ex(self.path) == 0

    def listener(self) -> int:
        """The process that listens on the socket; 0 where none does, or none that is seen from here."""
        with socket(_socket.AF_UNIX, _socket.SOCK_STREAM) as connection:
            if connection.connect_ex(self.path):
                return 0
            credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
            return int.from_bytes(credentials[:4], sys.byteorder)

    def is_busy(self) -> bool:
        """Whether the service may still be at work for anybody, who need not live any more.

        It closes its end of a connection when it has answered; these ends are listed with its path: proc(5).
        """
        path = os.fsencode(self.path)
        try:
            with open("/proc/net/unix", "rb") as file:
                states = [line.split()[5] for line in file if line.rstrip().endswith(b" " + path)]
        except OSError:
            states = []
        # One that listens from another network namespace is not in the list.
        return any(state in _CONNECTED for state in states) if states else self.listens()

    @contextmanager
    def _open(self, patience: float) -> Iterator[socket]:
        """A connection, which is closed where the block fails; an OSError of it becomes an EngineError."""
        connection = socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.settimeout(patience)
            connection.connect(self.path)
            yield connection
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                raise self._gone(error) from error
            raise

    def _gone(self, error: OSError) -> EngineError:
        trouble = trouble_met(error) or trouble_in(logged(self.log or os.devnull))
        if trouble is not None:
            return EngineError(trouble.after("The podman service cannot be used"), fix=trouble.fix)
        what = "did not answer in time" if isinstance(error, TimeoutError) else (error.strerror or str(error))
        return EngineError(
            f"The podman service at {self.named or self.path} cannot be reached: {what}.",
            fix="Check that this service runs and can be reached, or name another."
            if self.named is not None
            else "Run it again; `rootless-scratch doctor` says what podman lacks on this host.",
        )


def quoted(text: str) -> str:
    """A text as part of a request's target: RFC 3986, 2.1; loading urllib.parse would take longer."""
    safe = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/:@"
    return "".join(chr(byte) if byte in safe else f"%{byte:02X}" for byte in text.encode())


def _head(method: str, target: str, body: object, extra: str) -> bytes:
    """The whole request; a body becomes JSON."""
    content = b""
    if body is not None:
        import json

        content = json.dumps(body).encode()
    kind = "" if body is None else "Content-Type: application/json\r\n"
    return _opening(method, target, extra + kind, len(content)) + content


_TAR = "Content-Type: application/x-tar\r\n"


def _opening(method: str, target: str, extra: str, size: int) -> bytes:
    """A request up to its body of `size` bytes."""
    return f"{method} {API}{target} HTTP/1.1\r\nHost: podman\r\n{extra}Content-Length: {size}\r\n\r\n".encode()


def _read(connection: socket, head: bytes, rest: bytes) -> Response:
    return Response(status=_status(head), head=head, body=_read_body(connection, head, rest))


def _read_head(connection: socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > _HEAD_LIMIT:
            raise ConnectionResetError(0, "its answer was cut off")
        data += _more(connection)
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _status(head: bytes) -> int:
    fields = head.split(b" ", 2)
    if len(fields) < 2 or not fields[0].startswith(b"HTTP/1.") or not fields[1].isdigit():  # noqa: PLR2004
        raise ConnectionResetError(0, "what answers there does not speak HTTP")
    return int(fields[1])


def _header(head: bytes, name: str) -> str | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.decode("latin-1").strip().lower() == name.lower():
            return value.decode("latin-1").strip()
    return None


def _read_body(connection: socket, head: bytes, data: bytes) -> bytes:
    if _status(head) in (204, 304):
        return b""
    if (_header(head, "transfer-encoding") or "").lower() == "chunked":
        return _read_chunks(connection, data)
    length = _header(head, "content-length")
    wanted = int(length) if length is not None and length.isdigit() else None
    body = bytearray(data)
    while wanted is None or len(body) < wanted:
        piece = connection.recv(65_536)
        if not piece and wanted is not None:
            raise ConnectionResetError(0, "its answer was cut off")
        if not piece:
            break
        body += piece
        _bounded(body)
    return bytes(body[:wanted])


def _read_chunks(connection: socket, data: bytes) -> bytes:
    """Chunked coding: RFC 9112, 7.1; trailers are not used by the service."""
    body, buffer = bytearray(), bytearray(data)
    while True:
        while b"\r\n" not in buffer:
            buffer += _more(connection)
        line, _, rest = bytes(buffer).partition(b"\r\n")
        try:
            size = int(line.split(b";", 1)[0], 16)
        except ValueError as error:
            raise ConnectionResetError(0, "its answer is garbled") from error
        if size == 0:
            return bytes(body)
        buffer = bytearray(rest)
        while len(buffer) < size + 2:
            buffer += _more(connection)
        body += buffer[:size]
        _bounded(body)
        del buffer[: size + 2]


def _more(connection: socket) -> bytes:
    piece = connection.recv(65_536)
    if not piece:
        raise ConnectionResetError(0, "its answer was cut off")
    return piece


def _bounded(body: bytearray) -> None:
    if len(body) > _BODY_LIMIT:
        raise ConnectionResetError(0, "its answer is far too long")
