"""The one door to other programs: argument lists only, never a shell.

Two ways through it. `ask` is for short questions (versions, settings) and goes through `sh`. `start` is for
the sessions on the hot path (a build, the podman service): importing sh costs about 40 ms and it decodes
strictly, so these use posix_spawn(3) directly (docs/performance.md has the figures).
"""

from __future__ import annotations

import os

from rootless_scratch.data import Data
from rootless_scratch.errors import CommandError, CommandTimeoutError, HostError, ToolMissingError
from rootless_scratch.private import WORKS_IN
from rootless_scratch.spawn import Child, find, spawn
from rootless_scratch.troubles import limit_met, trouble_in

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SKOPEO = ("skopeo", "--tmpdir", ".")
"""skopeo does not heed TMPDIR (1.9.3): it spools in /var/tmp unless told otherwise, here where it works."""

_PAUSE = 0.5

STDERR_KEPT = 16_384
"""Bytes of another program's stderr that an error carries; the end is the part that tells."""

_SIGXFSZ = 25
"""signal(7): a file would have become larger than its limit."""

_STANDSTILL = 1024
"""Bytes that a program moves although nothing happens: timers wake it."""

_PACKAGES = {
    "ssh": ("openssh-client", "openssh-clients", "openssh-client"),
    "newuidmap": ("uidmap", "shadow-utils", "shadow-uidmap"),
    "newgidmap": ("uidmap", "shadow-utils", "shadow-uidmap"),
}
"""Tool -> its package on Debian/Ubuntu, Fedora/RHEL, Alpine, where that has another name."""


class Output(Data):
    """What a program answered, byte for byte."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Stdout as text, without the white space at its ends."""
        return self.stdout.decode("utf-8", "replace").strip()


def install_hint(name: str) -> str:
    """One sentence that says which package brings `name`."""
    debian, fedora, alpine = _PACKAGES.get(name, (name, name, name))
    return (
        f"Install it: `sudo apt-get install {debian}` (Debian, Ubuntu), `sudo dnf install {fedora}` "
        f"(Fedora, RHEL) or `sudo apk add {alpine}` (Alpine)."
    )


def require(name: str) -> str:
    """Like `find`; raises ToolMissingError, which names the package, where there is none."""
    path = find(name)
    if path is None:
        raise ToolMissingError(f"The program {name} is not installed or not in PATH.", fix=install_hint(name))
    return path


def ask(
    argv: Sequence[str], *, environment: Mapping[str, str], timeout: float = 20.0, check: bool = True
) -> Output:
    """Run a short question to its end and return its answer; `timeout` in seconds.

    Raises CommandError where it fails (unless `check` is False), CommandTimeoutError, ToolMissingError.
    """
    import shlex
    import signal

    import sh

    program = require(argv[0])
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        # sh would wait for its whole time-out for a child that the kernel has reaped.
        raise _lost(program)
    try:
        answer = sh.Command(program)(
            *list(argv[1:]),
            _env=dict(environment),
            _in=b"",
            # sh gives children a pty by default, and tools then colour and page their answers.
            _tty_out=False,
            _return_cmd=True,
            _timeout=timeout,
            _new_session=True,
            _ok_code=list(range(-64, 256)),
            # Where the caller has closed its stdin, sh's pipe has that number already, and would be closed.
            _preexec_fn=lambda: os.set_inheritable(0, True),  # noqa: FBT003 - a name is not taken
        )
    except sh.TimeoutException as error:
        raise CommandTimeoutError(
            f"`{shlex.join(argv)}` did not end within {timeout:g} s.",
            fix="Run the same command by hand; if it hangs there too, `podman system migrate` often helps.",
            argv=argv,
        ) from error
    except sh.ForkException as error:
        raise HostError(
            f"{program} cannot be started: {str(error).strip().splitlines()[-1]}.",
            fix="Check that it is executable by you and built for this machine.",
        ) from error
    except (RuntimeError, MemoryError) as error:
        # sh speaks to each child by threads.
        met = limit_met(error)
        if met is None:
            raise
        raise met from error
    except ChildProcessError as error:
        raise _lost(program) from error
    output = Output(exit_code=answer.exit_code, stdout=answer.stdout, stderr=answer.stderr)
    if check and output.exit_code != 0:
        raise failed(argv, exit_code=output.exit_code, stderr=output.stderr)
    return output


def _lost(program: str) -> HostError:
    return HostError(
        f"The exit code of {program} is lost, because this process ignores SIGCHLD.",
        fix="Call `signal.signal(signal.SIGCHLD, signal.SIG_DFL)` first.",
    )


def start(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    socket: bool = False,
    alone: bool = False,
) -> Child:
    """Start a long-lived program in a session of its own, so that Ctrl-C reaches only us; see `spawn`.

    Raises ToolMissingError, or HostError where the kernel refuses to start it.
    """
    program = require(argv[0])
    try:
        return spawn(
            [program, *argv[1:]],
            environment=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            socket=socket,
            new_session=True,
            alone=alone,
        )
    except OSError as error:
        cause = f"{program} cannot be started: {error.strerror}."
        trouble = trouble_in(cause)
        raise (
            limit_met(error)
            or (trouble.error() if trouble is not None else None)
            or HostError(
                cause,
                fix="Check that it is executable by you and that the limits of processes and memory (ulimit -a) "
                "leave room.",
            )
        ) from error


def tethered(argv: Sequence[str]) -> list[str]:
    """The arguments that start a program so that it ends with this process, however that ends; see tether.py.

    Its stdin must be a pipe to this process. Raises ToolMissingError.
    """
    import sys

    tether = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tether.py")
    return [sys.executable or "python3", "-I", "-S", tether, require(argv[0]), *argv[1:]]


def follow(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    idle: float,
    on_stdout: Callable[[str], None] | None = None,
    on_stderr: Callable[[str], None] | None = None,
    on_pause: Callable[[], None] | None = None,
    directory: str | None = None,
) -> Output:
    """Run a program that takes long to its end; `on_stdout` gets each of its lines at once, so does `on_stderr`.

    `on_pause` is called twice a second; what any of them raises ends it. One that reads and writes next to nothing
    for `idle` seconds, files and sockets alike, hangs and is ended. Whatever happens meanwhile, it does not
    outlive this call, nor this process (tether.py). It works in the private directory `directory`, whose name thus
    stands in no argument list. Raises CommandTimeoutError, ToolMissingError.
    """
    child = begin(argv, environment=environment, directory=directory)
    return attend(child, argv, idle=idle, on_stdout=on_stdout, on_stderr=on_stderr, on_pause=on_pause)


def begin(argv: Sequence[str], *, environment: Mapping[str, str], directory: str | None = None) -> Child:
    """Start what `attend` follows; until then whoever calls this has to end it (`kill_session`)."""
    variables = environment if directory is None else {**environment, WORKS_IN: directory}
    return start(tethered(argv), environment=variables)


def attend(
    child: Child,
    argv: Sequence[str],
    *,
    idle: float,
    on_stdout: Callable[[str], None] | None = None,
    on_stderr: Callable[[str], None] | None = None,
    on_pause: Callable[[], None] | None = None,
) -> Output:
    """Follow what was begun by these arguments to its end, as `follow` does."""
    import time

    kept, rests = {1: bytearray(), 2: bytearray()}, {1: b"", 2: b""}
    moved, since = 0, time.monotonic()
    paused = since
    try:
        for number, block in child.blocks(pause=min(idle, 5.0 if on_pause is None else _PAUSE)):
            if on_pause is not None and time.monotonic() - paused >= _PAUSE:
                on_pause()
                paused = time.monotonic()
            receive = (None, on_stdout, on_stderr)[number]
            if number:
                kept[number] += block
            if receive is not None:
                *lines, rests[number] = (rests[number] + block).split(b"\n")
                for line in lines:
                    receive(line.decode("utf-8", "replace"))
            now = _bytes_moved(child.pid)
            if now is None or now - moved > _STANDSTILL:
                moved, since = now or moved, time.monotonic()
            elif time.monotonic() - since > idle:
                raise _hangs(argv, idle)
        return Output(exit_code=child.wait(), stdout=bytes(kept[1]), stderr=bytes(kept[2]))
    finally:
        child.kill_session()
        child.close()


def _bytes_moved(pid: int) -> int | None:
    """Bytes that a process and what it started have read and written by system calls.

    None where the kernel does not say (proc(5)).
    """
    moved, pending = 0, [pid]
    try:
        while pending:
            pid = pending.pop()
            with open(f"/proc/{pid}/io", "rb") as file:
                counts = dict(line.split(b": ") for line in file.read().splitlines())
            moved += int(counts[b"rchar"]) + int(counts[b"wchar"])
            with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
                pending += map(int, file.read().split())
    except OSError:
        return None
    return moved


def _hangs(argv: Sequence[str], idle: float) -> CommandTimeoutError:
    import shlex

    return CommandTimeoutError(
        f"`{shlex.join(argv)}` did nothing for {idle:g} s.",
        fix="Run the same command by hand to see where it hangs.",
        argv=argv,
    )


def failed(argv: Sequence[str], *, exit_code: int, stderr: bytes) -> CommandError:
    """The error for a program that ended badly: its last cause first, the whole of it kept for `-v`."""
    import shlex

    text = stderr[-STDERR_KEPT:].decode("utf-8", "replace").strip()
    how = f"was ended by signal {-exit_code}" if exit_code < 0 else f"failed with exit code {exit_code}"
    trouble = trouble_in(text) if exit_code != -_SIGXFSZ else trouble_in("file too large")
    if trouble is not None:
        what = f"`{' '.join(argv[:2])}` {how}"
        return CommandError(trouble.after(what), fix=trouble.fix, argv=argv, exit_code=exit_code, stderr=text)
    return CommandError(
        f"`{shlex.join(argv)}` {how}: {last_cause(text) or 'it said nothing'}.",
        fix="Run the same command by hand to see all that it says.",
        argv=argv,
        exit_code=exit_code,
        stderr=text,
    )


def last_cause(stderr: str) -> str:
    """The line that tells, out of what Go programs print: the last error line, without its prefix."""
    lines = plain_lines(stderr)
    telling = [line for line in lines if line.startswith(("Error:", "error:"))]
    line = (telling or lines or [""])[-1]
    return line.removeprefix("Error:").removeprefix("error:").strip().rstrip(".")


def plain_lines(stderr: str) -> list[str]:
    """The lines that are not empty, without what logrus puts around a message of Go programs.

    Of one that its runtime has ended only the first lines tell: the stacks of all goroutines follow.
    """
    import re

    crashed = re.search(r"^(?:fatal error|panic|SIG[A-Z]+): .*$", stderr, re.MULTILINE)
    lines = [
        line.strip() for line in (stderr[: crashed.end()] if crashed else stderr).splitlines() if line.strip()
    ]
    return [re.sub(r'^time="[^"]*" level=\w+ msg="?|"$', "", line).replace('\\"', '"') for line in lines]
