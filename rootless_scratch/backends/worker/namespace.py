"""Into a user namespace like that of `buildah unshare`, without what two more starts of buildah take.

Root is who calls, and the ids from 1 on are the one range that /etc/subuid and /etc/subgid give this user, in a
mount namespace of its own. Where that is not all there is to know, and where any step fails, buildah does it, and
tells what is the matter (docs/decisions/0023-own-way-into-the-namespace.md).
"""

from __future__ import annotations

import os
import sys

from rootless_scratch.spawn import NULL, find, spawn

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_NEWNS, _NEWUSER = 0x20000, 0x10000000
"""unshare(2)"""

_CONFIGURED, _ROOTLESS = "_CONTAINERS_USERNS_CONFIGURED", "_CONTAINERS_ROOTLESS"
_PROFILES_ONLY = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
"""Where this is 1 a namespace is of use to programs with a profile for it alone: buildah has one, Python none."""


def enter(buildah: str, meanwhile: Callable[[], None]) -> None:
    """Return inside the namespace, in another process; the one that was started waits for it, and ends as it does.

    Otherwise `buildah unshare` starts this very program again, without its last argument. `meanwhile` is called
    there while other programs give the namespace its ids.
    """
    try:
        child = None if os.environ.get(_CONFIGURED) else _forked(meanwhile)
    except OSError:
        # Of processes or open files there are too many; buildah says so where it meets the same.
        child = None
    if child == 0:
        return
    if child is None:
        os.execv(buildah, ["buildah", "unshare", sys.executable, *sys.orig_argv[1:-1]])  # noqa: S606 - as it is written
    _wait_for(child)


def _mapping_commands() -> tuple[list[str], list[str]] | None:
    """The commands that map ids, without the process; None where something is out of the ordinary."""
    import pwd

    uid, gid = os.getuid(), os.getgid()
    helpers = find("newuidmap"), find("newgidmap")
    try:
        name = pwd.getpwuid(uid).pw_name
        ranges = _only_range("/etc/subuid", name, uid), _only_range("/etc/subgid", name, uid)
        if "subid" in _text("/etc/nsswitch.conf", missing=True):
            return None
        is_restricted = _text(_PROFILES_ONLY, missing=True).strip() == "1"
    except (OSError, KeyError, ValueError):
        return None
    if is_restricted or None in helpers or None in ranges or (uid, gid) != (os.geteuid(), os.getegid()):
        return None
    uids, gids = (
        [str(helper), "0", str(own), "1", "1", *(granted or ())]
        for helper, own, granted in zip(helpers, (uid, gid), ranges, strict=True)
    )
    return uids, gids


def _only_range(path: str, name: str, uid: int) -> tuple[str, str] | None:
    """Start and count of the one range of a user; None where there are several, or lines not all tools heed."""
    lines = [line.split(":") for line in _text(path).splitlines()]
    own = [line[1:] for line in lines if line[0] in (name, str(uid), "ALL")]
    if len(own) != 1 or [name, *own[0]] not in lines:
        return None
    start, count = own[0]
    return (start, count) if start.isdecimal() and count.isdecimal() else None


def _text(path: str, *, missing: bool = False) -> str:
    """What a file says; "" where it need not be there, and is not."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        if missing:
            return ""
        raise


def _forked(meanwhile: Callable[[], None]) -> int | None:
    """0 in a process inside, and its number in the one outside; None where there is no such namespace."""
    # Both are pipes: one byte says that the namespace is there, the other that it has its ids.
    made, mapped = os.pipe(), os.pipe()
    try:
        child = os.fork()
    except OSError:
        for descriptor in (*made, *mapped):
            os.close(descriptor)
        return None
    if child == 0:
        try:
            os.close(made[0])
            os.close(mapped[1])
            _go_in(made[1], mapped[0], meanwhile)
        except (OSError, ImportError):
            # Only the process outside may take the other way.
            os._exit(1)
        return 0
    os.close(made[1])
    os.close(mapped[0])
    try:
        # Found out while the other one is on its way.
        commands = _mapping_commands()
        is_mapped = commands is not None and bool(os.read(made[0], 1)) and _map(child, commands)
        if is_mapped:
            os.write(mapped[1], b"1")
    except OSError:
        # No process can be started, or the one inside was killed.
        is_mapped = False
    finally:
        os.close(made[0])
        os.close(mapped[1])
    if is_mapped:
        return child
    os.waitpid(child, 0)
    return None


def _go_in(made: int, mapped: int, meanwhile: Callable[[], None]) -> None:
    """In the new process: into a namespace, and its root once it has ids; raises OSError, ImportError."""
    uid, gid = os.getuid(), os.getgid()
    _unshare()
    os.write(made, b"1")
    meanwhile()
    if not os.read(mapped, 1):
        os._exit(1)
    os.close(made)
    os.close(mapped)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    # buildah takes it for its own by these.
    os.environ.update({_CONFIGURED: "done", f"{_ROOTLESS}_UID": str(uid), f"{_ROOTLESS}_GID": str(gid)})


def _unshare() -> None:
    if sys.version_info >= (3, 12):
        os.unshare(_NEWUSER | _NEWNS)
        return
    # What ctypes is made of, which takes 1 ms more to import; there is none in a Python without libffi.
    from _ctypes import call_function, dlopen, dlsym

    libc = dlopen(None, 0)  # type: ignore[arg-type] # as ctypes calls it
    if call_function(dlsym(libc, "unshare"), (_NEWUSER | _NEWNS,)) != 0:
        raise OSError


def _map(child: int, commands: tuple[list[str], list[str]]) -> bool:
    """Give the namespace of a process its ids."""
    helpers = [
        spawn([path, str(child), *mapping], environment=os.environ, stdin=NULL, stdout=NULL, stderr=NULL)
        for path, *mapping in commands
    ]
    return [each.wait() for each in helpers] == [0, 0]


def _wait_for(child: int) -> NoReturn:
    """End as the process inside does; only that one speaks to the caller."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)
