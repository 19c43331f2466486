"""How a container is removed where podman first says that it cannot be."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from rootless_scratch.engine.api.http import Client
from rootless_scratch.engine.container.removal import remove_container
from rootless_scratch.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

BUSY = "removing container abc root filesystem: unlinkat /x/abc/userdata/shm: device or resource busy"
"""As podman 4.3 says it of a container whose start was broken off, which it has forgotten by then."""


def answering(directory: Path, *answers: tuple[int, str]) -> tuple[Client, list[bytes]]:
    """A client of a service that gives these answers one after the other, and what that was asked."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "s"))
    listener.listen(1)
    requests: list[bytes] = []

    def serve() -> None:
        with listener:
            for status, cause in answers:
                connection, _ = listener.accept()
                with connection:
                    requests.append(connection.recv(65_536).partition(b"\r\n")[0])
                    body = json.dumps({"cause": cause, "message": cause, "response": status}).encode()
                    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n"
                    connection.sendall(head.encode() + body)

    threading.Thread(target=serve, daemon=True).start()
    return Client(path=str(directory / "s")), requests


def test_one_that_is_busy_is_asked_for_again_and_was_there(tmp_path: Path) -> None:
    client, requests = answering(tmp_path, (500, BUSY), (404, "no such container"))
    assert remove_container(client, "abc")
    assert len(requests) == 2


def test_one_that_was_never_there_is_not(tmp_path: Path) -> None:
    client, requests = answering(tmp_path, (404, "no such container"))
    assert not remove_container(client, "abc")
    assert len(requests) == 1


def test_what_does_not_pass_is_an_error_at_once(tmp_path: Path) -> None:
    client, requests = answering(tmp_path, (500, "no space left on device"))
    with pytest.raises(EngineError, match="abc could not be removed"):
        remove_container(client, "abc")
    assert len(requests) == 1
