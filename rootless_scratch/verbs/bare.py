"""`run --unpacked`: the program of an image, started without any isolation where no container can be had."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

from rootless_scratch import command
from rootless_scratch.backends.bare import Invocation, invocation, unpack_bare
from rootless_scratch.engine.container.ending import TIMED_OUT, RunResult
from rootless_scratch.engine.container.signals import Forwarding
from rootless_scratch.engine.request.options import request_of
from rootless_scratch.engine.request.request import Request
from rootless_scratch.errors import CannotInvokeError, HostError, UsageError
from rootless_scratch.host.environment import private_temporary, tool_environment
from rootless_scratch.image.arguments import text
from rootless_scratch.image.config import USUAL_PATH
from rootless_scratch.image.references import Reference, is_reference, parse_reference
from rootless_scratch.spawn import NULL
from rootless_scratch.verbs.unstored import is_unstored, unstored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rootless_scratch.image.config import RuntimeConfig
    from rootless_scratch.image.finished import Image
    from rootless_scratch.keywords import Options
    from rootless_scratch.spawn import Child

_KEPT = (
    "unpacked",
    "env",
    "env_file",
    "workdir",
    "entrypoint",
    "platform",
    "essentials",
    "interactive",
    "timeout",
)
_KEPT_TOO = ("stop_signal", "stop_timeout", "rm")
_PROMISES = (
    *("user", "userns", "network", "memory", "cpus", "pids_limit", "ulimits", "strict", "read_only", "cap_drop"),
    *("security_opt", "seccomp"),
)
_NOTE = "Nothing isolates the program (--unpacked): it runs as you, and absolute paths that it opens are yours."
_TICK = 0.02
_LAST_WORDS = 4096
_DRAINING = 1.0
"""Seconds for what a program has left in its pipes, where another that it has started goes on writing."""


def run_bare(
    image: str | os.PathLike[str] | Image,
    arguments: Sequence[str],
    options: Options,
    *,
    stdin: int | bytes | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    forward_signals: bool = False,
    say: Callable[[str], None] | None = None,
) -> RunResult:
    """Unpack the image and start its program by its own loader; see engine.run for the keywords.

    Nothing of it stays. Raises UsageError for options that a container would have to keep, what reading raises,
    CommandNotFoundError, CannotInvokeError, HostError.
    """
    _refuse(options)
    request = request_of("unpacked" if image else "", arguments, options)
    settings, subject = tool_environment(), _subject(image)
    # Where images are kept matters for one of storage alone.
    notes = (_NOTE, *(() if is_unstored(subject) else map(str, settings.notes)))
    with (
        Forwarding(enabled=forward_signals) as signals,
        private_temporary(settings.variables) as made,
    ):
        bare = unpack_bare(_reference(subject, request, made.path), made.path, request.platform)
        wanted = _wanted(bare.config, request, subject)
        invoked = invocation(bare, *wanted)
        if say is not None:
            for note in notes:
                say(note)
        number = request.stop_signal or _stop_signal(bare.config)
        with _stdin(stdin, made.path, is_wanted=request.interactive or stdin is not None) as source:
            child = _start(invoked, made.path, stdin=source, stdout=stdout, stderr=stderr)
            result = _followed(child, signals, request, number)
        _require_started(invoked, made.path)
    return result.but(notes=notes)


def _refuse(options: Mapping[str, object]) -> None:
    """Raise UsageError for the first option that nobody could keep."""
    flags = {option.name: option.flags[-1] for option in Request.options.values()}
    for name, value in options.items():
        if name in (*_KEPT, *_KEPT_TOO) or not value or (name, value) == ("pull", "never"):
            continue
        flag = flags.get(name, name)
        if name in _PROMISES:
            cause = f"{flag} promises an isolation that a program without a container does not have."
        else:
            cause = f"{flag} is about a container, and --unpacked makes none."
        raise UsageError(cause, fix=f"Leave out {flag}, or run the image without --unpacked.")


def _subject(image: str | os.PathLike[str] | Image) -> str:
    if isinstance(image, os.PathLike):
        subject = text("the image", image)
        return subject if os.path.isabs(subject) else os.path.join(".", subject)
    from rootless_scratch.verbs.subject import subject_of

    return subject_of(image)


def _reference(subject: str, request: Request, directory: str) -> Reference:
    """The image as a layout or an archive: a program is built into one, an image of storage written to one."""
    if is_reference(subject):
        return parse_reference(subject)
    path = os.path.join(directory, "image")
    if is_unstored(subject):
        unstored(subject, essentials=request.essentials).write(f"oci:{path}:unpacked")
        return Reference(text=subject, transport="oci", path=path, ref="unpacked")
    from rootless_scratch.verbs.ship import exported

    try:
        reference, _ = exported(subject, directory, {**tool_environment().variables, "TMPDIR": directory})
    except HostError as error:
        error.fix = (
            "Build the image into a layout, which needs no namespace (`-o oci:DIR`), and run it from there: "
            "`rootless-scratch run --unpacked oci:DIR`."
        )
        raise
    return reference


def _wanted(
    config: RuntimeConfig, request: Request, subject: str
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], str]:
    """The command, its environment and its working directory, as podman makes them of an image and options."""
    replaced = request.entrypoint is not None
    entrypoint = request.entrypoint if request.entrypoint is not None else config.entrypoint
    argv = (*(entrypoint or ()), *(request.arguments or (() if replaced else config.cmd or ())))
    if not argv:
        raise UsageError(f"{subject} names no program to start.", fix="Name one by --entrypoint.")
    env = {"PATH": USUAL_PATH, "HOME": "/"} | dict(config.env)
    for file in request.env_files:
        env |= dict(file)
    env |= dict(request.env)
    return argv, tuple(env.items()), request.workdir or config.working_dir


def _stop_signal(config: RuntimeConfig) -> int:
    from rootless_scratch.engine.request.values import parse_signal

    with contextlib.suppress(UsageError):
        return int(parse_signal(config.stop_signal)) if config.stop_signal else signal.SIGTERM
    return signal.SIGTERM


@contextlib.contextmanager
def _stdin(stdin: int | bytes | None, directory: str, *, is_wanted: bool) -> Iterator[int]:
    """A descriptor to read from: bytes lie in a file."""
    if isinstance(stdin, bytes):
        with open(os.path.join(directory, "stdin"), "w+b") as file:
            file.write(stdin)
            file.seek(0)
            yield file.fileno()
    elif is_wanted:
        yield 0 if stdin is None else stdin
    else:
        yield NULL


def _start(invoked: Invocation, directory: str, *, stdin: int, stdout: int | None, stderr: int | None) -> Child:
    path = os.path.join(directory, "start")
    with open(path, "x", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(
            {
                "path": invoked.path,
                "argv": invoked.argv,
                "env": invoked.env,
                "directory": invoked.directory,
                "caller": os.getpid(),
            },
            file,
        )
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bare_start.py")
    argv = [sys.executable or "python3", "-I", "-S", program, path]
    return command.start(argv, environment=tool_environment().variables, stdin=stdin, stdout=stdout, stderr=stderr)


def _require_started(invoked: Invocation, directory: str) -> None:
    """Raise CannotInvokeError where the kernel has refused."""
    failed = os.path.join(directory, "start.failed")
    if not os.path.exists(failed):
        return
    with open(failed, encoding="utf-8") as file:
        reason = os.strerror(int(file.read()))
    program = invoked.argv[0].removeprefix(directory)
    raise CannotInvokeError(
        f"{program} cannot be executed on this host: {reason}.",
        fix="It must be built for this processor, and TMPDIR must not be mounted noexec; "
        "`rootless-scratch check` on the image says more.",
    )


def _followed(child: Child, signals: Forwarding, request: Request, number: int) -> RunResult:
    """Its output and its exit code; what it has left running in its session ends with it."""
    signals.queue()
    kept = {1: bytearray(), 2: bytearray()}
    streams = {each: name for name, each in ((1, child.stdout), (2, child.stderr)) if each is not None}
    end = None if request.timeout is None else time.monotonic() + request.timeout
    timed_out, killing, drained = False, False, 0.0
    poll = select.poll()
    for descriptor in (*streams, *(() if signals.wake is None else (signals.wake,))):
        poll.register(descriptor, select.POLLIN)
    try:
        while not (ended := _has_ended(child)) or streams:
            ready = [descriptor for descriptor, _ in poll.poll(_TICK * 1000)]
            if ended and drained and (time.monotonic() > drained or not streams.keys() & ready):
                # All of its own output is read; what has left its session may have it open for ever.
                break
            for descriptor in streams.keys() & ready:
                block = os.read(descriptor, 65_536)
                kept[streams[descriptor]] += block
                if not block:
                    poll.unregister(descriptor)
                    del streams[descriptor]
            for each in signals.take():
                _signal(child, each)
            if ended:
                # What it has started and left behind may have its output open for ever.
                _signal(child, signal.SIGKILL, whole=True)
                drained = drained or time.monotonic() + _DRAINING
            elif end is not None and time.monotonic() > end:
                _signal(child, signal.SIGKILL if timed_out else number, whole=timed_out)
                killing, timed_out = timed_out, True
                grace = 2 if request.stop_timeout is None else request.stop_timeout
                end = None if killing else time.monotonic() + grace
        _signal(child, signal.SIGKILL, whole=True)
    finally:
        child.kill_session()
        child.close()
    code = child.wait()
    return RunResult(
        exit_code=TIMED_OUT if timed_out else 128 - code if code < 0 else code,
        stdout=bytes(kept[1]),
        stderr=bytes(kept[2]),
        timed_out=timed_out,
        last_words=bytes(kept[2][-_LAST_WORDS:]),
    )


def _has_ended(child: Child) -> bool:
    """Whether it has ended; it is not reaped yet, so that its number stays its own."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal(child: Child, number: int, *, whole: bool = False) -> None:
    """To the program, or to the `whole` session that it began."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        (os.killpg if whole else os.kill)(child.pid, number)
