"""The `with` block in which a container runs beside the caller."""

from __future__ import annotations

import contextlib
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Unpack, cast

from rootless_scratch.engine.container import readiness
from rootless_scratch.engine.container.launch import Call, Notes, created, launch
from rootless_scratch.engine.container.opening import Opening
from rootless_scratch.engine.container.running import RunningContainer
from rootless_scratch.engine.request.options import request_of
from rootless_scratch.engine.request.request import Port, Request
from rootless_scratch.engine.request.values import parse_ports
from rootless_scratch.errors import EngineError, HostError, UsageError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from rootless_scratch.engine.api.http import Attached
    from rootless_scratch.engine.container.lifecycle import Lifecycle
    from rootless_scratch.engine.container.readiness import Ready
    from rootless_scratch.engine.container.recording import Recording
    from rootless_scratch.keywords import ContainerOptions, Options

READY_TIMEOUT = 30.0
"""Seconds in which a container is to become ready."""

_SELF = "127.0.0.1"


@contextmanager
def container(
    image: str,
    arguments: Sequence[str] = (),
    *,
    ready: Ready | None = None,
    ready_timeout: float = READY_TIMEOUT,
    opening: Opening | None = None,
    record: Callable[[Attached], Recording] | None = None,
    **options: Unpack[ContainerOptions],
) -> Iterator[RunningContainer]:
    """A container that is ready when the block begins, and gone when it ends, whatever happens.

    It is killed then; `stop` inside the block ends it gently. `ready` unless given: the published TCP ports
    answer, or where there are none, the program was started. `ready_timeout` in seconds. `record` takes its
    output, by default Recording. `opening` and all else as in rootless_scratch.engine.run.run. Raises what that
    raises, EndedEarlyError, EngineTimeoutError.
    """
    readiness.check_ready(ready, ready_timeout)
    _check_lasting(options)
    ports = parse_ports(options.get("publish", ()))
    if ready == "port" and not any(port.protocol == "tcp" for port in ports):
        raise UsageError(
            "There is no TCP port to wait for.",
            fix='Publish one: publish={8080: None}, also with network="host".',
        )
    if options.get("network") == "host":
        _check_same_ports(ports)
        options["publish"] = ()
    request = request_of(image, arguments, cast("Options", options))
    notes = Notes(None)
    with contextlib.ExitStack() as stack:
        keep = request.keep_service
        begun = stack.enter_context(contextlib.closing(opening or Opening(request.destination, keep=keep)))
        begun.turn_to(request.destination, keep=keep)
        call = Call(request=request, opening=begun, notes=notes)
        shared = ports if options.get("network") == "host" else ()
        held, recording = _launched(call, partial(_attempt, call, shared=shared, record=record), stack)
        stack.callback(recording.close)
        running = RunningContainer(
            held,
            recording,
            name=request.name or call.lease.container,
            notes=notes.kept,
            ports=ports,
            network=options.get("network"),
        )
        stack.callback(_hold(held).close)
        readiness.wait_until_ready(running, ready or ("port" if running.addresses() else "started"), ready_timeout)
        yield running


def _launched(
    call: Call, attempt: Callable[[Lifecycle, Request, str], Recording], stack: contextlib.ExitStack
) -> tuple[Lifecycle, Recording]:
    """Launch it; where no port can be published, with the way that there is."""
    try:
        return launch(call, attempt, stack)
    except HostError as error:
        from rootless_scratch.engine.diagnose.failures import NetworkMissingError

        if not (isinstance(error, NetworkMissingError) and call.request.ports):
            raise
        raise HostError(
            error.message,
            fix='Add network="host" (`--network host`) beside publish: the program then listens on this host '
            "itself, on its own port; `rootless-scratch doctor` says what is missing.",
        ) from error


def _attempt(
    call: Call,
    container: Lifecycle,
    request: Request,
    network: str,
    *,
    shared: tuple[Port, ...],
    record: Callable[[Attached], Recording] | None,
) -> Recording:
    """Create and start it, with its output taken from before the start on; `shared` are ports of the host."""
    if record is None:
        from rootless_scratch.engine.container.recording import Recording

        record = Recording

    _check_free(shared, container.service.host or _SELF)
    created(container, call, request, network)
    recording = record(container.connect(request))
    try:
        container.start(request)
    except BaseException:
        recording.close()
        raise
    return recording


def _hold(container: Lifecycle) -> socket.socket:
    """A question that is not answered while the caller looks at the container.

    A service of ours ends where nobody asks it anything for some seconds, also one whose containers have ended.
    """
    return container.client.begin("POST", container.target("/wait?condition=paused&interval=1h"))


def _check_lasting(options: ContainerOptions) -> None:
    """Refuse the options of a run that contradict a container that lives as long as a block."""
    excess = [name for name in options if name in Request.options and Request.options[name].keywords]
    if excess:
        raise UsageError(
            f"A container of a block has no option {min(excess)!r}.",
            fix="It lives until the block ends, without a stdin and a terminal; `wait(timeout=...)` waits for its "
            "end, and rs.run has all of these.",
        )


def _check_same_ports(ports: tuple[Port, ...]) -> None:
    """With the network of the host a port is what it is."""
    for port in ports:
        if port.host not in (0, port.container) or port.address:
            raise UsageError(
                f"With the network host the port {port.container} cannot be published as another.",
                fix=f"Pass publish={{{port.container}: None}}: `port({port.container})` is then the same one.",
            )


def _check_free(ports: tuple[Port, ...], host: str) -> None:
    """Nobody else may have a port that is the host's."""
    for port in ports:
        if port.protocol == "tcp" and readiness.answers(host, port.container):
            where = "this host" if host == _SELF else host
            raise EngineError(
                f"The port {port.container} is in use on {where} already, which is the container's too.",
                fix="End what listens there (`ss -ltnp` shows it), or let the program use another.",
            )
