"""Functions of ours called inside buildah's user namespace, where files of all users and mounts can be read.

The other side is `verbs/inside.py`. Calls and answers are pickled: they go between two processes of the same
program and user, over a socket and a pipe that nobody else has.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import TYPE_CHECKING, Any

from rootless_scratch import command
from rootless_scratch.backends.session import cut_off
from rootless_scratch.errors import ScratchError
from rootless_scratch.host.capabilities import is_rootful
from rootless_scratch.host.environment import tool_environment
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.sparse import write_all

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

SIZE = 8
"""Bytes before each message that say how long it is."""

_END_PATIENCE = 30.0
"""Seconds in which what was begun is taken back; a command that ignores SIGTERM is given ten."""


class Within:
    """A Python process inside the namespace, which comes up while the caller still reads.

    For root it is a mount namespace: mounts end with it. Raises ToolMissingError, HostError.
    """

    def __init__(self, program: str) -> None:
        environment = tool_environment()
        command.require("buildah")
        self.notes = tuple(map(str, environment.notes))
        bytecode = ("-B",) if sys.dont_write_bytecode else ()
        # Without site-packages Python starts in half the time; the call brings the path that the caller has.
        argv = [sys.executable or "python3", "-I", "-S", *bytecode, program]
        entered = ("unshare", "--mount") if is_rootful() else ("buildah", "unshare")
        self._child = command.start([*entered, *argv], environment=environment.variables, socket=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def call(self, function: str, arguments: Mapping[str, object], *, progress: Progress = SILENT) -> Any:  # noqa: ANN401 - the function's
        """What the function `module:name` of this package returns for these arguments and a `progress`.

        Raises what it raises of ours, and HostError where there is no namespace.
        """
        # What the arguments are made of can be loaded once the path is there.
        self._send(pickle.dumps((sys.path, function, pickle.dumps(dict(arguments)))))
        received, stderr = bytearray(), b""
        for number, block in self._child.blocks():
            if number == 2:  # noqa: PLR2004 - stderr
                stderr = (stderr + block)[-command.STDERR_KEPT :]
                continue
            received += block
            for name, value in messages(received):
                if name == "answer":
                    return value
                if name == "error" and isinstance(value, ScratchError):
                    raise value
                getattr(progress, name)(value)
        raise cut_off(stderr.decode("utf-8", "replace"))

    def close(self) -> None:
        """End it, having it take back what it began, unless it has ended by itself."""
        import time

        self._child.close("stdin")
        deadline = time.monotonic() + _END_PATIENCE
        try:
            for _ in self._child.blocks(pause=0.5):
                if time.monotonic() > deadline:
                    break
        finally:
            self._child.kill_session()
            self._child.close()

    def _send(self, content: bytes) -> None:
        assert self._child.stdin is not None  # noqa: S101 - a socket was asked for
        try:
            write_all(self._child.stdin, framed(content))
        except ConnectionError:
            return  # it has ended already; what it said on stderr is the reason


def framed(content: bytes) -> bytes:
    """A message as it goes over."""
    return len(content).to_bytes(SIZE, "little") + content


def messages(received: bytearray) -> list[tuple[str, Any]]:
    """The whole messages that have come, which are taken out of what was received."""
    found = []
    while len(received) >= SIZE and len(received) >= SIZE + (size := int.from_bytes(received[:SIZE], "little")):
        found.append(pickle.loads(bytes(received[SIZE : SIZE + size])))  # noqa: S301 - from our own child
        del received[: SIZE + size]
    return found


def own_program(name: str) -> str:
    """The path of a module of this package that is run by path."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), name)
