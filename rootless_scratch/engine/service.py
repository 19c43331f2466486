"""Find the podman service or start one, and end what was started.

A service of our own listens on a socket in a fresh directory that only we may enter, and ends by itself a
few seconds after its last request, so that nothing stays behind even if this process is killed.
"""

from __future__ import annotations

import os
import stat
import time

from rootless_scratch import command
from rootless_scratch.errors import EngineError, HostError
from rootless_scratch.host.environment import socket_unit

TYPE_CHECKING = False  # importing typing costs 8 ms, and a service is started before anything else is loaded
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from rootless_scratch.engine.http import Client
    from rootless_scratch.spawn import Child

    Origin = Literal["container-host", "user", "own"]

IDLE = 10
"""Seconds without a request after which a service of ours ends by itself."""

_SOCKET = "s"
_LOG = "log"
_SOCKET_PATH_LIMIT = 107
"""sun_path holds 108 bytes with its NUL: unix(7)."""

_START_PATIENCE = 30.0
_END_PATIENCE = 3.0
_CHILD_PATIENCE = 0.3
_INHERITED = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""Set where we run below systemd; podman would take them as meant for itself: sd_notify(3)."""


class IdleEndedError(HostError):
    """A service of ours ended by itself, because nobody came to ask it anything for IDLE seconds."""


class Service:
    """A service that listens: whose it is, and how to speak to it."""

    __slots__ = ("client", "origin")

    def __init__(self, *, client: Client, origin: Origin) -> None:
        self.client = client
        self.origin = origin


class Starting:
    """A service of ours on a private socket: it has been started, and may not listen yet.

    Raises ToolMissingError, HostError. `close` ends it and removes its directory.
    """

    def __init__(self, variables: Mapping[str, str], *, runtime: str | None) -> None:
        self.directory = _private_directory(variables)
        environment = {name: value for name, value in variables.items() if name not in _INHERITED}
        self._closed = False
        self.began = time.monotonic()
        try:
            self.process: Child = _start(self.directory, environment, runtime)
        except BaseException:
            remove_directory(self.directory)
            raise

    @property
    def path(self) -> str:
        """Its socket."""
        return f"{self.directory}/{_SOCKET}"

    def close(self) -> None:
        """End it, whatever it is doing; once is enough."""
        if not self._closed:
            self._closed = True
            try:
                _end(self)
            finally:
                remove_directory(self.directory)


def found_service(variables: Mapping[str, str]) -> Service | None:
    """The service that the caller names by CONTAINER_HOST, else the user's own if it answers, else None.

    Raises EngineError where CONTAINER_HOST names one that does not answer, or that we cannot speak to.
    """
    named = variables.get("CONTAINER_HOST")
    if named:
        return _named(named)
    if not has_user_socket(variables):
        return None
    client = _client(_user_socket(variables))
    try:
        _ping(client, patience=2.0)
    except EngineError:
        # A socket that nobody serves any more is no error: a service of our own takes its place.
        return None
    return Service(client=client, origin="user")


def has_user_socket(variables: Mapping[str, str]) -> bool:
    """Whether there is a socket of the user's own service; it may be stale."""
    try:
        status = os.stat(_user_socket(variables))
    except OSError:
        return False
    return stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid()


def wait_until_ready(starting: Starting) -> Service:
    """The service once it answers.

    Raises IdleEndedError where this host was too busy to ask in time, HostError with podman's own cause where it
    ends otherwise.
    """
    client = _client(starting.path)
    deadline = time.monotonic() + _START_PATIENCE
    while True:
        # One that has been waiting for long may be about to leave; a request makes it stay.
        fresh = time.monotonic() - starting.began < IDLE / 2
        if client.listens() and (fresh or _answers(client)):
            return Service(client=client, origin="own")
        if starting.process.poll() is not None:
            raise _died(starting)
        if time.monotonic() > deadline:
            raise EngineError(
                f"`podman system service` did not answer within {_START_PATIENCE:g} s.",
                fix="Run `podman info` by hand; if it hangs too, `podman system migrate` often helps.",
            )
        time.sleep(0.002)


def remove_directory(directory: str) -> None:
    """Remove the directory of a service, whatever of its two files is there."""
    for name in (_SOCKET, _LOG):
        try:
            os.unlink(f"{directory}/{name}")
        except OSError:
            continue
    try:
        os.rmdir(directory)
    except OSError:
        # Somebody else has removed it, or put something there that is not ours to remove.
        return


def _named(address: str) -> Service:
    scheme, separator, path = address.partition("://")
    if not separator or scheme not in ("unix", "http+unix") or not path.startswith("/"):
        raise EngineError(
            f"CONTAINER_HOST is {address!r}, and only a unix socket can be used.",
            fix="Set it to unix:///path/to/podman.sock, or unset it to use podman on this machine.",
        )
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
        raise EngineError(
            f"The socket path in CONTAINER_HOST is longer than {_SOCKET_PATH_LIMIT} bytes: {path}.",
            fix="Make a shorter path to it, for example a symbolic link in /tmp, and name that one.",
        )
    client = _client(path)
    try:
        _ping(client, patience=10.0)
    except EngineError as error:
        raise EngineError(
            f"CONTAINER_HOST names {path}: {error.message}",
            fix=f"Start that service (`{socket_unit('start', uid=os.geteuid())}`), or unset CONTAINER_HOST.",
        ) from error
    return Service(client=client, origin="container-host")


def _user_socket(variables: Mapping[str, str]) -> str:
    runtime = variables.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return "/run/podman/podman.sock" if os.geteuid() == 0 else f"{runtime}/podman/podman.sock"


def _client(path: str) -> Client:
    """The client; imported late, for a service of ours starts meanwhile and JSON and sockets cost 7 ms."""
    from rootless_scratch.engine.http import Client

    return Client(path=path)


def _ping(client: Client, *, patience: float) -> None:
    response = client.request("GET", "/_ping", patience=patience)
    if not response.ok or response.header("Libpod-Api-Version") is None:
        raise EngineError(
            "What answers there is not podman.",
            fix="Check which program listens on that socket (`ss -xlp`).",
        )


def _answers(client: Client) -> bool:
    try:
        _ping(client, patience=10.0)
    except EngineError:
        return False
    return True


def _private_directory(variables: Mapping[str, str]) -> str:
    """A fresh directory of mode 0700 whose name leaves room for the socket's."""
    bases = (variables.get("XDG_RUNTIME_DIR"), variables.get("TMPDIR"), "/tmp")  # noqa: S108 - mkdir fails if it exists
    name = f"rootless-scratch-{os.urandom(8).hex()}"
    problem = "no directory for it has a short enough name"
    for base in bases:
        if not base or len(os.fsencode(f"{base}/{name}/{_SOCKET}")) > _SOCKET_PATH_LIMIT:
            continue
        try:
            os.mkdir(f"{base}/{name}", mode=0o700)
        except OSError as error:
            problem = f"{base}: {error.strerror}"
        else:
            return f"{base}/{name}"
    raise HostError(
        f"There is no place for the socket of the podman service ({problem}).",
        fix="Set XDG_RUNTIME_DIR or TMPDIR to a directory that you can write to.",
    )


def _start(directory: str, environment: Mapping[str, str], runtime: str | None) -> Child:
    chosen = () if runtime is None else ("--runtime", runtime)
    socket = f"unix://{directory}/{_SOCKET}"
    argv = ("podman", *chosen, "system", "service", f"--time={IDLE}", socket)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        # A file, for a pipe that nobody reads would fill up and stop the service.
        log = os.open(f"{directory}/{_LOG}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            return command.start(argv, environment=environment, stdin=null, stdout=null, stderr=log)
        finally:
            os.close(log)
    finally:
        os.close(null)


def _end(starting: Starting) -> None:
    """SIGTERM, and SIGKILL where that is not heeded: the service waits for streams that are still open.

    Where no pause process exists yet, a rootless podman is a pair, and the parent now and then ends on
    SIGTERM without telling its child. Both are in the process group that we made; conmon and the pause
    process are not. The child is not ours to wait for, but it holds the socket.
    """
    import signal

    client = _client(starting.path)
    deadline = time.monotonic() + _END_PATIENCE
    _signal(starting.process.pid, signal.SIGTERM)
    while starting.process.poll() is None or client.listens():
        if time.monotonic() > deadline:
            _signal(starting.process.pid, signal.SIGKILL)
            starting.process.wait()
            break
        time.sleep(0.001)
    # A child that was still waiting for its parent's word has its signals blocked, and would wait for ever.
    deadline = time.monotonic() + _CHILD_PATIENCE
    while _has_members(starting.process.pid):
        if time.monotonic() > deadline:
            _signal(starting.process.pid, signal.SIGKILL)
            break
        time.sleep(0.005)


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        # It has ended by itself.
        return


def _died(starting: Starting) -> HostError:
    try:
        with open(f"{starting.directory}/{_LOG}", "rb") as log:
            said = log.read(command.STDERR_KEPT).decode("utf-8", "replace")
    except OSError:
        said = ""
    cause = command.last_cause(said) or f"it ended with code {starting.process.returncode}"
    kind = HostError if starting.process.returncode else IdleEndedError
    return kind(
        f"The podman service did not start: {cause}.",
        fix="Run `rootless-scratch doctor`, which tells what this host lacks.",
    )
