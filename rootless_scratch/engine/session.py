"""One container, from its creation to its removal."""

from __future__ import annotations

import contextlib
import re
import time
from contextlib import contextmanager
from signal import SIGHUP, SIGKILL
from typing import TYPE_CHECKING, Any, Self

import msgspec

from rootless_scratch.engine import failures, specification
from rootless_scratch.engine.http import Attached
from rootless_scratch.engine.lease import leftovers
from rootless_scratch.engine.service import remove_directory
from rootless_scratch.engine.streams import Output
from rootless_scratch.errors import EngineError, HostError, ImageNotFoundError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from rootless_scratch.engine.http import Client, Response
    from rootless_scratch.engine.lease import Lease
    from rootless_scratch.engine.signals import Forwarding
    from rootless_scratch.engine.specification import Request
    from rootless_scratch.errors import ScratchError
    from rootless_scratch.findings import Finding

OLDEST = (4, 3)
"""The oldest podman whose API is known to do what is asked here."""

STOP_GRACE = 2
"""Seconds between the stop signal at the timeout and SIGKILL."""

INTERRUPT_GRACE = 10
"""Seconds between a forwarded SIGINT or SIGTERM and SIGKILL: what `podman stop` waits."""

_HINT_AFTER = 2
_DRAIN = 5
"""Seconds for the output of a killed container to be written, should its reader have stalled."""

_KILLED = 137
_STILL_CREATING = 30
"""Seconds for which a container may yet appear after its creator was killed."""

_FORGET_AFTER = 7 * 24 * 3600
"""Seconds after which nobody asks any more for a container of a service that is not spoken to."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a container ended, and what was captured of its output."""

    exit_code: int
    timed_out: bool
    stdout: bytes
    stderr: bytes
    explanation: Finding | None


class Container:
    """The container of a lease; when the block ends it is gone, and with it the lease."""

    def __init__(self, client: Client, lease: Lease) -> None:
        self._client = client
        self._lease = lease
        # None while a create is in the works: if we are interrupted then, it may still appear.
        self._exists: bool | None = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.remove()
        except EngineError:
            # The first error tells more; the lease stays, and with it the next call's chance to clean up.
            if kind is None:
                raise
        else:
            self._lease.end()

    def create(self, asked: Request, network: str) -> tuple[str, ...]:
        """Create it; returns podman's warnings. Raises ImageNotFoundError, HostError, EngineError."""
        spec = specification.generator(asked, name=self._lease.container, owner=self._lease.owner, network=network)
        self._exists = None
        response = self._client.request("POST", "/containers/create", spec)
        self._exists = response.ok
        _check_version(response)
        if not response.ok:
            raise self._create_failure(response.refusal(), asked)
        return tuple(str(warning) for warning in response.json().get("Warnings") or ())

    def _create_failure(self, refusal: str, asked: Request) -> ScratchError:
        error = failures.create_failure(refusal, asked)
        if isinstance(error, ImageNotFoundError):
            from rootless_scratch.engine.images import names_near

            near = names_near(self._client.path, asked.image)
            if near:
                return ImageNotFoundError(error.message, fix=f"Did you mean {' or '.join(near)}?")
        return error

    @contextmanager
    def attach(self, asked: Request, *, stdout: int | None, stderr: int | None) -> Iterator[Output]:
        """Its output, from before its start on; the runtime makes it ready here, and may refuse.

        Raises CommandNotFoundError, CannotInvokeError, HostError, EngineError.
        """
        # Without the empty detachKeys the bytes ctrl-p ctrl-q would end the connection.
        attached = self._client.attach(self._target("/attach?stream=true&stdout=true&stderr=true&detachKeys="))
        if not isinstance(attached, Attached):
            raise failures.start_failure(attached.refusal(), asked)
        with attached.connection:
            yield Output(attached.connection, attached.early, stdout=stdout, stderr=stderr)

    def start(self, asked: Request) -> None:
        """Start its program; raises like `attach`."""
        response = self._client.request("POST", self._target("/start"))
        if not response.ok:
            raise failures.start_failure(response.refusal(), asked)

    def published(self) -> Iterator[str]:
        """One sentence for each of its ports that the host answers on."""
        ports = self._inspect()["NetworkSettings"]["Ports"] or {}
        for inside, places in ports.items():
            for place in places or ():
                address = place["HostIp"] or "0.0.0.0"  # noqa: S104 - what podman means by the empty address
                yield f"Port {inside} of the container is {address}:{place['HostPort']} on this host."

    def follow(
        self,
        output: Output,
        *,
        signals: Forwarding,
        timeout: float | None,
        say: Callable[[str], None],
    ) -> Ending:
        """Pass its output on until it ends; `timeout` in seconds from now.

        Raises EngineError where the service goes away or the output cannot be written, BrokenPipeError.
        """
        with contextlib.closing(_Watch(self._client, self._target(""), timeout, say)) as watch:
            exit_code = None
            pause = 0.001
            while exit_code is None and not watch.given_up:
                watch.look(signals.take())
                if output.ended:
                    exit_code = self._exit_code()
                    if exit_code is None:
                        _rest(watch.patience(pause), signals.wake)
                        pause = min(pause * 2, 0.25)
                elif output.wait(watch.patience(None), signals.wake):
                    _move(output)
        if output.torn and not watch.given_up:
            raise EngineError(
                "The container's output broke off.",
                fix="Run it again; see whether conmon was killed (`dmesg`).",
            )
        code = _KILLED if exit_code is None else exit_code
        wrote = output.stdout.size + output.stderr.size
        explanation = failures.explain(code, wrote=wrote, said=output.stderr.tail)
        return Ending(
            exit_code=code,
            timed_out=watch.timed_out,
            stdout=bytes(output.stdout.captured),
            stderr=bytes(output.stderr.captured),
            explanation=explanation,
        )

    def remove(self) -> None:
        """Remove it, running or not; nothing where there is none. Raises EngineError where podman cannot."""
        deadline = time.monotonic() + _DRAIN
        while self._exists is not False:
            response = remove_container(self._client, self._lease.container)
            if response or self._exists or time.monotonic() > deadline:
                self._exists = False
            else:
                time.sleep(0.1)

    def _exit_code(self) -> int | None:
        """Its exit code once it has ended.

        `wait` would take up to 250 ms longer, and answers 0 at once for a container that never started.
        """
        state = self._inspect()["State"]
        return int(state["ExitCode"]) if state["Status"] in ("exited", "stopped") else None

    def _inspect(self) -> Any:  # noqa: ANN401 - podman's own structure
        return self._client.call("GET", self._target("/json"))

    def _target(self, rest: str) -> str:
        return f"/containers/{self._lease.container}{rest}"


class _Watch:
    """What must happen to a running container at certain times and on signals."""

    def __init__(self, client: Client, target: str, timeout: float | None, say: Callable[[str], None]) -> None:
        self.timed_out = False
        self.given_up = False
        self._client = client
        self._target = target
        self._say = say
        self._timeout = timeout
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
            if number != SIGHUP and self._kill_at is not None:
                self._kill(now)
            else:
                self._send(number)
                if number != SIGHUP:
                    self._kill_at, self._hint_at = now + INTERRUPT_GRACE, now + _HINT_AFTER
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self.timed_out = True
            self._say(f"The timeout of {self._timeout:g} s has run out; the program is being ended.")
            # podman itself waits out the grace while the output goes on flowing here.
            self._stopping = self._client.begin("POST", f"{self._target}/stop?timeout={STOP_GRACE}")
            self._give_up_at = now + STOP_GRACE + _DRAIN
        if self._hint_at is not None and now >= self._hint_at:
            self._hint_at = None
            self._say("The program has not ended on that signal; once more kills it.")
        if self._kill_at is not None and now >= self._kill_at:
            self._kill(now)
        if self._give_up_at is not None and now >= self._give_up_at:
            self.given_up = True

    def _kill(self, now: float) -> None:
        self._hint_at, self._kill_at = None, None
        self._give_up_at = now + _DRAIN
        self._send(SIGKILL)

    def _send(self, number: int) -> None:
        # Refused where the container has just ended, which the next look at it will tell.
        self._client.request("POST", f"{self._target}/kill?signal={number}")


def _check_version(response: Response) -> None:
    """Every answer carries podman's version, so that it costs no question of its own."""
    match = re.match(r"(\d+)\.(\d+)", response.header("Libpod-Api-Version") or "")
    if match is not None and (int(match[1]), int(match[2])) < OLDEST:
        raise HostError(f"podman {match[0]} is too old.", fix=f"Install podman {OLDEST[0]}.{OLDEST[1]} or newer.")


def remove_container(client: Client, name: str) -> bool:
    """Remove a container, running or not; False where there is none.

    Raises EngineError where podman cannot.
    """
    response = client.request("DELETE", f"/containers/{name}?force=true&timeout=0&v=true")
    if not response.ok and response.status != 404:  # noqa: PLR2004 - RFC 9110, 15.5.5
        raise EngineError(
            f"The container {name} could not be removed: {response.refusal().rstrip('.')}.",
            fix=f"The next run tries again; `podman rm --force {name}` does it by hand.",
        )
    return response.ok


def remove_leftovers(client: Client, lease: Lease, *, directory: str, engine: str) -> None:
    """Remove the containers of owners that were killed, as far as this engine holds them.

    The service of another address may have had the same store, so all names are asked for here; they are random,
    and nobody else's. Costs one look at a directory where there are none.
    """
    for leftover in leftovers(directory, living=lease):
        try:
            removed = leftover.engine == "" or remove_container(client, leftover.lease.container)
        except EngineError:
            continue
        patience = _STILL_CREATING if leftover.engine == engine else _FORGET_AFTER
        if removed or leftover.age > patience:
            if leftover.directory is not None:
                remove_directory(leftover.directory)
            leftover.lease.end()


def _move(output: Output) -> None:
    try:
        output.move()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise EngineError(
            f"The container's output cannot be written: {error.strerror}.",
            fix="Make room where it goes to, or send it elsewhere.",
        ) from error


def _rest(seconds: float | None, wake: int | None) -> None:
    """Sleep, but not through a signal."""
    import select

    poll = select.poll()
    if wake is not None:
        poll.register(wake, select.POLLIN)
    poll.poll(None if seconds is None else seconds * 1000)
