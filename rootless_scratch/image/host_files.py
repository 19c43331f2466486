"""Files of the host that are read: regular ones, and as they were planned; a change is an error."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager

from rootless_scratch.errors import HostError, SourceError
from rootless_scratch.troubles import limit_met, trouble_met

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

    from rootless_scratch.image.rootfs import File


def open_regular(path: str) -> BufferedReader:
    """Open a file for reading; raises OSError, also for a pipe, which would keep us waiting, and a device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file")
    return open(descriptor, "rb")


def host_trouble(error: OSError, what: str) -> HostError | None:
    """The error of a host that cannot read now; None where it is the file's own fault, or it is not there."""
    trouble = trouble_met(error)
    if trouble is not None:
        return HostError(trouble.after(f"{what} cannot be read"), fix=trouble.fix)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EPERM):
        return HostError(
            f"{what} cannot be read: {error.strerror}.",
            fix="Check its permissions, its disk (`dmesg`), and the memory of this host; the image may be right.",
        )
    return None


@contextmanager
def planned(file: File) -> Iterator[int]:
    """A descriptor of the file that was planned; SourceError where it is another, before or after use."""
    assert file.source is not None  # noqa: S101 - what has its content in the plan is no file of the host
    try:
        descriptor = os.open(file.source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise limit_met(error) or SourceError(
            f"{file.source!r} cannot be read any more: {error.strerror}.",
            fix="Do not change the file during the build.",
        ) from error
    try:
        _check_identity(descriptor, file)
        try:
            yield descriptor
        finally:
            # A file that shrinks makes the copy fail too, and then the change is the cause to tell.
            _check_identity(descriptor, file)
    finally:
        os.close(descriptor)


def changed(file: File) -> SourceError:
    """The error for a file that is no longer what was planned."""
    return SourceError(
        f"{file.source!r} changed since it was planned.",
        fix="Try again when nothing writes to it any more.",
    )


def _check_identity(descriptor: int, file: File) -> None:
    status = os.fstat(descriptor)
    now = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    known = file.identity
    then = (known.device, known.inode, known.size, known.mtime_ns, known.ctime_ns)
    if now != then or not stat.S_ISREG(status.st_mode):
        raise changed(file)
