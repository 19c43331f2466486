"""Run an image and bring back its output and its exit code; nothing of the container stays.

What podman-py does not offer is done here over the raw API: the output is attached before the program starts,
so that none is lost, and the exit code is read from the container's state.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Protocol

import msgspec

from rootless_scratch.engine import service as services
from rootless_scratch.engine import specification
from rootless_scratch.engine.lease import Lease, lease_directory, local_engine
from rootless_scratch.engine.opening import Opening
from rootless_scratch.engine.signals import Forwarding
from rootless_scratch.host.cgroups import choose_runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rootless_scratch.engine.service import Service
    from rootless_scratch.engine.session import Container, Ending
    from rootless_scratch.engine.specification import Request
    from rootless_scratch.findings import Finding

TIMED_OUT = 124
"""The exit code where the timeout ran out, as timeout(1) has it."""


class HasImageId(Protocol):
    """An image as `build` returns it."""

    @property
    def image_id(self) -> str:
        """The sha256 of its config."""


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended. `stdout` and `stderr` are empty where they were streamed to descriptors.

    `explanation` says why a program could not begin although podman started it; `notes` has one sentence for
    each thing that was chosen because something else does not work on this host.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    explanation: Finding | None
    timed_out: bool
    notes: tuple[str, ...]


class _Notes:
    """Sentences for the user: kept for the result, and said from the moment that the container is ready.

    Before that an error may come, beside which they would only distract.
    """

    def __init__(self, say: Callable[[str], None] | None) -> None:
        self.kept: list[str] = []
        self._say = say
        self._ready = False

    def add(self, sentence: str) -> None:
        self.kept.append(sentence)
        if self._ready and self._say is not None:
            self._say(sentence)

    def ready(self) -> None:
        self._ready = True
        if self._say is not None:
            for sentence in self.kept:
                self._say(sentence)


class _Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call of `run`, as its steps hand it on."""

    asked: Request
    opening: Opening
    signals: Forwarding
    notes: _Notes
    stdout: int | None
    stderr: int | None

    @property
    def lease(self) -> Lease:
        """The right to the container's name."""
        return self.opening.lease

    @property
    def variables(self) -> dict[str, str]:
        """The environment of tools."""
        return self.opening.variables


def run(
    image: str | HasImageId,
    arguments: Sequence[str] = (),
    *,
    env: Mapping[str, str] | None = None,
    network: str | None = None,
    volumes: Sequence[str] = (),
    publish: Sequence[str] = (),
    user: str | None = None,
    timeout: float | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    forward_signals: bool = False,
    say: Callable[[str], None] | None = None,
    opening: Opening | None = None,
) -> RunResult:
    """Run an image of local storage, hardened, to its end; it is never fetched, and its container is removed.

    `timeout` in seconds; then SIGTERM (or the image's stop signal), 2 seconds later SIGKILL, exit code 124.
    Output is captured, or streamed to the descriptors `stdout` and `stderr`. `say` is told notes as they
    arise. With `forward_signals` (main thread only) SIGINT, SIGTERM and SIGHUP go to the container. `opening`
    is one that was begun early, and is closed here.

    Raises UsageError, ImageNotFoundError, CommandNotFoundError, CannotInvokeError, HostError, EngineError,
    and BrokenPipeError where the reader of a streamed output has gone.
    """
    asked = specification.request(
        image if isinstance(image, str) else image.image_id,
        arguments,
        env=env or {},
        network=network,
        volumes=volumes,
        publish=publish,
        user=user,
        timeout=timeout,
    )
    notes = _Notes(say)
    with Forwarding(enabled=forward_signals) as signals, contextlib.closing(opening or Opening()) as begun:
        call = _Call(asked=asked, opening=begun, signals=signals, notes=notes, stdout=stdout, stderr=stderr)
        ending = _run(call)
    return RunResult(
        exit_code=TIMED_OUT if ending.timed_out else ending.exit_code,
        stdout=ending.stdout,
        stderr=ending.stderr,
        explanation=ending.explanation,
        timed_out=ending.timed_out,
        notes=tuple(notes.kept),
    )


def _run(call: _Call) -> Ending:
    starting = call.opening.starting
    if starting is None:
        ending = _run_on_found(call)
        if ending is not None:
            return ending
        starting = call.opening.start_service()
    for note in call.opening.notes:
        call.notes.add(note)
    # These imports take as long as the service takes to start, so they wait until it does.
    from rootless_scratch.engine import failures, network, session, streams  # noqa: F401 - warmed up here

    return _run_on(services.wait_until_ready(starting), call, engine=local_engine(call.variables))


def _run_on_found(call: _Call) -> Ending | None:
    """Run it on the service that the caller names, or on the user's own; None where neither is of use."""
    named = os.environ.get("CONTAINER_HOST")
    found = services.found_service(call.variables | ({"CONTAINER_HOST": named} if named else {}))
    if found is None:
        return None
    from rootless_scratch.engine.failures import RuntimeUnsuitedError

    local = found.origin == "user"
    engine = local_engine(call.variables) if local else f"unix://{found.client.path}"
    call.lease.record(engine=engine, directory=None)
    try:
        return _run_on(found, call, engine=engine)
    except RuntimeUnsuitedError:
        # Another runtime would be the same one again where this host suggests none.
        if not local or choose_runtime().name is None:
            raise
        call.notes.add("Your podman service uses a runtime that cannot work here; a private one is used.")
        return None


def _run_on(service: Service, call: _Call, *, engine: str) -> Ending:
    from rootless_scratch.engine.failures import NetworkMissingError
    from rootless_scratch.engine.session import Container, remove_leftovers

    remove_leftovers(service.client, call.lease, directory=lease_directory(call.variables), engine=engine)
    network, problem = _choose_network(call.asked, service)
    call.opening.used = True
    with Container(service.client, call.lease) as container:
        if problem is None:
            try:
                return _attempt(container, call, network)
            except NetworkMissingError as error:
                if call.asked.network is not None:
                    raise
                problem = error.reason
                container.remove()
        if call.asked.ports:
            raise NetworkMissingError(f"{problem}, so no port can be published")
        call.notes.add(f"The container has no network, because {problem}.")
        return _attempt(container, call, "none")


def _attempt(container: Container, call: _Call, network: str) -> Ending:
    """Create, attach, start and follow one container; raises what kept it from starting."""
    for warning in container.create(call.asked, network):
        call.notes.add(warning)
    with container.attach(call.asked, stdout=call.stdout, stderr=call.stderr) as output:
        call.notes.ready()
        call.signals.queue()
        container.start(call.asked)
        if any(port.host == 0 for port in call.asked.ports):
            for line in container.published():
                call.notes.add(line)
        return container.follow(output, signals=call.signals, timeout=call.asked.timeout, say=call.notes.add)


def _choose_network(asked: Request, service: Service) -> tuple[str, str | None]:
    """The network to try, and why it cannot work where that is plain beforehand."""
    if asked.network is not None:
        return asked.network, None
    if service.origin == "container-host":
        # That service may run in another place than we do; only trying tells.
        return "private", None
    from rootless_scratch.engine.network import private_network_problem

    return "private", private_network_problem()
