"""Another program started in a container that runs."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rootless_scratch.engine.api.http import Attached, Client, Response
from rootless_scratch.engine.stdio import streams
from rootless_scratch.engine.stdio.feed import Feed
from rootless_scratch.engine.stdio.streams import Demultiplexer
from rootless_scratch.errors import CannotInvokeError, CommandNotFoundError, EngineError, EngineTimeoutError
from rootless_scratch.expressions import expression

_CANNOT_INVOKE, _NOT_FOUND = 126, 127

_RUNTIME = expression(
    rb"Error: .*(?:exec failed|executable (?:file|path)|exec: |: OCI permission denied)", re.DOTALL
)
"""What podman says in the program's stead where the runtime could not start it."""

_PAUSE = 0.05


class ExecResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a program ended that was started in a running container, and its output."""

    exit_code: int
    stdout: bytes
    stderr: bytes


def execute(
    client: Client,
    container: str,
    argv: Sequence[str],
    *,
    stdin: bytes | None,
    env: Mapping[str, str],
    user: str | None,
    workdir: str | None,
    timeout: float | None,
) -> ExecResult:
    """Start it and wait for its end; it has the rights of the container's own program.

    At the timeout, in seconds, EngineTimeoutError is raised, and the program goes on until the container ends.
    Raises CommandNotFoundError, CannotInvokeError, EngineError.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    wish: dict[str, Any] = {
        "Cmd": list(argv),
        "AttachStdout": True,
        "AttachStderr": True,
        "AttachStdin": stdin is not None,
        # Empty, for ctrl-p ctrl-q are bytes like any other.
        "DetachKeys": "",
        "Env": [f"{name}={value}" for name, value in env.items()],
    }
    wish |= {key: value for key, value in (("User", user), ("WorkingDir", workdir)) if value is not None}
    made = client.request("POST", f"/containers/{container}/exec", wish)
    if not made.ok:
        raise _refused(made)
    session = str(made.json()["Id"])
    attached = client.attach(f"/exec/{session}/start", {"Detach": False, "Tty": False})
    if not isinstance(attached, Attached):
        raise _refused(attached)
    with (
        attached.connection as connection,
        contextlib.closing(Demultiplexer(connection, attached.early, stdout=None, stderr=None)) as output,
    ):
        parts: list[Demultiplexer | Feed] = [output] if stdin is None else [output, Feed(stdin, connection)]
        while not output.ended:
            streams.turn(parts, _left(deadline, argv), None)
    code = _exit_code(client, session, deadline, argv)
    stderr = bytes(output.stderr.captured)
    if code in (_CANNOT_INVOKE, _NOT_FOUND) and not output.stdout.size and _RUNTIME.match(stderr):
        kind = CommandNotFoundError if code == _NOT_FOUND else CannotInvokeError
        why = "is not in the container" if code == _NOT_FOUND else "cannot be executed in the container"
        raise kind(
            f"{argv[0]} {why}.",
            fix="Name a program of the image by its absolute path; a scratch image has no shell.",
            detail=stderr.decode("utf-8", "replace"),
        )
    return ExecResult(exit_code=code, stdout=bytes(output.stdout.captured), stderr=stderr)


def _refused(response: Response) -> EngineError:
    reason = response.refusal().rstrip(".")
    if "running" in reason or "state improper" in reason:
        return EngineError(
            "The container has ended, so nothing can be started in it.", fix="Read its output: `logs()`."
        )
    return EngineError(f"podman could not start the program: {reason}.", fix="Check the program's path.")


def _exit_code(client: Client, session: str, deadline: float | None, argv: Sequence[str]) -> int:
    """Its exit code; podman notes it a moment after the streams have ended."""
    while True:
        state = client.call("GET", f"/exec/{session}/json")
        if not state["Running"]:
            return int(state["ExitCode"])
        time.sleep(min(_PAUSE, _left(deadline, argv) or _PAUSE))


def _left(deadline: float | None, argv: Sequence[str]) -> float | None:
    left = None if deadline is None else deadline - time.monotonic()
    if left is not None and left <= 0:
        raise EngineTimeoutError(
            f"{argv[0]} did not end in time; it keeps running until the container ends.",
            fix="Give it more time, or see what it waits for.",
        )
    return left
