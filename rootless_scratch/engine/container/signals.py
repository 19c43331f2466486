"""Signals to us that are meant for the container: forwarded, as `podman run` does."""

from __future__ import annotations

import contextlib
import os
import signal

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from types import FrameType
    from typing import Self

FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)


class Interrupted(KeyboardInterrupt):
    """One of the forwarded signals came while there was no container to give it to."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Forwarding:
    """While it is entered, signals queue up for the container, or raise Interrupted before there is one.

    Python lets only the main thread do this; `enabled` False leaves everything as the caller has it.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._queue: list[int] = []
        self._before: list[tuple[int, signal.Handlers | int | None]] = []
        self._pipe: tuple[int, int] | None = None
        self._wake_before = -1
        self._queueing = False
        self.interrupted = 0
        """The signal for which Interrupted was raised last; who called may not have passed that on."""

    def __enter__(self) -> Self:
        if self._enabled:
            read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._pipe = (read, write)
            self._wake_before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
            for number in FORWARDED:
                # What our caller ignores stays ignored (nohup).
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before.append((number, signal.signal(number, self._handle)))  # type: ignore[arg-type] # one of the four kinds that signal.signal returns
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
        if self._pipe is not None:
            signal.set_wakeup_fd(self._wake_before)
            for descriptor in self._pipe:
                os.close(descriptor)

    @property
    def wake(self) -> int | None:
        """A descriptor that becomes readable when a signal has come."""
        return None if self._pipe is None else self._pipe[0]

    def queue(self) -> None:
        """From now on signals wait in `take` instead of raising Interrupted."""
        self._queueing = True

    def take(self) -> list[int]:
        """The signals that have come since the last call."""
        if self._pipe is not None:
            with contextlib.suppress(BlockingIOError):
                os.read(self._pipe[0], 512)
        came, self._queue = self._queue, []
        return came

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._queueing:
            self._queue.append(number)
        elif number != signal.SIGWINCH:  # which ends nobody
            self.interrupted = number
            raise Interrupted(number)
