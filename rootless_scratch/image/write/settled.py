"""Whether a file is known by what stat(2) tells of it: whether each later change of its bytes must show there."""

from __future__ import annotations

import os

from rootless_scratch.image.host_files import take_lease

_SECOND = 1_000_000_000
_AGE, _AGE_OF_SECONDS = 3 * _SECOND, 86_400 * _SECOND
"""Times of a file system advance in ticks of 10 ms at most, where they are told in nanoseconds.

Where they are whole seconds, a clock that is set back a little could give the same one again.
"""

FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "btrfs")
"""On a disk of this host, with times of this host's clock."""


def is_settled(descriptor: int, now: int) -> bool:
    """Whether every change of a file's bytes from now on gives it another time of change.

    That is so where the time is an old one, in nanoseconds and by the clock of this host, and where nobody has a
    page of it mapped that can be written to without a fault: such a write changes no time.
    """
    changed = os.fstat(descriptor).st_ctime_ns
    if (
        now - changed < (_AGE if changed % _SECOND else _AGE_OF_SECONDS)
        or file_system(descriptor) not in FILE_SYSTEMS
    ):
        return False
    try:
        take_lease(descriptor)
    except PermissionError:
        # Another user's. What is written to the disk is protected from writing before, wherever it is mapped.
        os.fdatasync(descriptor)
    except OSError:
        return False
    return True


def file_system(descriptor: int) -> str:
    """The type of the file system; empty where it is not told (proc(5): fdinfo, mountinfo)."""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:
            [number] = [line.split()[1] for line in file if line.startswith(b"mnt_id:")]
        with open("/proc/self/mountinfo", "rb") as file:
            for line in file:
                if line.startswith(number + b" "):
                    return line.partition(b" - ")[2].split()[0].decode()
    except (OSError, ValueError, IndexError):
        pass
    return ""
