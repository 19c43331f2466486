"""Who owns a container: a locked file for as long as its owner lives.

A process that is killed by SIGKILL cannot remove its container. The lock of its lease ends with it, whatever
pid namespace or login it ran in, so the next call can tell what is left over and never touches what is alive.
"""

from __future__ import annotations

import errno
import os
import time

from rootless_scratch import locks, private
from rootless_scratch.data import Data
from rootless_scratch.errors import HostError
from rootless_scratch.host.environment import resolved_state
from rootless_scratch.troubles import limit_met

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

OWNER_LABEL = "io.rootless-scratch.owner"

_STORE_SETTINGS = ("CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "STORAGE_DRIVER", "XDG_DATA_HOME")


class Wanted(Data, frozen=False):
    """A container that podman was asked for: its `name`, the `socket` of the service, and since when (time(2)).

    `id` is empty until podman has answered.
    """

    name: str
    socket: str
    since: float
    id: str = ""


class Lease:
    """The right to one container name; `descriptor` holds the lock of the file at `path`.

    The file outlives the lease unless `end` was called: the next call then looks for the container.
    """

    __slots__ = ("_where", "descriptor", "path")

    def __init__(self, *, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self._where = ("", "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.release()

    @property
    def owner(self) -> str:
        """What the label of the container says."""
        return os.path.basename(self.path)

    @property
    def container(self) -> str:
        """The name of the container that this lease stands for."""
        return container_name(self.owner)

    def record(self, *, engine: str, directory: str | None) -> None:
        """Note which engine holds the container, and the private directory of a service of ours.

        Raises HostError where there is no room for that.
        """
        self._where = (engine, directory or "")
        try:
            self._write()
        except OSError as error:
            raise _unusable(os.path.dirname(self.path), error) from error

    def expects(self, wanted: Wanted | None) -> None:
        """Note what podman is asked for, before it is; None: nothing is there any more, nor will be.

        Where there is no room for the note, the next call finds less out.
        """
        fields = () if wanted is None else (wanted.name, wanted.socket, str(wanted.since), wanted.id)
        try:
            self._write(*fields)
        except OSError:
            return

    def _write(self, *more: str) -> None:
        # Never empty in between: that would say that nothing had been started.
        content = os.fsencode("".join(f"{field}\0" for field in (*self._where, *more)))
        os.pwrite(self.descriptor, content, 0)
        os.ftruncate(self.descriptor, len(content))

    def end(self) -> None:
        """Nothing is left of the container: forget it."""
        try:
            os.unlink(self.path)
        except OSError:
            # Another call has found it left over at the same moment, or will, and look for nothing.
            return

    def release(self) -> None:
        """Let go of the lock; once is enough."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Leftover(Data):
    """What a dead owner may have left: what it `wanted` of `engine`, and the directory of its service.

    `age` is the number of seconds since it last wrote that down.
    """

    lease: Lease
    age: float
    engine: str
    directory: str | None
    wanted: Wanted | None


def container_name(owner: str) -> str:
    """The name of the container of an owner."""
    return f"rootless-scratch-{owner}"


def local_engine(variables: Mapping[str, str]) -> str:
    """A name for the user's own store, the same for all calls that see the same containers."""
    settings = [f"{name}={variables[name]}" for name in _STORE_SETTINGS if name in variables]
    return " ".join(["local", *settings])


def lease_directory(variables: Mapping[str, str]) -> str:
    """Where leases lie."""
    return f"{resolved_state(variables)}/runs"


def hold(directory: str) -> Lease:
    """Own a fresh container name until `release`; raises HostError where no lease can be written."""
    problem = OSError(0, "files cannot be locked there")
    try:
        state, runs = os.path.split(directory)
        private.make_own(*os.path.split(state), runs)
        for _attempt in range(5):
            # Another call may have locked and removed the file between its creation and our lock.
            path = f"{directory}/{os.urandom(8).hex()}"
            descriptor = locks.lock_file(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            if descriptor is not None:
                return Lease(path=path, descriptor=descriptor)
    except OSError as error:
        # flock(2) names no file.
        problem = problem if error.filename is None else error
    raise _unusable(directory, problem) from problem


def _unusable(directory: str, error: OSError) -> HostError:
    room = "Make room there, or set" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Set"
    return limit_met(error) or HostError(
        f"{directory}, where owners of containers are noted, cannot be used: {error.strerror}.",
        fix=f"{room} XDG_STATE_HOME to another directory that you can write to.",
    )


def leftovers(directory: str, *, living: Lease) -> Iterator[Leftover]:
    """What dead owners may have left, each locked for the caller until it asks for the next."""
    for path, descriptor in locks.left_over(directory, lambda name: name != living.owner):
        age = time.time() - os.fstat(descriptor).st_mtime
        engine, private, wanted = _recorded(descriptor)
        lease = Lease(path=path, descriptor=descriptor)
        yield Leftover(lease=lease, age=age, engine=engine, directory=private, wanted=wanted)


def _recorded(descriptor: int) -> tuple[str, str | None, Wanted | None]:
    """What the owner wrote; a file that is empty or cut off says that nothing had been started yet."""
    try:
        fields = os.fsdecode(os.pread(descriptor, 65_536, 0)).split("\0")[:-1]
    except OSError:
        fields = []
    if len(fields) < 2:  # noqa: PLR2004 - each has an end
        return "", None, None
    return fields[0], fields[1] or None, _wanted(fields[2:])


def _wanted(fields: Sequence[str]) -> Wanted | None:
    try:
        name, socket, since, number = fields
        return Wanted(name=name, socket=socket, since=float(since), id=number)
    except ValueError:
        return None
