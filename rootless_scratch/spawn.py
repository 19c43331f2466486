"""The fast half of the door to other programs: start one with pipes, without what subprocess costs to import.

Only builtin modules are imported here, and `typing` is not among them (8 ms): a build starts its worker by this
before anything else is loaded, and the worker starts buildah by it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

_ADMINISTRATORS = "/usr/local/sbin:/usr/sbin:/sbin"
_USUAL_PATH = "/usr/local/bin:/usr/bin:/bin"
NULL = -1
"""In place of a descriptor: the stream is /dev/null."""

_SIGKILL, _SIGPIPE, _SIGCHLD, _SIGXFSZ = 9, 13, 17, 25
"""signal(7), for all processors that we run on; importing their module takes 2 ms."""


class Child:
    """A program that was started; the descriptors are our ends of its pipes, None where there is none.

    `returncode` is None until it was reaped, and negative for a signal, as with subprocess.
    """

    def __init__(self, pid: int, stdin: int | None, stdout: int | None, stderr: int | None) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code if it has ended."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        code = self._reap(0)
        assert code is not None  # noqa: S101 - waitpid(2) without WNOHANG
        return code

    def blocks(self, *, pause: float | None = None, watched: int | None = None) -> Iterator[tuple[int, bytes]]:
        """What comes of its stdout (1) and stderr (2), as far as these are pipes, until they have ended.

        Where nothing comes for `pause` seconds, or once the other end of the descriptor `watched` is closed, the
        number is 0, so that the caller can look around.
        """
        import select

        streams = {each: number for number, each in ((1, self.stdout), (2, self.stderr)) if each is not None}
        poll = select.poll()
        for descriptor in streams:
            poll.register(descriptor, select.POLLIN)
        if watched is not None:
            # No event is asked for: what is reported all the same is that the other end was closed.
            poll.register(watched, 0)
        while streams:
            ready = [descriptor for descriptor, _ in poll.poll(None if pause is None else pause * 1000)]
            if not ready or watched in ready:
                yield 0, b""
            for descriptor in streams.keys() & ready:
                block = os.read(descriptor, 65_536)
                if block:
                    yield streams[descriptor], block
                else:
                    poll.unregister(descriptor)
                    del streams[descriptor]

    def kill_session(self) -> None:
        """End it by SIGKILL, with all that it started in its own session, and reap it."""
        if self.returncode is None:
            try:
                os.killpg(self.pid, _SIGKILL)
            except ProcessLookupError:  # it has ended just now
                self.poll()
            self.wait()

    def close(self, *names: str) -> None:
        """Close our ends of the pipes with these names, all by default."""
        for name in names or ("stdin", "stdout", "stderr"):
            descriptor = getattr(self, name)
            if descriptor is not None:
                setattr(self, name, None)
                os.close(descriptor)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:
                # Where SIGCHLD is ignored the kernel reaps it itself, and its code is lost.
                self.returncode = 0
            else:
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def spawn(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    socket: bool = False,
    new_session: bool = False,
    alone: bool = False,
) -> Child:
    """Start `argv[0]`, an absolute path; a stream without a descriptor becomes a pipe. Raises OSError.

    With `socket` its stdin is a socket of unix(7), which passes descriptors, in place of a pipe. With `alone` it
    gets none of the descriptors that our caller has passed to us beside the streams.
    In a session of its own it gets no signal from our terminal, and `kill_session` can end it whole.
    """
    ours: list[int | None] = []
    theirs: list[int] = []
    actions: list[tuple[object, ...]] = []
    try:
        for number, stream in enumerate((stdin, stdout, stderr)):
            if stream == NULL:
                ours.append(None)
                actions.append((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0))
                continue
            if stream is None:
                read, write = _socket_pair() if socket and number == 0 else os.pipe()
                mine, stream = (write, read) if number == 0 else (read, write)  # noqa: PLW2901 - the pipe's end
                ours.append(mine)
                theirs.append(stream)
                _lift(ours)
            elif stream in (0, 1, 2) and stream != number:
                ours.append(None)
                theirs.append(os.dup(stream))
            else:
                ours.append(None)
                actions.append((os.POSIX_SPAWN_DUP2, stream, number))
                continue
            actions.append((os.POSIX_SPAWN_DUP2, _lift(theirs), number))
        if alone:
            # One that another thread closes meanwhile is no error: posix_spawn_file_actions_addclose(3).
            actions += [(os.POSIX_SPAWN_CLOSE, each) for each in _passed_on()]
        pid = os.posix_spawn(
            argv[0],
            list(argv),
            environment,
            file_actions=actions,
            setsid=new_session,
            # What is ignored stays so in what is started: two of these by Python, and perhaps by our caller
            # the third, with which Go programs and shells lose the exit codes of their own children.
            setsigdef=(_SIGPIPE, _SIGCHLD, _SIGXFSZ),
        )
    except BaseException:
        for descriptor in ours:
            if descriptor is not None:
                os.close(descriptor)
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    return Child(pid, *ours)


def _passed_on() -> list[int]:
    """The descriptors beside the streams that programs started here inherit; none where /proc is missing.

    One that is above the limit, lowered since it was opened, stays open: posix_spawn(3) refuses to close it.
    """
    limit = os.sysconf("SC_OPEN_MAX")
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return []
    return [number for number in numbers if 2 < number < limit and _is_inheritable(number)]  # noqa: PLR2004 - stderr


def _is_inheritable(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:  # that of the list itself
        return False


def _lift(descriptors: list[Any]) -> int:
    """Give the last one a number above those of the streams, and return it.

    Where our caller has closed some of these, the kernel gives their numbers to what is opened next. A stream of
    the child would take its place there, and what the caller prints would go into it here.
    """
    low: int = descriptors[-1]
    if low <= 2:  # noqa: PLR2004 - stderr
        from fcntl import F_DUPFD_CLOEXEC, fcntl

        descriptors[-1] = fcntl(low, F_DUPFD_CLOEXEC, 3)
        os.close(low)
    return int(descriptors[-1])


def _socket_pair() -> tuple[int, int]:
    import _socket

    ends = _socket.socketpair()
    for end in ends:
        # socket.setdefaulttimeout of the caller's would have made them non-blocking.
        end.setblocking(True)  # noqa: FBT003 - a name is not taken
    return ends[0].detach(), ends[1].detach()


def find(name: str) -> str | None:
    """Absolute path of `name` in PATH or in the administrator's directories, which CI users often lack.

    A name with a slash is a path already. What is relative in PATH, or empty, is passed over: the working
    directory may be anybody's.
    """
    if "/" in name:
        return os.path.abspath(name) if os.access(name, os.X_OK) and os.path.isfile(name) else None
    for directory in f"{absolute_path(os.environ.get('PATH'))}:{_ADMINISTRATORS}".split(":"):
        candidate = f"{directory}/{name}"
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    return None


def absolute_path(path: str | None) -> str:
    """What is absolute in a PATH, in its order; the usual one where that is nothing."""
    found = [directory for directory in (path or "").split(":") if directory.startswith("/")]
    return ":".join(found) or _USUAL_PATH
