"""Limits and disks: what they do to any program is told alike, whoever meets it, with what can be done.

Python meets it as an exception, other programs say it in their own messages; the text is read for both. Standard
library only, for the worker reads it too, and nothing is opened here: there may be no descriptor left for it.
"""

from __future__ import annotations

import errno
import os

from rootless_scratch.diagnosis import Diagnosis, diagnose
from rootless_scratch.errors import HostError

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator


class Trouble(Diagnosis):
    """Cause and fix, each with its end."""

    def after(self, what: str) -> str:
        """The cause, behind what failed of it."""
        return f"{what}: {self.cause[0].lower()}{self.cause[1:]}"

    def error(self, detail: str = "") -> HostError:
        """As what is raised."""
        return HostError(self.cause, fix=self.fix, detail=detail)


_FILES = Trouble(
    r"(?i)too many open files",
    "No more files can be opened: the limit of open files (`ulimit -n`) is too low.",
    "Raise it: `ulimit -n 1024`.",
)
_THREADS = Trouble(
    r"(?i)cannot be started: resource temporarily|^no more threads or processes can be started"
    r"|pthread_create failed|failed to create new OS thread|newosproc|can't start new thread"
    r"|fork/exec \S+ resource temporarily unavailable|clone: resource temporarily unavailable",
    "No more threads or processes can be started: the limit of memory (`ulimit -v`) or of processes "
    "(`ulimit -u`, or that of a cgroup) is too low.",
    "Raise it: `ulimit -v unlimited; ulimit -u 4096`; a CI job or a pod has limits in its own settings.",
)
_MEMORY = Trouble(
    r"(?im)cannot allocate memory|failed to reserve|runtime: out of memory|^fatal error: out of memory"
    r"|runtime: cannot (?:reserve|map)|^MemoryError",
    "There is too little memory: the limit of memory (`ulimit -v`, or that of a cgroup) is too low.",
    "Raise it: `ulimit -v unlimited`; a CI job or a pod has a limit in its own settings.",
)
_SIZE = Trouble(
    r"(?i)file too large",
    "A file became larger than is allowed: by the limit of file sizes (`ulimit -f`), or by its file system.",
    "Raise it: `ulimit -f unlimited`; or write to another file system.",
)
_SAID = (
    _FILES,
    _THREADS,
    _MEMORY,
    _SIZE,
    Trouble(
        r"(?i)no space left on device|disk quota exceeded",
        "There is no space left where images are read and written.",
        "Free some in image storage (`podman system df`, `podman image prune`) and in TMPDIR (default /var/tmp), "
        "or point them at a larger disk.",
    ),
    Trouble(
        r"(?:mkdir|open|chmod|lchown|rename \S+) (/[^\s:]+): (permission denied|read-only file system)",
        "{0} cannot be written: {1}.",
        "Make it writable for this user, or name another directory: HOME, XDG_RUNTIME_DIR and TMPDIR lead there.",
    ),
)
"""What programs say of it, those of Go and of Python among them."""

_MET = {
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOMEM: _MEMORY,
    errno.EFBIG: _SIZE,
}
"""What no other cause than a limit has."""


def trouble_in(text: str) -> Trouble | None:
    """What a program met that says this and failed; None where it says nothing of limits or disks."""
    return diagnose(_SAID, text)


def trouble_met(error: BaseException) -> Trouble | None:
    """The limit that lies behind an exception, or behind what it came of; None where there is none."""
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in _MET:
            return _MET[each.errno]
        # A sentence may have taken the place of the exception.
        if os.strerror(errno.EMFILE) in str(each):
            return _FILES
        if isinstance(each, MemoryError):
            return _MEMORY
        if isinstance(each, RuntimeError) and "can't start new thread" in str(each):
            return _THREADS
    return None


def limit_met(error: BaseException) -> HostError | None:
    """The same as what is raised."""
    trouble = trouble_met(error)
    return None if trouble is None else trouble.error()


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__
