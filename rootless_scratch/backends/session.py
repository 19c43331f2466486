"""One session in the user namespace: started early, given one job, and ended whatever happens."""

from __future__ import annotations

import errno
import os
import sys

from rootless_scratch import command
from rootless_scratch.diagnosis import Diagnosis, diagnose
from rootless_scratch.errors import BuildError, CommandError, HostError, ScratchError
from rootless_scratch.host.capabilities import is_rootful
from rootless_scratch.host.environment import (
    own_state,
    policy_options,
    state_directory,
    temporary_directory,
    tool_environment,
)
from rootless_scratch.troubles import trouble_in

TYPE_CHECKING = False  # importing typing costs 8 ms, and this is loaded before anything else
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Literal, Self

    from rootless_scratch.backends.jobs import BuildJob, Done, FoundFile, ReadJob, Written
    from rootless_scratch.spawn import Child

    Purpose = Literal["build", "read", "read-programs"]

_STORE_SETTINGS = (
    "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF",
    "STORAGE_DRIVER",
    "STORAGE_OPTS",
    "XDG_DATA_HOME",
)
_END_PATIENCE = 20.0
"""Seconds in which a worker takes back what it has begun; it needs well under one."""

STORAGE_PATIENCE = 3600.0
"""Seconds; what works is another process inside the namespace, which is not always seen at work."""

_OF_NAMESPACES = ("host-user-namespaces", "host-new", "host-no-", "host-group", "host-subids")
"""How rules on user namespaces and the ids in them begin."""

_NO_NAMESPACE = (
    Diagnosis(
        r"(?m)^(.*(?:unshare|uid_map|gid_map|newuidmap|newgidmap|user namespace|unknown userid|clone).*)$",
        "buildah cannot make a user namespace here: {0}.",
        "Run `rootless-scratch doctor`, which says what this host lacks and how to mend it.",
    ),
)
"""What buildah, skopeo and the tools below them say of it."""


class Session:
    """A worker inside a namespace like that of `buildah unshare` (root needs none), waiting for its one job.

    It is started by the constructor, unless that is `postponed` to its job, so that it comes up while the caller
    still reads and judges: entering a namespace takes longer than that. For a `build` it also makes and mounts the
    empty container meanwhile. What it has begun is taken back when the session is closed without a job. `hint` is
    how a rebuild would be known (image/write/hints.py). Raises ToolMissingError, HostError.
    """

    def __init__(self, purpose: Purpose, *, hint: str | None = None, postponed: bool = False) -> None:
        environment = tool_environment()
        self.notes = tuple(map(str, environment.notes))
        self.settings = environment
        self.policy = policy_options(environment.variables, "--signature-policy")
        self.hint = hint
        self._purpose = purpose
        self._buildah = command.require("buildah")
        self._variables = environment.variables
        self._ended = False
        self._started = None if postponed else self._start()

    @property
    def _worker(self) -> Child:
        if self._started is None:
            self._started = self._start()
        return self._started

    def _start(self) -> Child:
        records, base = worker_directories(self._variables)
        worker = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker", "main.py")
        # Without site-packages Python starts in half the time; reading programs needs them.
        isolated = ("-I",) if self._purpose == "read-programs" else ("-I", "-S")
        # An isolated Python does not read PYTHONDONTWRITEBYTECODE.
        bytecode = ("-B",) if sys.dont_write_bytecode else ()
        argv = [sys.executable or "python3", *isolated, *bytecode, worker, self._purpose, records, base]
        way = () if is_rootful() else ("enter",)
        return command.start([*argv, self._buildah, *way], environment=self._variables, socket=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker, having it take back what it began, unless it has ended by itself."""
        if self._started is None:
            return
        self._worker.close("stdin")
        try:
            if not self._ended:
                self._drain()
        finally:
            self._worker.kill_session()
            self._worker.close()

    def tidy(self) -> None:
        """Start it where killed builds have left something, or are taking it back: it sees to that first."""
        if self._started is None and os.listdir(worker_directories(self._variables)[0]):
            self._started = self._start()

    def do(self, job: BuildJob | ReadJob, *, on_message: Callable[[Written | FoundFile], None]) -> Done:
        """Give the worker its job and return the answer; `on_message` gets what comes before it.

        Raises what the worker reports, as the error of that kind; HostError where it cannot even begin, and where
        buildah or the worker met a limit or a full disk.
        """
        from rootless_scratch.backends.jobs import Done, Failure, unpacked_answer

        self._send(job)
        buffer = stderr = b""
        for number, block in self._worker.blocks():
            if number == 2:  # noqa: PLR2004 - stderr
                stderr = (stderr + block)[-command.STDERR_KEPT :]
                continue
            *lines, buffer = (buffer + block).split(b"\n")
            for line in lines:
                answer = unpacked_answer(line)
                if not isinstance(answer, (Done, Failure)):
                    on_message(answer)
                    continue
                # All is done and taken back by then; its end is not worth waiting for.
                self._ended = True
                if isinstance(answer, Done):
                    return answer
                raise _of_host(_error(**answer.__dict__))
        # Where it was killed its tools may still be at work: they are in its session, and end with it.
        self._worker.kill_session()
        self._ended = True
        raise _of_host(cut_off(stderr.decode("utf-8", "replace")))

    def _send(self, job: BuildJob | ReadJob) -> None:
        """The job's size in 8 bytes, then the job.

        Copies of the descriptors of a build go along, in their order, as far as the kernel lets them.
        """
        from rootless_scratch.backends.jobs import BuildJob, packed
        from rootless_scratch.sparse import write_all

        content = packed(job)
        line = memoryview(len(content).to_bytes(8, "little") + content)
        descriptors = job.descriptors if isinstance(job, BuildJob) else ()
        assert self._worker.stdin is not None  # noqa: S101 - a socket was asked for
        try:
            write_all(self._worker.stdin, line[_pass_on(self._worker.stdin, line, descriptors) :])
        except ConnectionError:
            return  # it has ended already; what it said on stderr is the reason

    def _drain(self) -> None:
        """Wait for the worker's end, in bounded time; what it says is of no more interest."""
        import time

        deadline = time.monotonic() + _END_PATIENCE
        for _ in self._worker.blocks(pause=0.5):
            if time.monotonic() > deadline:
                return
        self._worker.wait()


def ask_storage(
    argv: Sequence[str], environment: Mapping[str, str], *, directory: str | None = None
) -> command.Output:
    """`command.follow` for a tool that enters a user namespace by itself; raises HostError where there is none.

    Raises CommandError too, where it fails.
    """
    done = command.follow(argv, environment=environment, idle=STORAGE_PATIENCE, directory=directory)
    if done.exit_code != 0:
        raise about_namespaces(command.failed(argv, exit_code=done.exit_code, stderr=done.stderr))
    return done


def about_namespaces(error: CommandError) -> CommandError | HostError:
    """The HostError where a tool failed for want of something of this host, else the error itself."""
    return no_namespace(error.stderr) or error


def worker_directories(variables: Mapping[str, str]) -> tuple[str, str]:
    """Where workers of this store note what they have begun, and where their temporary files lie."""
    key = store_key(variables)
    try:
        records = own_state(variables, "builds", key)
    except OSError as error:
        raise HostError(
            f"{state_directory(variables)}/builds/{key}, where builds under way are noted, cannot be made: "
            f"{error.strerror}.",
            fix="Set XDG_STATE_HOME to a directory of your own that you can write to.",
        ) from error
    return records, temporary_directory(variables)


def store_key(variables: Mapping[str, str]) -> str:
    """A key for the image store that these settings select: what is in another one is not ours to sweep."""
    settings = [f"{name}={variables[name]}" for name in _STORE_SETTINGS if variables.get(name)]
    if not settings:
        return "default"
    from rootless_scratch import sums

    return sums.digest("\0".join(settings).encode("utf-8", "surrogateescape"))[:16]


def _pass_on(stdin: int, line: memoryview, descriptors: Sequence[int]) -> int:
    """Write the beginning of `line`, and copies of the descriptors with it; how much was written (unix(7))."""
    import _socket

    packed = b"".join(each.to_bytes(4, sys.byteorder) for each in descriptors)
    channel = _socket.socket(fileno=stdin)
    # socket.setdefaulttimeout of the caller's would have made it non-blocking.
    channel.setblocking(True)  # noqa: FBT003 - a name is not taken
    try:
        return channel.sendmsg([line], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)] if packed else [])
    except OSError as error:
        if error.errno != errno.ETOOMANYREFS:
            raise
        return 0  # many builds of this user have some under way: the worker opens the files itself
    finally:
        channel.detach()


def _error(*, kind: str, message: str, fix: str, detail: str) -> ScratchError:
    """The error that the worker reported, as the class of that kind."""
    from rootless_scratch import errors

    for each in vars(errors).values():
        if isinstance(each, type) and issubclass(each, ScratchError) and each.kind == kind:
            return each(message, fix=fix, detail=detail)
    return BuildError(message, fix=fix, detail=detail)


def _of_host(error: ScratchError) -> ScratchError:
    if not isinstance(error, BuildError):
        return error
    from rootless_scratch.host.causes import cause_in

    trouble = cause_in(error.detail) or trouble_in(error.message)
    return error if trouble is None else trouble.error(error.detail)


def no_namespace(stderr: str) -> HostError | None:
    """The HostError where what a tool said is that there is no user namespace for it."""
    from rootless_scratch.host.causes import cause_in

    cause = cause_in(stderr)
    if cause is not None:
        does = "make a user namespace" if cause.rule.startswith(_OF_NAMESPACES) else "work"
        return cause.error(stderr, what=f"buildah cannot {does} here")
    lines = "\n".join(command.plain_lines(stderr))
    found = diagnose(_NO_NAMESPACE, lines, tidy=lambda line: line.rstrip("."))
    return None if found is None else HostError(found.cause, fix=found.fix, detail=stderr)


def cut_off(stderr: str) -> ScratchError:
    """The error for what has ended without an answer in the namespace: mostly because there is none for it."""
    cause = (command.plain_lines(stderr) or ["it said nothing"])[-1].rstrip(".")
    return no_namespace(stderr) or BuildError(
        f"The session in buildah's user namespace was cut off: {cause}.",
        fix="Run it again; `rootless-scratch doctor` says whether this host is fit; -v shows more.",
        detail=stderr,
    )
