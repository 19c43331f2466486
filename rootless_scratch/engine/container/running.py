"""A container that runs beside the caller: its ports, its output, other programs in it, and its end."""

from __future__ import annotations

import signal as signals
import time
from typing import TYPE_CHECKING

from rootless_scratch import processes
from rootless_scratch.errors import EngineError, EngineTimeoutError, UsageError
from rootless_scratch.image.arguments import maybe, pairs, text, texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rootless_scratch.engine.container.executing import ExecResult
    from rootless_scratch.engine.container.lifecycle import Lifecycle
    from rootless_scratch.engine.container.recording import Recording
    from rootless_scratch.engine.request.request import Port

STOP_TIMEOUT = 10.0
"""Seconds between the stop signal and SIGKILL, as `podman stop` has it."""

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is published on any address answers on this one


class RunningContainer:
    """A container that was started; `id` and `name` are what podman calls it.

    `notes` has one sentence for each thing that was chosen because something else does not work on this host.
    """

    def __init__(
        self,
        container: Lifecycle,
        recording: Recording,
        *,
        name: str,
        notes: Sequence[str],
        ports: tuple[Port, ...],
        network: str | None,
    ) -> None:
        self.id = container.id
        self.name = name
        self.notes = tuple(notes)
        self._container = container
        self._recording = recording
        self._ports = ports
        self._network = network
        self._exit_code: int | None = None

    def port(self, inside: int, protocol: str = "tcp") -> int:
        """The port of the host that answers for one of the container's; raises UsageError.

        With `network="host"` that is the same one.
        """
        return self._place(inside, protocol)[1]

    def address(self, inside: int, protocol: str = "tcp") -> tuple[str, int]:
        """Where the host answers for a port of the container: address and port, as sockets take them.

        The host is the one of the podman service. Raises EngineError where only that one reaches the address.
        """
        address, outside = self._place(inside, protocol)
        host = self._container.service.host
        if host is None:
            return _ANY.get(address, address), outside
        if address.startswith("127.") or address == "::1":
            raise EngineError(
                f"The port {inside} of the container is {address}:{outside} on {host}, which nobody else reaches.",
                fix=f'Publish it on all its addresses (publish={{{inside}: None}}), or pass ready="started" and '
                f"bring it here: `ssh -N -L {outside}:{address}:{outside} {host}`.",
            )
        return host if address in _ANY else address, outside

    def _place(self, inside: int, protocol: str) -> tuple[str, int]:
        """The host's own address and port."""
        if self._network == "host":
            return "0.0.0.0", inside  # noqa: S104 - said, not bound
        for port, address, outside in self._container.ports():
            if port == f"{inside}/{protocol}":
                return address, outside
        raise UsageError(
            f"The port {inside}/{protocol} of the container is not published.",
            fix=f"Start it with publish={{{inside}: None}}.",
        )

    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where the host answers for its TCP ports that were to be published."""
        return tuple(self.address(port.container) for port in self._ports if port.protocol == "tcp")

    def logs(
        self, *, follow: bool = False, stdout: bool = True, stderr: bool = True, timeout: float | None = None
    ) -> Iterator[bytes]:
        """Lines of what it has written, from the first on, each with its end; with `follow` until it ends.

        Nothing is lost, and each call begins anew; it works after the end of the program too. At `timeout`, in
        seconds, following raises EngineTimeoutError.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._recording.lines(stdout=stdout, stderr=stderr, follow=follow, deadline=deadline)

    def last_words(self, *, stdout: bool) -> bytes:
        """The last 4096 bytes of stderr, of both streams with `stdout`."""
        return self._recording.tail(stdout=stdout)

    def exec(
        self,
        argv: Sequence[str],
        *,
        input: bytes | None = None,  # noqa: A002 - the name that subprocess.run has for it
        env: Mapping[str, str] | None = None,
        user: int | str | None = None,
        workdir: str | None = None,
        timeout: float | None = None,
    ) -> ExecResult:
        """Start another program of the image in it, with the rights of its own program, and wait for its end.

        `timeout` in seconds, then EngineTimeoutError. Raises CommandNotFoundError, CannotInvokeError, EngineError.
        """
        from rootless_scratch.engine.container.executing import execute

        command = texts("argv", argv)
        if not command:
            raise UsageError("No program was named.", fix='Name one: exec(["/program", "--argument"]).')
        return execute(
            self._container.client,
            self.id,
            command,
            stdin=input,
            env=dict(pairs("env", env)),
            user=maybe(text, "user", user),
            workdir=maybe(text, "workdir", workdir),
            timeout=timeout,
        )

    @property
    def out_of_memory(self) -> bool:
        """Whether its memory limit was its end, once `wait` has told that it ended."""
        return self._container.out_of_memory

    def ended(self, seconds: float = 0) -> bool:
        """Whether the program has ended, or ends within these seconds."""
        if self._exit_code is None and self._recording.wait(seconds):
            self._exit_code = self._container.exit_code()
            if self._exit_code is None and seconds:
                # podman knows of the end a moment after the streams have ended.
                time.sleep(seconds)
                self._exit_code = self._container.exit_code()
        return self._exit_code is not None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended; raises EngineTimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.001
        over = not self._recording.wait(timeout)
        while self._exit_code is None and not over:
            self._exit_code = self._container.exit_code()
            if self._exit_code is None:
                over = deadline is not None and time.monotonic() > deadline
                time.sleep(pause)
                pause = min(pause * 2, 0.25)
        if self._exit_code is None:
            raise EngineTimeoutError(
                f"The container was still running after {timeout:g} s.",
                fix="Wait longer, or end it: `stop()`.",
                detail=self.last_words(stdout=True).decode("utf-8", "replace"),
            )
        return self._exit_code

    def signal(self, signal: int | str) -> None:
        """Send it a signal, by its number or its name (`HUP`); raises EngineError, also where it has ended."""
        name = str(signal.value if hasattr(signal, "value") else signal)
        client, target = self._container.client, self._container.target(f"/kill?signal={name}")
        response = client.request("POST", target) if name.isalnum() else None
        if response is None:
            raise UsageError(f"{name!r} is not a signal.", fix="Name one: HUP, SIGUSR1, or a number.")
        fix = "See whether it has ended (`ended()`), and that the signal's name is right."
        response.expect(f"The signal {name} could not be sent", fix=fix)

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """End it by the image's stop signal, after `timeout` seconds by SIGKILL; its exit code."""
        patience = timeout + STOP_TIMEOUT + 5
        response = self._container.client.request(
            "POST", self._container.target(f"/stop?timeout={round(timeout)}"), patience=patience
        )
        # 304: it has ended by itself.
        fix = "Leave the block, which kills it."
        response.expect("The container could not be stopped", fix=fix, or_status=304)
        return self.wait(patience)

    def heeds_stop(self) -> bool:
        """Whether the stop signal may have an effect, as far as can be told; else waiting for one is in vain."""
        if self._container.service.elsewhere:
            return True
        found = self._container.inspect()
        return processes.heeds(int(found["State"].get("Pid") or 0), _number_of(found["Config"].get("StopSignal")))

    def health(self) -> str:
        """Run its health check now: `healthy`, `unhealthy` or `starting`; raises EngineError where it has none."""
        response = self._container.client.request("GET", self._container.target("/healthcheck"))
        if not response.ok:
            if self.ended():
                return "that it has ended"
            raise EngineError(
                "The container has no health check.",
                fix='Pass health_cmd="/program --arguments", or wait for something else.',
            )
        return str(response.json()["Status"])


def _number_of(stop_signal: object) -> int:
    """The number of a stop signal as podman tells it, by number or by name; 0 where it is neither."""
    text = str(stop_signal or signals.SIGTERM.value).upper()
    if text.isdigit():
        return int(text)
    found = signals.Signals.__members__.get(text if text.startswith("SIG") else f"SIG{text}")
    return 0 if found is None else found.value
