"""Run an image and bring back its output and its exit code; nothing of the container stays.

What podman-py does not offer is done here over the raw API: the output is attached before the program starts,
so that none is lost, and the exit code is read from the container's state.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING, Protocol, Unpack

import msgspec

from rootless_scratch.engine.ending import Ending
from rootless_scratch.engine.lease import Lease, lease_directory, local_engine
from rootless_scratch.engine.opening import Opening
from rootless_scratch.engine.options import Options, request
from rootless_scratch.engine.signals import Forwarding
from rootless_scratch.errors import HostError
from rootless_scratch.host.cgroups import choose_runtime
from rootless_scratch.host.environment import has_service_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rootless_scratch.engine.options import Beside, Request
    from rootless_scratch.engine.service import Service
    from rootless_scratch.engine.session import Container
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
    each thing that was chosen because something else does not work on this host. `container_id` names a container
    that stays: kept, or detached, where the exit code is 0 and nobody has seen its end.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    explanation: Finding | None
    timed_out: bool
    notes: tuple[str, ...]
    container_id: str | None = None


class _Notes:
    """Sentences for the user: kept for the result, and said from the moment that the container is ready.

    Before that an error may come, beside which they would only distract.
    """

    def __init__(self, say: Callable[[str], None] | None) -> None:
        self.kept: list[str] = []
        self._say = say
        self._ready = False

    def add(self, sentence: str) -> None:
        """Note it, once however often it is found on the way."""
        if sentence in self.kept:
            return
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
    stdin: int | bytes
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
    stdin: int | bytes | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    forward_signals: bool = False,
    say: Callable[[str], None] | None = None,
    opening: Opening | None = None,
    beside: Beside | None = None,
    **options: Unpack[Options],
) -> RunResult:
    """Run an image of local storage, hardened, to its end; see Options for all that may be asked for.

    `timeout` in seconds; then SIGTERM (or the image's stop signal), 2 seconds later SIGKILL, exit code 124.
    `stdin` is a descriptor to read from, or bytes; with `interactive` alone it is this process's own. Output
    is captured, or streamed to the descriptors `stdout` and `stderr`. `say` is told notes as they arise. With
    `forward_signals` (main thread only) the signals of FORWARDED go to the container, and with `tty` changes
    of the window's size. `opening` is one that was begun early, and is closed here. `beside` is what it is put
    beside. The container is removed, unless it is to be kept or detached.

    Raises UsageError, ImageNotFoundError, CommandNotFoundError, CannotInvokeError, HostError, EngineError,
    and BrokenPipeError where the reader of a streamed output has gone.
    """
    asked = request(image if isinstance(image, str) else image.image_id, arguments, options)
    if stdin is not None:
        asked = msgspec.structs.replace(asked, interactive=True)
    if beside is not None:
        asked = msgspec.structs.replace(asked, beside=beside)
    notes = _Notes(say)
    with (
        Forwarding(enabled=forward_signals, window=asked.tty) as signals,
        contextlib.closing(opening or Opening()) as begun,
    ):
        ending = _run(
            _Call(
                asked=asked,
                opening=begun,
                signals=signals,
                notes=notes,
                stdin=0 if stdin is None else stdin,
                stdout=stdout,
                stderr=stderr,
            )
        )
    return RunResult(
        exit_code=TIMED_OUT if ending.timed_out else ending.exit_code,
        stdout=ending.stdout,
        stderr=ending.stderr,
        explanation=ending.explanation,
        timed_out=ending.timed_out,
        notes=tuple(notes.kept),
        container_id=ending.container,
    )


def _run(call: _Call) -> Ending:
    if call.opening.starting is None:
        ending = _run_on_found(call)
        if ending is not None:
            return ending
        call.opening.start_service()
    for note in call.opening.notes:
        call.notes.add(note)
    # These imports take as long as the service takes to start, so they wait until it does.
    from rootless_scratch.engine import failures, network, session, streams  # noqa: F401 - warmed up here

    return _run_on(call.opening.ready(), call, engine=local_engine(call.variables))


def _run_on_found(call: _Call) -> Ending | None:
    """Run it on the service that the caller names, or on the user's own; None where neither is of use."""
    found = call.opening.found()
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
    from rootless_scratch.engine.failures import IdsMissingError
    from rootless_scratch.engine.removal import remove_leftovers
    from rootless_scratch.engine.session import Container

    remove_leftovers(service.client, call.lease, directory=lease_directory(call.variables), engine=engine)
    asked = _prepared(call, service)
    call.opening.used = True
    with Container(service.client, call.lease) as container:
        try:
            return _run_in(container, call, asked, service)
        except IdsMissingError:
            if not _may_be_caller(call, service):
                raise
            container.remove()
        call.notes.add(
            "Your account has no subordinate ids, so the program runs as user 0 of its container, which is you "
            "yourself, in place of the image's user."
        )
        asked = msgspec.structs.replace(asked, user="0", userns=call.asked.userns)
        return _run_in(container, call, asked, service)


def _prepared(call: _Call, service: Service) -> Request:
    """What was asked for, with what had to be looked up, once the image and the name are there to be had."""
    asked = call.asked
    if asked.pull or asked.platform is not None:
        from rootless_scratch.engine.images import provide

        provide(service.client, asked)
    if asked.replace and asked.name is not None:
        from rootless_scratch.engine.removal import remove_container

        remove_container(service.client, asked.name, how="")
    if asked.mounts:
        from rootless_scratch.engine.mapping import mapped

        asked, note = mapped(asked, service.client)
        if note is not None:
            call.notes.add(note)
    return asked


def _may_be_caller(call: _Call, service: Service) -> bool:
    """Whether the image's user may be replaced by the only one that this account has."""
    asked = call.asked
    if asked.user is not None or asked.userns is not None or asked.strict or service.origin == "container-host":
        return False
    from rootless_scratch.engine.mapping import has_subordinate_ids

    return os.geteuid() != 0 and not has_subordinate_ids(call.variables)


def _run_in(container: Container, call: _Call, asked: Request, service: Service) -> Ending:
    """Run it with the network that is possible."""
    from rootless_scratch.engine.failures import NetworkMissingError

    network, problem = _choose_network(asked, service)
    if problem is None:
        try:
            return _attempt(container, call, asked, network)
        except NetworkMissingError as error:
            if asked.network is not None:
                raise
            problem = error.reason
            container.remove()
    if asked.ports:
        raise NetworkMissingError(f"{problem}, so no port can be published")
    call.notes.add(f"The container has no network, because {problem}.")
    return _attempt(container, call, asked, "none")


def _attempt(container: Container, call: _Call, asked: Request, network: str) -> Ending:
    """Create, attach, start and follow one container; raises what kept it from starting."""
    for problem in _unenforced(asked, container.create(asked, network), call.variables):
        if asked.strict:
            raise HostError(problem, fix="Leave out --strict to run without; `rootless-scratch doctor` says more.")
        call.notes.add(problem)
    if asked.detach:
        call.notes.ready()
        container.start(asked)
        _say_ports(container, asked, call.notes.add)
        return Ending(exit_code=0, container=container.leave(), detached=True)
    with container.attach(asked, stdin=call.stdin, stdout=call.stdout, stderr=call.stderr) as attachment:
        call.notes.ready()
        call.signals.queue()
        with attachment.terminal as terminal:
            container.start(asked)
            container.resize(terminal)
            kept = container.leave() if asked.keep else None
            say = partial(terminal.say, call.notes.add)
            _say_ports(container, asked, say)
            ending = container.follow(attachment, signals=call.signals, timeout=asked.timeout, say=say)
    name = asked.name or call.lease.container
    if ending.detached:
        kept = container.leave()
        call.notes.add(f"The program goes on in the container {name}; `podman attach {name}` comes back to it.")
    elif kept is not None:
        call.notes.add(f"The container is kept as {name}; `podman rm {name}` removes it.")
    return msgspec.structs.replace(ending, container=kept)


def _say_ports(container: Container, asked: Request, say: Callable[[str], None]) -> None:
    if any(port.host == 0 for port in asked.ports):
        for line in container.published():
            say(line)


def _unenforced(asked: Request, warnings: tuple[str, ...], variables: Mapping[str, str]) -> Iterator[str]:
    """What was asked for and cannot be had: podman's warnings, and what it does not warn of."""
    for warning in warnings:
        if "cgroups V1 rootless" in warning:
            yield (
                "The limits are not enforced: podman ignores --memory, --cpus and --pids-limit under cgroup v1 "
                "without root."
            )
        else:
            yield f"podman warns: {warning.rstrip('.')}."
    if asked.health_cmd is not None and not has_service_manager(variables):
        yield (
            "Nothing runs the health check by itself: podman leaves that to systemd, which does not run here; "
            f"`podman healthcheck run {asked.name or 'CONTAINER'}` does it by hand."
        )


def _choose_network(asked: Request, service: Service) -> tuple[str, str | None]:
    """The network to try, and why it cannot work where that is plain beforehand."""
    if asked.network is not None:
        return asked.network, None
    if service.origin == "container-host":
        # That service may run in another place than we do; only trying tells.
        return "private", None
    from rootless_scratch.engine.network import private_network_problem

    return "private", private_network_problem()
