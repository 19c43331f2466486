"""What the kernel tells of changes in directories, inotify(7), and where it tells nothing of them."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Protocol

from rootless_scratch.errors import HostError, ToolMissingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from watchfiles._rust_notify import RustNotify

POLL_VARIABLES = ("WATCHFILES_FORCE_POLLING", "WATCHFILES_POLL_DELAY_MS")
"""As watchfiles itself reads them."""

POLL = 1.0
"""Seconds between two looks where the kernel tells nothing."""

_REFUSED = ("false", "disable", "disabled")
_USUAL_DELAY_MS = 300
_GATHERED_MS, _STEP_MS = 200, 15
"""Milliseconds: how long changes are gathered at most, and how long none comes before they are told."""

_REMOTE = ("nfs", "cifs", "smb", "9p", "virtiofs", "ceph", "afs", "vboxsf", "prl_fs", "fuse")
_LOCAL = ("fuseblk", "fuse.fuse-overlayfs")
"""File systems that others write to, by how their names begin: inotify tells of what is done on this host alone.

Those of the second list are none of them.
"""


class Wake(Protocol):
    """What ends waiting: an Event of threading, for one."""

    def is_set(self) -> bool:
        """Whether waiting is to end."""


class Notices:
    """What is done in these directories, from now on, until `close`; not in those below them.

    Raises FileNotFoundError or PermissionError for one that is no longer what it was, HostError where the kernel
    allows no more.
    """

    def __init__(self, directories: Iterable[str], wake: Wake) -> None:
        self._wake = wake
        found = [each for each in directories if os.access(each, os.R_OK, effective_ids=True)]
        notify, refusal = rust_notify(), None
        try:
            self._notify = notify(found, False, False, _USUAL_DELAY_MS, False, False)  # noqa: FBT003 - as it has them
        except (FileNotFoundError, PermissionError):
            raise
        except (OSError, RuntimeError) as error:
            refusal = _limit(error, len(found))
        if refusal is not None:
            # Not while that is handled: what it says of open files would be taken for a limit of this process.
            raise refusal

    def wait(self, seconds: float | None) -> frozenset[str] | None:
        """Paths at which something was done, once there are any; none after `seconds`, or once it is woken.

        None where a signal has come that Python is to see to.
        """
        timeout = 0 if seconds is None else max(1, round(seconds * 1000))
        answer = self._notify.watch(_GATHERED_MS, _STEP_MS, timeout, self._wake)
        if isinstance(answer, str):
            return None if answer == "signal" else frozenset()
        return frozenset(path for _, path in answer)

    def close(self) -> None:
        """Nothing is told any more."""
        self._notify.close()


def rust_notify() -> type[RustNotify]:
    """What watchfiles has for programs that do their own waiting; raises ToolMissingError."""
    try:
        from watchfiles._rust_notify import RustNotify
    except ImportError as error:
        raise ToolMissingError(
            "Python's watchfiles, which tells of changed files, is not installed.",
            fix="Run `pip install 'rootless-scratch[watch]'`, or look at them every second: `--poll 1`.",
        ) from error
    return RustNotify


def forced_polling(variables: Mapping[str, str]) -> float | None:
    """Seconds between two looks where the environment asks for these; None where it does not."""
    forced, delay = (variables.get(name, "") for name in POLL_VARIABLES)
    if not forced or forced.lower() in _REFUSED:
        return None
    return (int(delay) if delay.isascii() and delay.isdigit() else _USUAL_DELAY_MS) / 1000


def silent_file_system(directories: Iterable[str]) -> tuple[str, str] | None:
    """The first directory whose changes by others are not told, and its file system; None where there is none."""
    from rootless_scratch.host.storage import file_system_of

    seen: set[int] = set()
    for directory in sorted(directories):
        try:
            device = os.stat(directory).st_dev
            if device in seen:
                continue
            seen.add(device)
            found = file_system_of(directory)
        except OSError:
            continue
        if found.startswith(_REMOTE) and found not in _LOCAL:
            return directory, found
    return None


def _limit(error: OSError | RuntimeError, count: int) -> HostError:
    message = str(error)
    if "watch limit" in message or getattr(error, "errno", None) == errno.ENOSPC:
        return HostError(
            f"The kernel lets this user watch no more directories: {count} are needed (inotify(7)).",
            fix="Run `sysctl fs.inotify.max_user_watches=524288` as root and write it to a file in /etc/sysctl.d, "
            "or pass `--poll 1`, or `--exclude` what needs no watching.",
        )
    if "Too many open files" in message:
        return HostError(
            "The kernel lets this user watch nothing more: too many programs watch files, or too many are open.",
            fix="Run `sysctl fs.inotify.max_user_instances=1024` as root and write it to a file in /etc/sysctl.d, "
            "or pass `--poll 1`.",
        )
    return HostError(
        f"Files cannot be watched: {message}.", fix="Pass `--poll 1`, which looks at them every second."
    )
