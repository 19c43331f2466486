"""When a container is ready: what is looked for, and how it is told that it will not come."""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING, Literal, TypeAlias

from rootless_scratch.errors import EndedEarlyError, EngineTimeoutError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless_scratch.engine.container.running import RunningContainer

Ready: TypeAlias = (
    "Literal['started', 'port', 'healthy'] | re.Pattern[str] | re.Pattern[bytes]"
    " | Callable[[RunningContainer], object]"
)
"""What makes a container ready: it has been started, its published TCP ports answer, its health check is content,
a line of its output is matched, or the function says so."""

_WORDS = ("started", "port", "healthy")
_PAUSES = (0.01, 0.25)
"""Seconds between two looks, at first and later."""

_HANGS_UP = 0.1
"""Seconds in which a forwarder of ports hangs up where nobody listens behind it."""

_CONNECT_PATIENCE = 2.0


def check_ready(ready: object, timeout: object) -> None:
    """Raise UsageError for what is none of Ready, and for what is no number of seconds."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
        raise UsageError(
            f"ready_timeout is {timeout!r}, which is not a positive number of seconds.", fix="Write it as 30."
        )
    if not (ready is None or ready in _WORDS or isinstance(ready, re.Pattern) or callable(ready)):
        raise UsageError(
            f"ready is {ready!r}, which is not a condition to wait for.",
            fix='Pass "started", "port" or "healthy", re.compile(...) for a line of its output, or a function.',
        )


def wait_until_ready(container: RunningContainer, ready: Ready, timeout: float) -> None:
    """Wait that many seconds at most; raises EngineTimeoutError, EndedEarlyError, and what `ready` raises."""
    deadline = time.monotonic() + timeout
    if ready == "started":
        return
    if isinstance(ready, re.Pattern):
        _wait_for_line(container, ready, deadline, timeout)
        return
    pause, most = _PAUSES
    while True:
        missing = _missing(container, ready)
        if missing is None:
            return
        if container.ended(pause):
            raise _ended(container)
        if time.monotonic() > deadline:
            raise _late(container, timeout, missing)
        pause = min(pause * 2, most)


def _missing(container: RunningContainer, ready: Ready) -> str | None:
    """What is not as it is waited for; None where all is."""
    if ready == "port":
        silent = next((address for address in container.addresses() if not answers(*address)), None)
        return None if silent is None else f"nothing answers at {silent[0]}:{silent[1]}"
    if ready == "healthy":
        status = container.health()
        return None if status == "healthy" else f"its health check says {status}"
    return None if callable(ready) and ready(container) else "the function `ready` does not say so"


def answers(address: str, port: int) -> bool:
    """Whether something listens there, and not only a forwarder that hangs up at once."""
    try:
        with socket.create_connection((address, port), timeout=_CONNECT_PATIENCE) as connection:
            connection.settimeout(_HANGS_UP)
            try:
                return connection.recv(1) != b""
            except TimeoutError:
                return True
    except OSError:
        return False


def _wait_for_line(
    container: RunningContainer, wanted: re.Pattern[str] | re.Pattern[bytes], deadline: float, timeout: float
) -> None:
    missing = f"no line of its output matches {wanted.pattern!r}"
    try:
        for line in container.logs(follow=True, timeout=max(0.0, deadline - time.monotonic())):
            if _matches(wanted, line):
                return
    except EngineTimeoutError as error:
        raise _late(container, timeout, missing) from error
    # Its streams have ended; most often it has, too.
    while not container.ended(_PAUSES[0]):
        if time.monotonic() > deadline:
            raise _late(container, timeout, missing)
    raise _ended(container)


def _matches(wanted: re.Pattern[str] | re.Pattern[bytes], line: bytes) -> bool:
    if isinstance(wanted.pattern, str):
        return re.search(wanted.pattern, line.decode("utf-8", "replace"), wanted.flags) is not None
    return re.search(wanted.pattern, line, wanted.flags) is not None


def _late(container: RunningContainer, timeout: float, why: str) -> EngineTimeoutError:
    return EngineTimeoutError(
        f"The container was not ready within {timeout:g} s: {why}.{_quoted(container)}",
        fix="Give it more time by ready_timeout, or see what it waits for.",
        detail=_detail(container),
    )


def _ended(container: RunningContainer) -> EndedEarlyError:
    from rootless_scratch.engine.diagnose.explaining import explain
    from rootless_scratch.engine.stdio.streams import TAIL

    code, tail = container.wait(), container.last_words(stdout=False)
    wrote = len(container.last_words(stdout=True))
    error = EndedEarlyError(
        f"The program ended with exit code {code} before it was ready.{_quoted(container)}",
        fix="See its output; rs.run shows all of it.",
        exit_code=code,
        last_words=tail,
        out_of_memory=container.out_of_memory,
        detail=_detail(container),
    )
    # Of a program that said as much as is kept, it is not known that it said no more.
    error.explanation = explain(code, wrote=wrote if wrote < TAIL else TAIL + 1, output=tail)
    return error


def _detail(container: RunningContainer) -> str:
    return container.last_words(stdout=True).decode("utf-8", "replace")


def _quoted(container: RunningContainer) -> str:
    """The last line that it said, as part of a sentence."""
    lines = _detail(container).split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" Its last line is {last[:200]!r}." if last else ""
