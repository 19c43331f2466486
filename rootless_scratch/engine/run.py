"""Run an image and bring back its output and its exit code; nothing of the container stays.

What podman-py does not offer is done here over the raw API: the output is attached before the program starts,
so that none is lost, and the exit code is read from the container's state.
"""

from __future__ import annotations

import contextlib
from functools import partial

from rootless_scratch.data import Data
from rootless_scratch.engine.container.ending import RunResult
from rootless_scratch.engine.container.launch import Call, Notes, created, launch
from rootless_scratch.engine.container.opening import Opening
from rootless_scratch.engine.container.signals import Forwarding
from rootless_scratch.engine.request.options import request_of

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    from rootless_scratch.engine.container.lifecycle import Lifecycle
    from rootless_scratch.engine.request.request import Beside, Request
    from rootless_scratch.keywords import Options


class _Streams(Data):
    """What the program reads and where its output goes, and the signals that are meant for it."""

    stdin: int | bytes
    stdout: int | None
    stderr: int | None
    signals: Forwarding


def run(
    image: str,
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
    """Run an image of local storage, hardened, to its end; see Options for all that may be request for.

    `timeout` in seconds; then SIGTERM (or the image's stop signal), 2 seconds later SIGKILL, exit code 124.
    `stdin` is a descriptor to read from, or bytes; with `interactive` alone it is this process's own. Output
    is captured, or streamed to the descriptors `stdout` and `stderr`. `say` is told notes as they arise. With
    `forward_signals` (main thread only) the signals of FORWARDED go to the container. `opening` is one that was
    begun early, and is closed here. `beside` is what it is put beside. The container is removed, unless it is to
    be kept or detached.

    Raises UsageError, ImageNotFoundError, CommandNotFoundError, CannotInvokeError, HostError, EngineError,
    and BrokenPipeError where the reader of a streamed output has gone.
    """
    request = request_of(image, arguments, options)
    if stdin is not None:
        request = request.but(interactive=True)
    if beside is not None:
        request = request.but(beside=beside)
    destination = request.destination
    notes = Notes(say)
    with (
        Forwarding(enabled=forward_signals) as signals,
        contextlib.closing(opening or Opening(destination, keep=request.keep_service)) as begun,
        contextlib.ExitStack() as stack,
    ):
        begun.turn_to(destination, keep=request.keep_service)
        streams = _Streams(stdin=0 if stdin is None else stdin, stdout=stdout, stderr=stderr, signals=signals)
        call = Call(request=request, opening=begun, notes=notes)
        _, result = launch(call, partial(_attempt, call, streams), stack)
    return result.but(notes=notes.kept)


def _attempt(call: Call, streams: _Streams, container: Lifecycle, request: Request, network: str) -> RunResult:
    """Create, attach, start and follow one container; raises what kept it from starting."""
    created(container, call, request, network)
    if request.detach:
        call.notes.ready()
        container.start(request)
        _say_ports(container, request, call.notes.add)
        return RunResult(exit_code=0, container_id=container.leave())
    with container.attach(request, stdin=streams.stdin, stdout=streams.stdout, stderr=streams.stderr) as attached:
        call.notes.ready()
        streams.signals.queue()
        with attached.terminal as terminal:
            container.start(request)
            container.resize(terminal)
            kept = container.leave() if request.keep else None
            say = partial(terminal.say, call.notes.add)
            _say_ports(container, request, say)
            result = container.follow(
                attached,
                signals=streams.signals,
                timeout=request.timeout,
                grace=request.stop_timeout,
                say=say,
            )
    result = result.but(image=request.image)
    name = request.name or call.lease.container
    if result.container_id is not None:
        call.notes.add(f"The program runs on in the container {name}; `podman attach {name}` attaches to it.")
    elif kept is not None:
        call.notes.add(f"The container is kept as {name}; `podman rm {name}` removes it.")
        return result.but(container_id=kept)
    return result


def _say_ports(container: Lifecycle, request: Request, say: Callable[[str], None]) -> None:
    if any(port.host == 0 for port in request.ports):
        for line in container.published():
            say(line)
