"""One container, from its creation to its removal, or to the moment at which it is left to itself."""

from __future__ import annotations

import contextlib
import re
import time
from contextlib import contextmanager
from functools import partial

from rootless_scratch import processes
from rootless_scratch.data import Data
from rootless_scratch.engine.api.http import Attached, Response
from rootless_scratch.engine.container import specification
from rootless_scratch.engine.container.ending import TIMED_OUT, RunResult
from rootless_scratch.engine.container.lease import Lease, Wanted
from rootless_scratch.engine.container.removal import remove_container, remove_owned
from rootless_scratch.errors import EngineError, HostError, ImageNotFoundError, ScratchError
from rootless_scratch.host.cgroups import cgroup_mode
from rootless_scratch.troubles import limit_met

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Self

    from rootless_scratch.engine.container.signals import Forwarding
    from rootless_scratch.engine.container.watch import Watch
    from rootless_scratch.engine.request.request import Request
    from rootless_scratch.engine.service.local import Service
    from rootless_scratch.engine.stdio.feed import Feed
    from rootless_scratch.engine.stdio.streams import Demultiplexer
    from rootless_scratch.engine.stdio.terminal import Terminal

OLDEST = (4, 3)
"""The oldest podman whose API is known to do what is asked here."""

_KILLED = 137
_LATE = 0.1
"""Seconds after its output within which a program has ended, and podman knows."""


class Attachment(Data):
    """What connects us with a program: its output, what it reads, and the terminal that it sees."""

    output: Demultiplexer
    feed: Feed | None
    terminal: Terminal


class Lifecycle:
    """The container of a lease; when the block ends it is gone, and with it the lease, unless it was left.

    `client` speaks to the service that has it, `id` is its ID once it is created.
    """

    def __init__(self, service: Service, lease: Lease, variables: Mapping[str, str]) -> None:
        self.service = service
        self._variables = variables
        self.client = service.client
        self._lease = lease
        self.id = ""
        # None while a create is in the works: if we are interrupted then, it may still appear.
        self._exists: bool | None = False
        self._left = False
        self._limited = False
        self.out_of_memory = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._left and kind is not None:
                # It is to stay, but nobody follows it any more. Refused where it has ended.
                self.client.request("POST", self.target("/kill?signal=9"))
            elif not self._left:
                self.remove()
                if kind is not None and self.id and not self.service.elsewhere:
                    from rootless_scratch.engine.container.strays import end_strays

                    # conmon may have been killed while the runtime was making it, which goes on by itself.
                    with contextlib.suppress(OSError):
                        end_strays([self.id], self._variables)
        except EngineError:
            # The first error tells more; the lease stays, and with it the next call's chance to clean up.
            if kind is None:
                raise
        else:
            self._lease.end()

    def create(self, request: Request, network: str) -> tuple[str, ...]:
        """Create it; returns podman's warnings. Raises ImageNotFoundError, HostError, EngineError."""
        lease = self._lease
        spec = specification.generator(
            request,
            name=lease.container,
            owner=lease.owner,
            network=network,
            elsewhere=self.service.elsewhere,
        )
        wanted = Wanted(name=request.name or lease.container, socket=self.client.path, since=time.time())
        lease.expects(wanted)
        self._exists = None
        # Loaded while podman is at work: on a host with two processors that takes no time.
        response = self.client.request("POST", "/containers/create", spec, meanwhile=_load_rest)
        from rootless_scratch.engine.diagnose import failures

        self._exists = response.ok
        if not response.ok:
            lease.expects(None)
            _check_version(response)
            raise self._create_failure(response.refusal(), request)
        answer = response.json()
        self.id = wanted.id = str(answer["Id"])
        lease.expects(wanted)
        _check_version(response)
        warnings = tuple(str(warning) for warning in answer.get("Warnings") or ())
        self._limited = request.memory is not None and not any(map(failures.limits_ignored, warnings))
        return warnings

    def _create_failure(self, refusal: str, request: Request) -> ScratchError:
        from rootless_scratch.engine.diagnose import failures

        error = failures.create_failure(refusal, request, elsewhere=self.service.address)
        if isinstance(error, ImageNotFoundError):
            from rootless_scratch.engine.api.images import names_near

            near = names_near(self.client.path, request.image)
            if near:
                return ImageNotFoundError(error.message, fix=f"Did you mean {' or '.join(near)}?")
        return error

    def connect(self, request: Request, *, streams: str = "stdout=true&stderr=true&stdin=false") -> Attached:
        """A connection to its streams, from before its start on, for the caller to close.

        The runtime makes it ready here, and may refuse. Raises CommandNotFoundError, CannotInvokeError, HostError,
        EngineError.
        """
        # Without the empty detachKeys the bytes ctrl-p ctrl-q would end the connection; Feed looks for them.
        attached = self.client.attach(self.target(f"/attach?stream=true&{streams}&detachKeys="))
        if not isinstance(attached, Attached):
            from rootless_scratch.engine.diagnose import failures

            raise failures.start_failure(attached.refusal(), request)
        return attached

    @contextmanager
    def attach(
        self, request: Request, *, stdin: int | bytes, stdout: int | None, stderr: int | None
    ) -> Iterator[Attachment]:
        """Its streams; raises like `connect`.

        stdin has a connection of its own: where a program leaves it unread, podman 4.3 now and then writes its
        complaint into the midst of a frame of output, or ends the connection before the output has come.
        """
        from rootless_scratch.engine.stdio.feed import Feed
        from rootless_scratch.engine.stdio.streams import Demultiplexer
        from rootless_scratch.engine.stdio.terminal import Terminal

        apart = request.interactive and not request.tty
        both = f"stdout=true&stderr=true&stdin={'true' if request.interactive and request.tty else 'false'}"
        with contextlib.ExitStack() as stack:
            attached = self.connect(request, streams=both)
            reading = stack.enter_context(attached.connection)
            writing = reading
            if apart:
                only = self.connect(request, streams="stdout=false&stderr=false&stdin=true")
                writing = stack.enter_context(only.connection)
                writing.settimeout(0)
            output = Demultiplexer(reading, attached.early, stdout=stdout, stderr=stderr, framed=not request.tty)
            feed = None
            if request.interactive:
                feed = Feed(stdin, writing, keys=request.detach_keys if request.tty else b"")
            ours = stdin if request.interactive and request.tty and isinstance(stdin, int) else None
            terminal = Terminal(ours, others=(stdout,) if request.tty else ())
            with contextlib.closing(output):
                yield Attachment(output=output, feed=feed, terminal=terminal)

    def start(self, request: Request) -> None:
        """Start its program; raises like `connect`."""
        response = self.client.request("POST", self.target("/start"))
        if not response.ok:
            from rootless_scratch.engine.diagnose import failures

            raise failures.start_failure(response.refusal(), request)

    def leave(self) -> str:
        """From now on it is podman's alone, and stays at the end of the block; its ID."""
        self._left = True
        self._lease.end()
        return self.id

    def resize(self, terminal: Terminal) -> None:
        """Give its terminal the size of ours."""
        size = terminal.size()
        if size is not None:
            columns, lines = size
            # Refused where it has just ended, which its output will tell.
            self.client.request("POST", self.target(f"/resize?h={lines}&w={columns}"))

    def ports(self) -> tuple[tuple[str, str, int], ...]:
        """Its ports that the host answers on (`8080/tcp`), each with the host's address and port."""
        found = self.inspect()["NetworkSettings"]["Ports"] or {}
        return tuple(
            # The address that podman leaves out is any of the host's.
            (inside, binding["HostIp"] or "0.0.0.0", int(binding["HostPort"]))  # noqa: S104 - said, not bound
            for inside, bindings in found.items()
            for binding in bindings or ()
        )

    def published(self) -> Iterator[str]:
        """One sentence for each of its ports that the host answers on."""
        host = self.service.host or "this host"
        for inside, address, port in self.ports():
            yield f"Port {inside} of the container is {address}:{port} on {host}."

    def follow(
        self,
        attachment: Attachment,
        *,
        signals: Forwarding,
        timeout: float | None,
        grace: int | None,
        say: Callable[[str], None],
    ) -> RunResult:
        """Pass its streams on until it ends, or its user detaches and it is left; `timeout` in seconds from now.

        `grace` is that of Watch.

        Raises EngineError where the service goes away or the output cannot be written, BrokenPipeError.
        """
        from rootless_scratch.engine.container.watch import Watch
        from rootless_scratch.engine.diagnose import explaining

        output = attachment.output
        terminal = attachment.terminal
        resize = None if terminal.size() is None else partial(self.resize, terminal)
        clock = Watch(self.client, self.target(""), timeout, say=say, resize=resize, grace=grace)
        with contextlib.closing(clock) as watch:
            exit_code = self._end_of(attachment, watch, signals)
        detached = attachment.feed is not None and attachment.feed.detached
        if detached and exit_code is None and not watch.given_up:
            return RunResult(exit_code=0, stdout=bytes(output.stdout.captured), container_id=self.leave())
        if output.torn and not watch.given_up:
            raise EngineError(
                "The container's output was cut off.",
                fix="Run it again; see whether conmon was killed (`dmesg`).",
            )
        code = _KILLED if exit_code is None else exit_code
        wrote = output.stdout.size + output.stderr.size
        tail = output.stderr.tail if output.framed else output.stdout.tail
        return RunResult(
            exit_code=TIMED_OUT if watch.timed_out else explaining.exit_code_of(code, wrote=wrote, output=tail),
            timed_out=watch.timed_out,
            stdout=bytes(output.stdout.captured),
            stderr=bytes(output.stderr.captured),
            explanation=explaining.explain(code, wrote=wrote, output=tail),
            last_words=tail,
            ends_mid_line=output.mid_line,
            out_of_memory=self.out_of_memory or (not watch.killed and self._died_at_limit(code)),
        )

    def _end_of(self, attachment: Attachment, watch: Watch, signals: Forwarding) -> int | None:
        """The exit code; None where the user has detached, or the watch has given up."""
        from rootless_scratch.engine.stdio import streams

        output, feed = attachment.output, attachment.feed
        parts: list[Demultiplexer | Feed] = [output] if feed is None else [output, feed]
        pause = 0.001
        while not watch.given_up:
            watch.look(signals.take())
            if feed is not None and feed.detached:
                return None
            if output.ended:
                exit_code = self.exit_code()
                if exit_code is not None:
                    return exit_code
                if pause > _LATE:
                    self._check_watched()
                _rest(watch.patience(pause), signals.wake)
                pause = min(pause * 2, 0.25)
                continue
            try:
                streams.turn(parts, watch.patience(None), signals.wake)
            except BrokenPipeError:
                raise
            except OSError as error:
                raise limit_met(error) or EngineError(
                    f"The container's output cannot be written: {error.strerror}.",
                    fix="Make room where it goes to, or send it elsewhere.",
                ) from error
        return None

    def _check_watched(self) -> None:
        """Raise EngineError where conmon was killed, which alone tells podman of an end: it waits for ever."""
        if self.service.elsewhere:
            return
        conmon = self.inspect()["State"].get("ConmonPid")
        # Its last output may have come just before its end.
        if not conmon or processes.lives(conmon) or self.exit_code() is not None:
            return
        from rootless_scratch.engine.container.strays import end_unwatched

        end_unwatched(self.id)
        raise EngineError(
            "conmon, which watches the container, was killed: how the program ended is not known.",
            fix="Run it again; see whether the host ran out of memory (`dmesg`).",
        )

    def remove(self) -> None:
        """Remove it, running or not; nothing where there is none. Raises EngineError where podman cannot."""
        from rootless_scratch.engine.container.watch import DRAIN

        deadline = time.monotonic() + DRAIN
        while self._exists is not False:
            removed = (
                remove_container(self.client, self.id)
                if self._exists
                else remove_owned(self.client, self._lease.owner)
            )
            if removed or self._exists or time.monotonic() > deadline:
                self._exists = False
                self._lease.expects(None)
            else:
                time.sleep(0.1)

    def exit_code(self) -> int | None:
        """Its exit code once it has ended; then `out_of_memory` says whether its memory limit was its end.

        `wait` would take up to 250 ms longer, and answers 0 at once for a container that never started.
        """
        state = self.inspect()["State"]
        self.out_of_memory = bool(state.get("OOMKilled"))
        return int(state["ExitCode"]) if state["Status"] in ("exited", "stopped") else None

    def _died_at_limit(self, exit_code: int) -> bool:
        """Whether it was killed under a memory limit where podman does not tell by whom: conmon 2.1, cgroup v1."""
        return exit_code == _KILLED and self._limited and cgroup_mode() in ("hybrid", "v1")

    def inspect(self) -> Any:  # noqa: ANN401 - podman's own structure
        """What podman says of it; raises EngineError."""
        return self.client.call("GET", self.target("/json"))

    def target(self, rest: str) -> str:
        """The address in the API of something of it."""
        return f"/containers/{self.id}{rest}"


def _load_rest() -> None:
    """What is needed once there is a container."""
    from rootless_scratch.engine.stdio import feed, streams, terminal  # noqa: F401 - warmed up here


def _check_version(response: Response) -> None:
    """Every answer carries podman's version, so that it costs no question of its own."""
    match = re.match(r"(\d+)\.(\d+)", response.header("Libpod-Api-Version") or "")
    if match is not None and (int(match[1]), int(match[2])) < OLDEST:
        raise HostError(f"podman {match[0]} is too old.", fix=f"Install podman {OLDEST[0]}.{OLDEST[1]} or newer.")


def _rest(seconds: float | None, wake: int | None) -> None:
    """Sleep, but not through a signal."""
    import select

    poll = select.poll()
    if wake is not None:
        poll.register(wake, select.POLLIN)
    poll.poll(None if seconds is None else seconds * 1000)
