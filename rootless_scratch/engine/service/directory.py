"""Where services of ours listen, and who uses them.

Calls of one user with the same environment meet in one directory and share the service that listens there. Each
holds a lock for as long as it uses it, and whoever holds the last one ends it, or leaves it to the next call for
as long as podman's own timer lets it live (`keeping.py`). Locks end with their process, so nobody is counted who
was killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from rootless_scratch import locks, private
from rootless_scratch.engine.api.logs import logged
from rootless_scratch.engine.service.keeping import VARIABLE
from rootless_scratch.errors import HostError
from rootless_scratch.processes import text
from rootless_scratch.spawn import find

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_PREFIX = "rootless-scratch-"
_USERS = "users"
_TURN = "turn"
_LOG = "log"
_SOCKET = "s-"
SOCKET_PATH_LIMIT = 107
"""sun_path holds 108 bytes with its NUL: unix(7)."""

_PATIENCE = 5.0
"""Seconds in which whoever leaves last has ended the service; then one that nobody shares is started instead."""

_PASSING = ("_", "SHLVL", "PWD", "OLDPWD", "LINES", "COLUMNS", "PYTEST_CURRENT_TEST", VARIABLE)
"""Variables that change from call to call and mean nothing to podman."""

_SURROUNDINGS = ("ns/mnt", "ns/user", "ns/pid", "ns/net", "root")
"""Links of /proc/self: a service in other namespaces has other mounts, ids and networks than ours."""

_INHERITED = ("cgroup", "limits", "oom_score_adj", "attr/current")
"""Files of /proc/self: what podman's containers inherit from their service."""

_RIGHTS = ("Umask:", "Groups:", "SigIgn:", "Cap", "NoNewPrivs:", "Seccomp:", "Cpus_allowed:", "Mems_allowed:")
"""Lines of /proc/self/status: likewise; the others change by themselves."""

_CONFIGURED = ("containers.conf", "storage.conf", "registries.conf", "policy.json")
_DROPPED_IN = ("containers.conf.d", "registries.conf.d")
"""What a service reads once, when it starts, in each directory for it."""

_NAMED = (
    "CONTAINERS_CONF",
    "CONTAINERS_CONF_OVERRIDE",
    "CONTAINERS_STORAGE_CONF",
    "CONTAINERS_REGISTRIES_CONF",
)
"""Variables that name a file in place of those."""

_MADE_WITH_STORAGE = ("userns.lock", "defaultNetworkBackend")
"""Files of the usual image storage that are written when it is made, and never after that."""


class ServiceDirectory:
    """A directory that only its user may enter, held until `leave`."""

    __slots__ = ("_opened", "_turn", "_users", "path")

    def __init__(self, path: str, opened: int, users: int) -> None:
        self.path = path
        # What is done in it is done by its descriptor, which nobody can exchange.
        self._opened = opened
        self._users = users
        self._turn: int | None = None

    @property
    def log(self) -> str:
        """Where a service writes what it has to say."""
        return f"{self.path}/{_LOG}"

    def log_text(self) -> str:
        """What has been written there."""
        return logged(self.log)

    def fresh_socket(self) -> str:
        """A path for the socket of a new service: podman's removes its own at its end, whoever has it then."""
        return f"{self.path}/{_SOCKET}{os.urandom(2).hex()}"

    def sockets(self) -> list[str]:
        """The sockets that are there, listened to or not."""
        return [f"{self.path}/{name}" for name in _names(self._opened) if name.startswith(_SOCKET)]

    def forget(self, sockets: Iterable[str]) -> None:
        """Remove sockets that nobody listens to any more: who takes the directory away waits for all of them."""
        for path in sockets:
            try:
                os.unlink(os.path.basename(path), dir_fd=self._opened)
            except OSError:
                continue

    def take_turn(self) -> bool:
        """Be the one who starts a service, until `end_turn`; False while another is."""
        if self._turn is None:
            self._turn = _locked(self._opened, _TURN, os.O_CREAT, fcntl.LOCK_EX)
        return self._turn is not None

    def end_turn(self) -> None:
        """Let others start a service; once is enough."""
        if self._turn is not None:
            os.close(self._turn)
            self._turn = None

    def let_go(self) -> None:
        """Use it no more, and leave what is there to the next call."""
        self.end_turn()
        os.close(self._users)
        os.close(self._opened)

    def leave(self, end: Callable[[], None]) -> bool:
        """Use it no more; where nobody else does, `end` what is there and remove it. Whether that was so."""
        try:
            self.end_turn()
            # Of two who leave at once the kernel lets one have it: flock(2) drops the old lock first.
            if not locks.lock(self._users):
                return False
            try:
                end()
            finally:
                _remove(self.path, self._opened)
            return True
        finally:
            os.close(self._users)
            os.close(self._opened)


def meet(variables: Mapping[str, str], *, runtime: str | None, idle: int) -> ServiceDirectory:
    """The directory of all calls whose service would be the same one; raises HostError where there is none.

    `idle` is the number of seconds after which that service ends by itself. Where the directory is somebody
    else's, or its last user does not get done, it is one that nobody shares.
    """
    return _first((_shared_name(variables, runtime, idle), _own_name()), variables)


def private_directory(variables: Mapping[str, str]) -> ServiceDirectory:
    """A directory that nobody shares; raises HostError."""
    return _first((_own_name(),), variables)


def abandoned(directory: str) -> ServiceDirectory | None:
    """The directory of a user who was killed, if it is still there, to be left at once; raises OSError.

    One that is empty goes at once: its user was killed before it was used, or after it was emptied.
    """
    found = _used(directory, 0)
    if found is None:
        # Whoever makes it at this moment makes it again.
        _take_back(directory)
    return found


def others_beside(directory: str) -> Iterator[tuple[str, list[str]]]:
    """The paths of this user's service directories beside this one, each with its sockets, listened to or not."""
    base, own = os.path.split(directory)
    try:
        names = os.listdir(base)
    except OSError:
        return
    for name in names:
        if name != own and name.startswith(_PREFIX) and len(name) == len(own):
            try:
                if os.lstat(f"{base}/{name}").st_uid != os.geteuid():
                    continue
                inside = [f"{base}/{name}/{each}" for each in os.listdir(f"{base}/{name}")]
            except OSError:
                continue
            yield f"{base}/{name}", [path for path in inside if os.path.basename(path).startswith(_SOCKET)]


def _used(directory: str, flags: int) -> ServiceDirectory | None:
    """The directory, used from now on; None where another is about to remove it, or has. Raises OSError."""
    opened, users = private.open_private(directory), None
    try:
        users = _locked(opened, _USERS, flags, fcntl.LOCK_SH)
    finally:
        if users is None:
            os.close(opened)
    return None if users is None else ServiceDirectory(directory, opened, users)


def _first(names: tuple[str, ...], variables: Mapping[str, str]) -> ServiceDirectory:
    """The first that can be made and used; the names of its sockets must not be too long."""
    problem = "no directory for it has a short enough name"
    for base in (variables.get("XDG_RUNTIME_DIR"), variables.get("TMPDIR"), "/tmp"):  # noqa: S108 - see _enter
        unsafe = private.exchangeable(base) if base else None
        if unsafe is not None:
            problem = f"{base}: other users can exchange what lies in {unsafe}"
            continue
        for name in names:
            directory = f"{base}/{_PREFIX}{name}"
            if not base or len(os.fsencode(f"{directory}/{_SOCKET}0000")) > SOCKET_PATH_LIMIT:
                continue
            try:
                return _enter(directory)
            except OSError as error:
                problem = f"{base}: {error.strerror}"
    raise HostError(
        f"There is no directory for the socket of the podman service ({problem}).",
        fix="Set XDG_RUNTIME_DIR or TMPDIR to a directory that you, and nobody else, can write to.",
    )


def _own_name() -> str:
    return os.urandom(8).hex()


def _shared_name(variables: Mapping[str, str], runtime: str | None, idle: int) -> str:
    """A name that stands for all that decides what a service does: environment, files, namespaces, limits."""
    # hashlib loads OpenSSL, which takes 2 ms; this is the same function, built in.
    from _blake2 import blake2b

    environment = [f"{name}={value}" for name, value in sorted(variables.items()) if name not in _PASSING]
    rights = [line for line in text("/proc/self/status").splitlines() if line.startswith(_RIGHTS)]
    around = [*map(_link, _SURROUNDINGS), *(text(f"/proc/self/{name}") for name in _INHERITED), *rights]
    account = (os.geteuid(), os.getpriority(os.PRIO_PROCESS, 0), idle)
    files = [f"{path} {_stamp(path)}" for path in _files(variables)]
    settings = "\0".join([*map(str, account), runtime or "", *environment, *files, *around])
    return str(blake2b(os.fsencode(settings), digest_size=8).hexdigest())


def _files(variables: Mapping[str, str]) -> Iterator[str]:
    """What a service reads at its start, there or not, and what it is."""
    home = variables.get("XDG_CONFIG_HOME") or f"{variables.get('HOME', '')}/.config"
    yield from ("/etc/subuid", "/etc/subgid", find("podman") or "")
    # After `podman system reset` a service has its database no more, and hangs at the second question.
    data = variables.get("XDG_DATA_HOME") or f"{variables.get('HOME', '')}/.local/share"
    storage = f"{'/var/lib' if os.geteuid() == 0 else data}/containers/storage"
    yield from (f"{storage}/{name}" for name in _MADE_WITH_STORAGE)
    yield from (variables[name] for name in _NAMED if name in variables)
    for directory in ("/usr/share/containers", "/etc/containers", f"{home}/containers"):
        yield from (f"{directory}/{name}" for name in _CONFIGURED)
        for name in _DROPPED_IN:
            try:
                dropped = sorted(os.listdir(f"{directory}/{name}"))
            except OSError:
                continue
            yield from (f"{directory}/{name}/{each}" for each in dropped)


def _stamp(path: str) -> str:
    """What tells that a file has changed."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _link(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/{name}")
    except OSError:
        return ""


def _enter(directory: str) -> ServiceDirectory:
    """Make it where it is not there, and use it; raises OSError."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        is_new = _make(directory)
        try:
            entered = _used(directory, os.O_CREAT)
        except FileNotFoundError:
            # Its last user has removed it meanwhile.
            entered = None
        except OSError:
            if is_new:
                _take_back(directory)
            raise
        if entered is not None:
            return entered
        time.sleep(0.002)
    raise BlockingIOError(errno.EWOULDBLOCK, "another call does not end its service")


def _make(directory: str) -> bool:
    """Whether it was not there before."""
    try:
        os.mkdir(directory, mode=0o700)
    except FileExistsError:
        # A call like this one came first, or somebody else: that is found out next.
        return False
    return True


def _take_back(directory: str) -> None:
    """Remove what cannot be used, mostly for want of descriptors; whoever uses it has files there."""
    try:
        os.rmdir(directory)
    except OSError:
        return


def _locked(opened: int, name: str, flags: int, kind: int) -> int | None:
    """A descriptor of a file of the directory, locked, or None where another has locked or removed it."""
    try:
        return locks.lock_file(name, os.O_RDWR | flags, kind=kind | fcntl.LOCK_NB, above=opened)
    except FileNotFoundError:
        return None


def _names(opened: int) -> list[str]:
    try:
        return os.listdir(opened)
    except OSError:
        return []


def _remove(directory: str, opened: int) -> None:
    sockets = [name for name in _names(opened) if name.startswith(_SOCKET)]
    # As soon as the lock's file is gone, others may make the directory anew.
    for name in (*sockets, _LOG, _TURN, _USERS):
        try:
            os.unlink(name, dir_fd=opened)
        except OSError:
            continue
    try:
        if locks.is_at(opened, directory):
            os.rmdir(directory)
    except OSError:
        # Somebody has put something there that is not ours to remove.
        return
