"""Directories in shared places that no other user can foresee, enter or exchange, and their removal.

Each is made by a mkdir(2) that must not find anything, has the mode 0700, and is locked for as long as its maker
or a program that got its descriptor lives. What others have put beside it is never followed and never removed.
Of the standard library only builtin modules are imported here: a build's worker loads it before anything else.
"""

from __future__ import annotations

import binascii
import errno
import fcntl
import os
import stat
import time

from rootless_scratch.locks import is_at, left_over

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

PREFIX, HIDDEN_PREFIX = "rootless-scratch.", ".rootless-scratch."
WORKS_IN = "ROOTLESS_SCRATCH_WORKS_IN"
FORGETS = "ROOTLESS_SCRATCH_FORGETS"
"""Variables that tell tether.py of a private directory: argument lists are everybody's to read."""

_DIGITS = 32
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MAPPED_ALL = "4294967295"
_ELSEWHERE = 24 * 3600
"""Seconds after which a directory that another kernel made is taken for left over."""

_LINKS_LIMIT = 40
"""MAXSYMLINKS of the kernel: path_resolution(7)."""


class PrivateDirectory:
    """A directory of ours at `path`, held by the lock of its `descriptor`; `remove` ends both.

    The lock is shared by whoever inherits the descriptor: a sweep takes the directory for left over only once
    they all have ended (flock(2)).
    """

    __slots__ = ("descriptor", "path")

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove it as far as that can be done; what stays is for the next sweep, and hides no other error.

        Others beside it are swept again: a tool of a killed call may have held one when this call began.
        """
        if self.descriptor < 0:
            return
        try:
            self.remove()
        except OSError:
            return
        sweep(os.path.dirname(self.path))

    def remove(self) -> None:
        """Remove it with all that is in it; once is enough. Raises OSError where something stays."""
        if self.descriptor < 0:
            return
        try:
            remove_held(self.path, self.descriptor)
        finally:
            os.close(self.descriptor)
            self.descriptor = -1


def fresh_path(base: str, *, hidden: bool = False) -> str:
    """A path for a new private directory below `base`, which nobody can guess."""
    return f"{base}/{HIDDEN_PREFIX if hidden else PREFIX}{_kernel()}{os.urandom(_DIGITS // 2 - 4).hex()}"


def make_private(base: str, *, hidden: bool = False) -> PrivateDirectory:
    """Make a directory of this process below `base`, `hidden` where users look; raises OSError."""
    while True:
        made = make_at(fresh_path(base, hidden=hidden))
        if made is not None:
            return made


def make_at(path: str) -> PrivateDirectory | None:
    """Make the private directory `path`; None where a sweep came between. Raises OSError, also where one is."""
    os.mkdir(path, 0o700)
    try:
        descriptor = open_private(path, exact=False)
    except FileNotFoundError:
        return None
    except PermissionError:
        # Under a umask that takes all rights from its owner too, and no sweep would take it for ours.
        os.rmdir(path)
        raise
    try:
        # A umask may have taken rights from the mode of mkdir(2), and a sweep takes it for ours by its mode.
        os.fchmod(descriptor, 0o700)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if is_at(descriptor, path):
            return PrivateDirectory(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def open_private(path: str, *, exact: bool = True) -> int:
    """A descriptor of a directory which only this user may enter; raises OSError for anything else.

    `exact` demands the mode 0700 too; without it a mode that lets others in is refused all the same.
    """
    descriptor = os.open(path, _DIRECTORY)
    status = os.fstat(descriptor)
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == os.geteuid() and (mode == stat.S_IRWXU if exact else not mode & 0o077):
        return descriptor
    os.close(descriptor)
    raise PermissionError(errno.EPERM, "it belongs to another user, or others may enter it", path)


def make_own(base: str, *names: str) -> str:
    """`base/names...`, each of `names` a directory that only this user may enter, made where it is missing.

    One of ours that lets others in loses these rights. Raises OSError where one is not ours, or no directory.
    """
    path = base
    for name in names:
        path = f"{path}/{name}"
        _make(path)
        descriptor = os.open(path, _DIRECTORY)
        try:
            status = os.fstat(descriptor)
            if status.st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "it belongs to another user", path)
            if stat.S_IMODE(status.st_mode) & 0o077:
                os.fchmod(descriptor, 0o700)
        finally:
            os.close(descriptor)
    return path


def _make(path: str) -> None:
    """Make a directory and those above it for this user alone: os.makedirs gives these what the umask leaves."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make(os.path.dirname(path))
        try:  # noqa: SIM105 - see above
            os.mkdir(path, 0o700)
        except FileExistsError:
            # Another call has made it in this very moment.
            pass


def exchangeable(path: str) -> str | None:
    """What lets another user exchange what lies in the directory `path`; None where nothing does.

    It is the first directory on the way, through all links, that is another user's or that others may write to
    and is not sticky, or the first link that is another user's. root, the owner of `/` and this user count as one.
    A group that is this user's alone by the custom of Debian and Fedora (its number is the user's), or root's, is
    no other user, unless an access list gives its rights to more.
    """
    try:
        trusted = {0, os.geteuid(), os.stat("/").st_uid, *_overflow_ids("uid")}
        for step, status in _steps(path):
            if status.st_uid not in trusted or (
                not stat.S_ISLNK(status.st_mode) and _lets_others_in(step, status)
            ):
                return step
    except OSError:
        return path
    return None


def foreign_link(path: str) -> str | None:
    """The symbolic link of another user on the way to `path`, in a sticky directory that all may write to.

    The kernel follows none of these where fs.protected_symlinks is set (proc(5)); who resolves a path by hand, or
    runs where it is not set, must not either. Links in it that are this user's or the directory's owner's count
    as trusted, as they do there.
    """
    try:
        for step, status in _steps(path):
            if not stat.S_ISLNK(status.st_mode):
                continue
            above = os.stat(os.path.dirname(step))
            sticky = above.st_mode & stat.S_ISVTX and above.st_mode & stat.S_IWOTH
            if sticky and status.st_uid not in (os.geteuid(), above.st_uid):
                return step
    except OSError:
        return None
    return None


def _steps(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Whatever the kernel looks at on the way to a path, `/` first, links before what they lead to.

    Raises OSError where that ends: path_resolution(7).
    """
    pending = [part for part in os.path.abspath(path).split("/") if part]
    reached, links = "", 0
    yield "/", os.lstat("/")
    while pending:
        step = f"{reached}/{pending.pop(0)}"
        status = os.lstat(step)
        yield step, status
        if not stat.S_ISLNK(status.st_mode):
            reached = step
            continue
        links += 1
        if links > _LINKS_LIMIT:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(step)
        pending = [part for part in target.split("/") if part not in ("", ".")] + pending
        if target.startswith("/"):
            reached = ""


def _lets_others_in(step: str, status: os.stat_result) -> bool:
    """Whether others may put something into a directory in the place of what is there."""
    writable = status.st_mode & _OTHERS_WRITE
    if status.st_mode & stat.S_ISVTX or not writable:
        return False
    if status.st_gid in (0, os.geteuid()) and not _has_access_list(step):
        writable &= ~stat.S_IWGRP
    return bool(writable)


def _has_access_list(step: str) -> bool:
    """Whether the group's bits are the mask of a list of users and groups: acl(5)."""
    try:
        return bool(os.getxattr(step, "system.posix_acl_access"))
    except OSError:
        return False


def remove_held(path: str, descriptor: int) -> None:
    """Remove what was opened as `descriptor`, with all that is in it, if it still lies at `path`."""
    if is_at(descriptor, path):
        remove_below(descriptor)
        os.rmdir(path)


def remove_below(descriptor: int) -> None:
    """Remove all that is in an opened directory, following no link; what is gone meanwhile is fine.

    Raises OSError where something stays, after it has removed what it could.
    """
    problem: OSError | None = None
    for name in os.listdir(descriptor):
        try:
            _remove_at(descriptor, name)
        except FileNotFoundError:
            continue
        except OSError as error:
            problem = error
    if problem is not None:
        raise problem


def _remove_at(above: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=above)
    except (IsADirectoryError, PermissionError) as error:
        # POSIX wants EPERM of a directory, Linux says EISDIR: unlink(2).
        try:
            descriptor = _open_fully(name, above)
        except NotADirectoryError:
            raise error from None
        try:
            remove_below(descriptor)
        finally:
            os.close(descriptor)
        os.rmdir(name, dir_fd=above)


def _open_fully(name: str, above: int) -> int:
    """Open a directory so that its files can be removed, whatever rights its owner had taken from himself."""
    try:
        descriptor = os.open(name, _DIRECTORY, dir_fd=above)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=above)
        descriptor = os.open(name, _DIRECTORY, dir_fd=above)
    if os.fstat(descriptor).st_uid == os.geteuid():
        os.fchmod(descriptor, 0o700)
    return descriptor


def sweep(base: str) -> None:
    """Remove the private directories below `base` whose makers were killed; nothing stops it, and nothing is said.

    Of live ones the lock is held. Nothing is removed where another user could have given a directory of this
    user's such a name. What another kernel made, whose locks may not be seen here (flock(2)), stays for a day.
    """
    for path, descriptor in left_over(base, _is_name, _DIRECTORY, is_fit=_is_exact):
        try:
            its_lock_is_seen = os.path.basename(path).removeprefix(".").startswith(f"{PREFIX}{_kernel()}")
            is_old = time.time() - os.fstat(descriptor).st_mtime > _ELSEWHERE
            if (its_lock_is_seen or is_old) and exchangeable(base) is None:
                remove_held(path, descriptor)
        except OSError:
            continue


def _kernel() -> str:
    """Which kernel runs since which boot, in eight digits."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return f"{binascii.crc32(file.read()):08x}"
    except OSError:
        return "0" * 8


def _is_name(name: str) -> bool:
    bare = name.removeprefix(".")
    return bare.startswith(PREFIX) and len(bare) == len(PREFIX) + _DIGITS


def _is_exact(status: os.stat_result) -> bool:
    return stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == stat.S_IRWXU


def _overflow_ids(kind: str) -> tuple[int, ...]:
    """The id that stands for those which this user namespace does not know, root outside among them."""
    try:
        with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
            fields = file.read().split()
        if fields[2:] == [_MAPPED_ALL]:
            return ()
        with open(f"/proc/sys/kernel/overflow{kind}", encoding="ascii") as file:
            return (int(file.read()),)
    except (OSError, ValueError):
        return ()
