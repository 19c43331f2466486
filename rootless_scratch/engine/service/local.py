"""Find the podman service or start one, and end what was started.

A service of our own listens on a socket in a directory that only we may enter (`directory.py`), and ends by itself
a few seconds after its last request, so that nothing stays behind even if this process is killed. It may be left
to the next call for that long (`keeping.py`); so it holds nothing that its starter was given, least of all a pipe.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress

from rootless_scratch import command, processes
from rootless_scratch.data import Data
from rootless_scratch.engine.service.directory import ServiceDirectory, abandoned, meet, others_beside
from rootless_scratch.errors import EngineError, HostError
from rootless_scratch.spawn import NULL, Child
from rootless_scratch.troubles import limit_met, trouble_in

TYPE_CHECKING = False  # importing typing costs 8 ms, and a service is started before anything else is loaded
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from rootless_scratch.engine.api.http import Client

    Origin = Literal["named", "user", "own"]

_NAMESPACE_LOST = "invalid internal status"
_START_PATIENCE = 30.0
_END_PATIENCE = 3.0
_INHERITED = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""Set where we run below systemd; podman would take them as meant for itself: sd_notify(3)."""


class IdleEndedError(HostError):
    """A service of ours ended by itself, because nobody came to ask it anything."""


class NamespaceLostError(HostError):
    """podman does nothing any more: all of its user namespace was killed, and it takes containers for running."""


class Service(Data):
    """A service that listens: whose it is, and how to speak to it.

    One that the caller named has an `address`, and a `host` where it is known to run on another one than we do.
    """

    client: Client
    origin: Origin
    address: str | None = None
    host: str | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether it may have another store and other rights than this account has here."""
        return self.origin == "named"


class Starting:
    """A service of ours, shared with all calls like this one: it may not listen yet.

    Raises ToolMissingError, HostError. `close` ends it where nobody else uses it, or leaves it where it `stays`.
    """

    def __init__(self, variables: Mapping[str, str], *, runtime: str | None, idle: int, stays: bool) -> None:
        self.idle = idle
        self.stays = stays
        self._environment = {name: value for name, value in variables.items() if name not in _INHERITED}
        self._runtime = runtime
        self._closed = False
        self.process: Child | None = None
        """The service, where it is this call that has started it."""
        self.directory = meet(variables, runtime=runtime, idle=idle)
        try:
            if not self.directory.sockets():
                self.begin()
        except BaseException:
            self.close()
            raise

    def begin(self) -> None:
        """Start it, unless another call is about to, or has."""
        try:
            if not self.directory.take_turn():
                return
            # Whoever had the turn before has started one.
            if _listens(self.directory):
                self.directory.end_turn()
                return
            self.directory.forget(self.directory.sockets())
            self.began = time.monotonic()
            self.process = _start(self.directory, self._environment, self._runtime, self.idle)
        except OSError as error:
            raise limit_met(error) or HostError(
                f"The podman service cannot be started: {self.directory.path}: {error.strerror}.",
                fix="Make room there, or set XDG_RUNTIME_DIR to another directory that you can write to.",
            ) from error

    @property
    def is_fresh(self) -> bool:
        """Whether it has just been started here; an older one may be about to leave."""
        return self.process is not None and time.monotonic() - self.began < self.idle / 2

    def close(self) -> None:
        """Use it no more, and end it unless it stays or others use it; once is enough."""
        if self._closed:
            return
        self._closed = True
        process = self.process
        # Where it has died, nobody else would take its directory away.
        if self.stays and _listens(self.directory):
            self.directory.let_go()
            ended = False
        else:
            ended = self.directory.leave(lambda: _end(self.directory, process))
        if not ended and process is not None:
            _reap_later(process)
        _sweep(self.directory.path)


def found_service(variables: Mapping[str, str]) -> Service | None:
    """The user's own service if it answers, else None; one that the caller names is remote.py's."""
    if not has_user_socket(variables):
        return None
    client = _client(_user_socket(variables))
    # A socket that nobody serves any more is no error: a service of our own takes its place.
    return Service(client=client, origin="user") if _answers(client, patience=2.0) else None


def has_user_socket(variables: Mapping[str, str]) -> bool:
    """Whether there is a socket of the user's own service; it may be stale."""
    try:
        status = os.stat(_user_socket(variables))
    except OSError:
        return False
    return stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid()


def wait_until_ready(starting: Starting) -> Service:
    """The service once it answers.

    Raises IdleEndedError where this host was too busy to ask in time, NamespaceLostError, and HostError with
    podman's own cause where it ends otherwise.
    """
    deadline = time.monotonic() + _START_PATIENCE
    pause = 0.002
    while True:
        for path in starting.directory.sockets():
            client = _client(path, log=starting.directory.log)
            # A request makes one stay that is about to leave.
            if client.listens() and (starting.is_fresh or _answers(client, patience=10.0)):
                starting.directory.end_turn()
                return Service(client=client, origin="own")
        if starting.process is None:
            starting.begin()
            pause = min(pause * 1.5, 0.02)
        elif starting.process.poll() is not None:
            raise _died(starting, starting.process)
        if time.monotonic() > deadline:
            raise EngineError(
                f"`podman system service` did not answer within {_START_PATIENCE:g} s.",
                fix="Run `podman info` by hand; if it hangs too, `podman system migrate` often helps.",
            )
        time.sleep(pause)


def end_abandoned(path: str) -> None:
    """End the service of a call that was killed, and remove its directory, unless somebody uses it."""
    try:
        directory = abandoned(path)
    except OSError:
        return
    if directory is not None:
        directory.leave(lambda: _end(directory, None))


def _user_socket(variables: Mapping[str, str]) -> str:
    runtime = variables.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return "/run/podman/podman.sock" if os.geteuid() == 0 else f"{runtime}/podman/podman.sock"


def _client(path: str, *, log: str | None = None) -> Client:
    """The client; imported late, for a service of ours starts meanwhile and JSON and sockets cost 7 ms."""
    from rootless_scratch.engine.api.http import Client

    return Client(path=path, log=log)


def ping(client: Client, *, patience: float) -> None:
    """Raise EngineError unless podman answers within `patience` seconds."""
    response = client.request("GET", "/_ping", patience=patience)
    if not response.ok or response.header("Libpod-Api-Version") is None:
        raise EngineError(
            "What answers there is not podman.",
            fix="Check which program listens on that socket (`ss -xlp`).",
        )


def _answers(client: Client, *, patience: float) -> bool:
    try:
        ping(client, patience=patience)
    except EngineError:
        return False
    return True


_KEEPER = """
trap exit TERM
directory=$0 socket=$1 idle=$2 verb=service
shift 2
cd / && "$@" system "$verb" "--time=$idle" "unix://$directory/$socket"
code=$?
{ cd "$directory" && rm -f "$socket" && flock -w 1 users sh -c '
    for each in s-*; do [ ! -e "$each" ] || exit; done
    rm -f log turn users; rmdir "$0"' "$directory"; } >/dev/null 2>&1 &
exit $code
"""
"""Takes the directory away after a service that has ended by itself or was killed, unless it is used.

One that is ended from here gets SIGTERM, and what is left then is for whoever sent it. Its arguments are not those
of a service, by which these are found.
"""


def _start(directory: ServiceDirectory, environment: Mapping[str, str], runtime: str | None, idle: int) -> Child:
    chosen = () if runtime is None else ("--runtime", runtime)
    socket = os.path.basename(directory.fresh_socket())
    # Others may use it longer than our working directory lasts; no runtime starts anything in one that is gone.
    argv = ("sh", "-c", _KEEPER, directory.path, socket, str(idle), command.require("podman"), *chosen)
    # A file, for a pipe that nobody reads would fill up and stop the service.
    log = os.open(directory.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return command.start(argv, environment=environment, stdin=NULL, stdout=NULL, stderr=log, alone=True)
    finally:
        os.close(log)


def _listens(directory: ServiceDirectory) -> bool:
    return any(_client(path).listens() for path in directory.sockets())


def _sweep(path: str) -> None:
    """Remove directories of services that have died together with whoever would have removed them."""
    for other, sockets in others_beside(path):
        # Where one lives it is not touched: whoever leaves it at this moment would take us for a user.
        if any(_client(socket).listens() for socket in sockets):
            continue
        try:
            directory = abandoned(other)
        except OSError:
            continue
        if directory is not None and _listens(directory):
            directory.let_go()
        elif directory is not None:
            directory.leave(lambda: None)


def _end(directory: ServiceDirectory, process: Child | None) -> None:
    """SIGTERM, and SIGKILL where that is not heeded: the service waits for streams that are still open.

    A rootless podman is a pair, of which the child listens; the parent now and then ends on SIGTERM without
    telling it. Both are in the process group that was made for them; conmon and the pause process are not.
    """
    import signal

    listeners = [pid for path in directory.sockets() if (pid := _listener(path, directory.path))]
    groups = {group for pid in listeners if (group := _group_of(pid))}
    groups |= {process.pid} if process else set()
    for group in groups:
        _signal(group, signal.SIGTERM)
    deadline = time.monotonic() + _END_PATIENCE
    while (process is not None and process.poll() is None) or any(map(processes.lives, listeners)):
        if time.monotonic() > deadline:
            break
        time.sleep(0.001)
    for group in groups:
        # A child that was still waiting for its parent's message has its signals blocked, and would wait for ever.
        _signal(group, signal.SIGKILL)
    if process is not None:
        process.wait()


def _listener(path: str, directory: str) -> int:
    """The process that listens on a socket of ours, 0 where none does: SO_PEERCRED of unix(7)."""
    pid = _client(path).listener()
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return pid if os.fsencode(directory) in file.read() else 0
    except OSError:
        return 0


def _group_of(pid: int) -> int:
    """The process group that it was started in, 0 where it has ended or that is our own."""
    try:
        group = os.getpgid(pid)
    except ProcessLookupError:
        return 0
    return 0 if group == os.getpgrp() else group


def _reap_later(process: Child) -> None:
    """Others go on using a service that we have started; when it ends it is still for us to reap."""
    import threading

    # Without a thread it stays a zombie for as long as this process lives.
    with suppress(RuntimeError):
        threading.Thread(target=process.wait, name="rootless-scratch-service", daemon=True).start()


def _signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # It has ended by itself.
        return


def _died(starting: Starting, process: Child) -> HostError:
    from rootless_scratch.host.causes import cause_in

    log, what = starting.directory.log_text(), "The podman service did not start"
    # That is mended by the caller, so it comes before what a doctor says of the same words.
    if _NAMESPACE_LOST in log:
        return NamespaceLostError(
            "The processes of podman's user namespace were killed, with containers that it believes alive.",
            fix="Run `podman system migrate`, which makes it forget them.",
            detail=log,
        )
    # Where it ended as it should, that was for want of requests, and its log has warnings alone.
    if process.returncode:
        known = cause_in(log)
        if known is not None:
            return known.error(log, what=what)
        trouble = trouble_in(log)
        if trouble is not None:
            return HostError(trouble.after(what), fix=trouble.fix, detail=log)
    cause = command.last_cause(log) or f"it ended with code {process.returncode}"
    kind = HostError if process.returncode else IdleEndedError
    return kind(
        f"{what}: {cause}.",
        fix="Run `rootless-scratch doctor`, which tells what this host lacks.",
        detail=log,
    )
