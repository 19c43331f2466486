"""What must happen to a running container at certain times and on signals."""

from __future__ import annotations

import time
from signal import SIGINT, SIGKILL, SIGTERM, SIGWINCH

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from rootless_scratch.engine.api.http import Client

STOP_GRACE = 2
"""Seconds between the stop signal at the timeout and SIGKILL."""

INTERRUPT_GRACE = 10
"""Seconds between a forwarded SIGINT or SIGTERM and SIGKILL: what `podman stop` waits."""

DRAIN = 5
"""Seconds for the output of a killed container to be written, should its reader have stalled."""

_HINT_AFTER = 2


class Watch:
    """The clock of one container: its timeout, the grace after a signal, and the signals themselves.

    `target` is the container's address in the API, `timeout` in seconds from now, `resize` is called on SIGWINCH
    where the program has the caller's terminal; without one the signal is forwarded as all others are. `grace` in
    seconds is that of the caller in place of STOP_GRACE and INTERRUPT_GRACE. `killed`
    says that SIGKILL came, or may have come, from here.
    """

    def __init__(
        self,
        client: Client,
        target: str,
        timeout: float | None,
        *,
        say: Callable[[str], None],
        resize: Callable[[], None] | None,
        grace: int | None = None,
    ) -> None:
        self.timed_out = False
        self.given_up = False
        self.killed = False
        self._client = client
        self._target = target
        self._say = say
        self._resize = resize
        self._timeout = timeout
        self._stop_grace = STOP_GRACE if grace is None else grace
        self._interrupt_grace = INTERRUPT_GRACE if grace is None else grace
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._hint_at: float | None = None
        self._kill_at: float | None = None
        self._give_up_at: float | None = None
        self._stopping: socket.socket | None = None

    def close(self) -> None:
        """Let go of a stop request whose answer nobody needs any more."""
        if self._stopping is not None:
            self._stopping.close()

    def patience(self, most: float | None) -> float | None:
        """Seconds until the next thing is due, `most` at most; None: nothing is."""
        due = [at for at in (self._deadline, self._hint_at, self._kill_at, self._give_up_at) if at is not None]
        now = time.monotonic()
        waits = [at - now for at in due] + ([] if most is None else [most])
        return max(0.0, min(waits)) if waits else None

    def look(self, came: list[int]) -> None:
        """Do what is due now, and pass on the signals that came."""
        now = time.monotonic()
        for number in came:
            if number == SIGWINCH and self._resize is not None:
                self._resize()
            elif number in (SIGINT, SIGTERM) and self._kill_at is not None:
                self._kill(now)
            else:
                self._send(number)
                if number in (SIGINT, SIGTERM):
                    self._kill_at, self._hint_at = now + self._interrupt_grace, now + _HINT_AFTER
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self.timed_out = self.killed = True
            self._say(f"The timeout of {self._timeout:g} s has run out; the program is being ended.")
            # podman itself waits out the grace while the output goes on flowing here.
            self._stopping = self._client.begin("POST", f"{self._target}/stop?timeout={self._stop_grace}")
            self._give_up_at = now + self._stop_grace + DRAIN
        if self._hint_at is not None and now >= self._hint_at:
            self._hint_at = None
            self._say("The program has not ended on that signal; the next one kills it.")
        if self._kill_at is not None and now >= self._kill_at:
            self._kill(now)
        if self._give_up_at is not None and now >= self._give_up_at:
            self.given_up = True

    def _kill(self, now: float) -> None:
        self._hint_at, self._kill_at = None, None
        self._give_up_at = now + DRAIN
        self.killed = True
        self._send(SIGKILL)

    def _send(self, number: int) -> None:
        # Refused where the container has just ended, which the next look at it will tell.
        self._client.request("POST", f"{self._target}/kill?signal={number}")
