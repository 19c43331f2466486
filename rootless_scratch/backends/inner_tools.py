"""Tools that a process inside the namespace calls: in its own session, ended politely where it is interrupted."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from rootless_scratch import command
from rootless_scratch.errors import HostError
from rootless_scratch.spawn import NULL, Child, spawn
from rootless_scratch.troubles import limit_met

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PATIENCE = 10.0
"""Seconds in which buildah ends what it runs and takes back what it has begun."""

_LINE = 64 << 10


def call(argv: Sequence[str], environment: Mapping[str, str], *, directory: str | None = None) -> command.Output:
    """Run a tool to its end, started in `directory`; raises ToolMissingError, HostError."""
    kept = {1: bytearray(), 2: bytearray()}
    child = _started(argv, environment, directory=directory)
    try:
        for number, block in child.blocks():
            kept[number] += block
        return command.Output(exit_code=child.wait(), stdout=bytes(kept[1]), stderr=bytes(kept[2]))
    except BaseException:
        _end(child)
        raise
    finally:
        child.close()


def follow(argv: Sequence[str], environment: Mapping[str, str], *, on_line: Callable[[str], None]) -> int:
    """Run a tool to its end; `on_line` gets each line of both its streams, in their order. Its exit code."""
    reading, writing = os.pipe()
    with open(reading, "rb") as output:
        try:
            child = _started(argv, environment, output=writing)
        finally:
            os.close(writing)
        try:
            while line := output.readline(_LINE):
                on_line(line.decode("utf-8", "replace").rstrip("\r\n"))
            return child.wait()
        except BaseException:
            _end(child)
            raise


def _started(
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    output: int | None = None,
    directory: str | None = None,
) -> Child:
    program = command.require(argv[0])
    here = None if directory is None else os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if directory is not None:
            os.chdir(directory)
        return spawn([program, *argv[1:]], environment=environment, stdin=NULL, stdout=output, stderr=output)
    except OSError as error:
        raise limit_met(error) or HostError(
            f"{program} cannot be started: {error.strerror}.", fix="Check that it is executable by you."
        ) from error
    finally:
        if here is not None:
            os.fchdir(here)
            os.close(here)


def _end(child: Child) -> None:
    """Politely, and by force where that does not help."""
    deadline = time.monotonic() + _PATIENCE
    with suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGTERM)
    while child.poll() is None:
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            child.wait()
        time.sleep(0.01)
