"""Tries what a rootless container needs of the kernel, and prints the first step that failed, as JSON.

Run by path in a throw-away process (`python -I -S`), because what it does cannot be undone: standard library
only. The steps are those of `podman unshare` and of a runtime: unshare(2), user_namespaces(7), mount(2).
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

NEWNS, NEWUSER, NEWPID, NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
NEWCGROUP, NEWUTS, NEWIPC = 0x2000000, 0x4000000, 0x8000000
MS_NOSUID_NODEV_NOEXEC, MS_REC, MS_PRIVATE = 0xE, 0x4000, 0x40000

_libc = ctypes.CDLL(None, use_errno=True)


class StepError(Exception):
    """A step that the kernel refused, with its errno."""

    def __init__(self, step: str, errno: int) -> None:
        super().__init__(step)
        self.step = step
        self.errno = errno


def unshare(step: str, flags: int) -> None:
    """Move this process into new namespaces."""
    if _libc.unshare(flags) != 0:
        raise StepError(step, ctypes.get_errno())


def mount(step: str, source: bytes, target: bytes, fstype: bytes | None, flags: int) -> None:
    """Mount without data (mount(2))."""
    if _libc.mount(source, target, fstype, ctypes.c_ulong(flags), None) != 0:
        raise StepError(step, ctypes.get_errno())


def write(step: str, name: str, text: str) -> None:
    """Write one of this process's files below /proc."""
    try:
        (Path("/proc/self") / name).write_text(text, encoding="ascii")
    except OSError as error:
        raise StepError(step, error.errno or 0) from error


def attempt() -> None:
    """Take all steps in the order in which podman meets them."""
    uid, gid = os.getuid(), os.getgid()
    unshare("user namespace", NEWUSER)
    write("uid map", "setgroups", "deny")
    write("uid map", "uid_map", f"0 {uid} 1")
    write("gid map", "gid_map", f"0 {gid} 1")
    unshare("mount namespace", NEWNS)
    unshare("network namespace", NEWNET)
    unshare("ipc namespace", NEWIPC)
    unshare("uts namespace", NEWUTS)
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        # podman's default with cgroup v2 alone.
        unshare("cgroup namespace", NEWCGROUP)
    mount("private mounts", b"none", b"/", None, MS_REC | MS_PRIVATE)
    unshare("pid namespace", NEWPID)
    child = os.fork()
    if child == 0:
        os._exit(report(attempt_mounts))
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def attempt_mounts() -> None:
    """Make the mounts of a container, in the pid namespace that /proc must show."""
    mount("mount of tmpfs", b"tmpfs", b"/tmp", b"tmpfs", 0)
    mount("mount of proc", b"proc", b"/tmp", b"proc", MS_NOSUID_NODEV_NOEXEC)


def report(steps: Callable[[], None]) -> int:
    """Take the steps and write the outcome as JSON."""
    try:
        steps()
    except StepError as refused:
        outcome = {"failed_step": refused.step, "errno": refused.errno}
    else:
        outcome = {"failed_step": None, "errno": 0}
    sys.stdout.write(json.dumps(outcome))
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(report(attempt))
