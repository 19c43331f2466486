"""What a container still consists of although podman knows it no more: its maker was killed while it started.

conmon and the runtime are processes of their own, which go on where podman has ended. What they had not told it,
`podman rm` does not end: they are looked for by the container's ID, which is random, and ended.
"""

from __future__ import annotations

import contextlib
import glob
import os
import time
from collections.abc import Collection, Mapping
from signal import SIGKILL

from rootless_scratch import command, processes
from rootless_scratch.errors import CommandError, HostError
from rootless_scratch.host.capabilities import is_rootful

_PARTS = (b"conmon", b"runc", b"crun")
_RUNTIMES = ("runc", "crun")
_EXITS = ("libpod/tmp/exits", "libpod/exits")
"""Where conmon notes how a container ended: for a user, and for real root."""

_NAMED_BY_RUNC = b"_LIBCONTAINER_STATEDIR="
_PATIENCE = 5.0


def end_strays(numbers: Collection[str], variables: Mapping[str, str]) -> None:
    """End the processes of containers with these IDs, which are podman's no more, and forget their states.

    Looks until there are none: what is being ended may just be starting another.
    """
    _end(numbers)
    for number in numbers:
        for base in _runtime_directories(variables):
            _forget(number, base, variables)


def end_unwatched(number: str) -> None:
    """End the processes of a container whose conmon was killed: podman would wait for its message on their end."""
    if number and not _has_conmon([number]):
        _end([number])


def any_runs(variables: Mapping[str, str]) -> bool:
    """Whether a container of podman with these variables runs: then its conmon does."""
    return _has_conmon([f"{base}/{directory}" for base in _runtime_directories(variables) for directory in _EXITS])


def _has_conmon(telling: Collection[str]) -> bool:
    """Whether a conmon of this user's has one of these arguments."""
    wanted = set(map(os.fsencode, telling))

    def is_it(pid: int) -> bool:
        program, *argv = processes.arguments_of(pid) or [b""]
        named = os.path.basename(program) == b"conmon" and not wanted.isdisjoint(argv)
        return named and processes.belongs_to_us(pid)

    return processes.signal_those(is_it, 0) > 0


def _end(numbers: Collection[str]) -> None:
    wanted = [number.encode() for number in numbers]
    deadline = time.monotonic() + _PATIENCE
    while processes.signal_those(lambda pid: _is_part(pid, wanted), SIGKILL) and time.monotonic() < deadline:
        time.sleep(0.01)


def _forget(number: str, base: str, variables: Mapping[str, str]) -> None:
    """Remove what the runtimes, by themselves, and conmon have noted of it below `base`."""
    for runtime in _RUNTIMES:
        if os.path.isdir(f"{base}/{runtime}/{number}"):
            # It removes the cgroup too, and what a start that was broken off has left.
            argv = [runtime, "delete", "--force", number]
            with contextlib.suppress(CommandError, HostError):
                command.ask(argv, environment={**variables, "XDG_RUNTIME_DIR": base}, check=False)
    for directory in _EXITS:
        # conmon writes under a name with random letters at its end, and renames.
        for path in glob.iglob(f"{glob.escape(f'{base}/{directory}/{number}')}*"):
            with contextlib.suppress(OSError):
                os.unlink(path)


def _is_part(pid: int, numbers: Collection[bytes]) -> bool:
    """Whether conmon, the runtime or a program of such a container is this process; raises OSError."""
    argv = processes.arguments_of(pid)
    if not argv:
        return False
    if processes.belongs_to_us(pid) and os.path.basename(argv[0]).startswith(_PARTS):
        return any(number in argv for number in numbers) or _is_init_of(pid, numbers)
    return _is_inside(pid, numbers)


def _is_init_of(pid: int, numbers: Collection[bytes]) -> bool:
    """Whether it is about to become the program: `runc init`, whose arguments do not tell."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        paths = [each for each in file.read().split(b"\0") if each.startswith(_NAMED_BY_RUNC)]
    return any(os.path.basename(path) in numbers for path in paths)


def _is_inside(pid: int, numbers: Collection[bytes]) -> bool:
    """Whether it has files of the container's mounted as its own, as /etc/hosts or /run/.containerenv.

    podman's own processes have mounts below such a path too: there it is the place, not what is mounted.
    """
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        for line in file:
            root, mountpoint = line.split(b" ", 5)[3:5]
            if any(b"/%b/userdata/" % number in root and number not in mountpoint for number in numbers):
                return True
    return False


def _runtime_directories(variables: Mapping[str, str]) -> list[str]:
    """Where runtimes may keep states; without XDG_RUNTIME_DIR podman chooses among the others (4.3 to 5)."""
    if is_rootful():
        return ["/run"]
    named = variables.get("XDG_RUNTIME_DIR")
    user = os.geteuid()
    temporary = variables.get("TMPDIR") or "/tmp"  # noqa: S108 - podman's place
    return (
        [named]
        if named
        else [f"/run/user/{user}", f"{temporary}/podman-run-{user}", f"{variables['HOME']}/rundir"]
    )
