"""A host made worse for one command: `python worse_host.py SETTINGS COMMAND...`, run by path.

It makes a user namespace in which this account has another root above it, and subordinate ids of its own. What
that root changes (mounts, files of /etc, limits of the kernel) is seen by the command alone, which then runs as
this account again. All that it starts ends with it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pwd
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUSER, NEWPID, NEWIPC, NEWNET = 0x20000, 0x10000000, 0x20000000, 0x8000000, 0x40000000
PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 22, 24, 38
LOAD, EQUAL, ANY_OF, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, REFUSE, NEW_NAMESPACES, CLONE3 = 0x7FFF0000, 0x00050000, 0x7E020000, 435
CALLS = {
    "x86_64": {
        "unshare": 272,
        "mount": 165,
        "umount2": 166,
        "setns": 308,
        "pivot_root": 155,
        "keyctl": 250,
        "clone": 56,
    },
    "aarch64": {
        "unshare": 97,
        "mount": 40,
        "umount2": 39,
        "setns": 268,
        "pivot_root": 41,
        "keyctl": 219,
        "clone": 220,
    },
}
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
FAILED = 99
FIRST = 100_000
"""The first subordinate id inside."""

PREPARE = """set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs "$D"
for name in newuidmap newgidmap; do
    cp "$(readlink -f "$(command -v $name)")" "$D/$name"
    chmod 4755 "$D/$name"
    mount --bind "$D/$name" "$(readlink -f "$(command -v $name)")"
done
for name in subuid subgid; do
    echo "$NAME:$FIRST:$COUNT" > "$D/$name"
    mount --bind "$D/$name" "/etc/$name"
done
"""


def granted(kind: str, name: str) -> tuple[int, int]:
    """The first range of this account."""
    for line in Path(f"/etc/{kind}").read_text().splitlines():
        owner, start, count = line.split(":")
        if owner == name:
            return int(start), int(count)
    raise SystemExit(f"{name} has no range in /etc/{kind}")


def main() -> int:
    """Make the namespace, have its root change it, and run the command."""
    settings, command = json.loads(sys.argv[1]), sys.argv[2:]
    name, uid, gid = pwd.getpwuid(os.getuid()).pw_name, os.getuid(), os.getgid()
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go[1])
        if LIBC.unshare(NEWUSER | NEWNS | NEWIPC | NEWPID) != 0:
            os._exit(FAILED)
        os.write(ready[1], b"x")
        if not os.read(go[0], 1):
            os._exit(FAILED)
        first = os.fork()
        if first == 0:
            init(settings, command, name, (uid, gid))
        _, status = os.waitpid(first, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 255)
    os.close(ready[1])
    if os.read(ready[0], 1):
        for tool, kind, own in (("newuidmap", "subuid", uid), ("newgidmap", "subgid", gid)):
            start, count = granted(kind, name)
            # Apart from this account, what is counted per user (keys, processes) is not counted against it.
            one, other = (start + 1, own) if settings.get("apart") else (own, start + 1)
            maps = [0, start, 1, own, one, 1, FIRST, start + 2, count - 2, FIRST - 1, other, 1]
            subprocess.run([shutil.which(tool, path=PATH) or tool, str(child), *map(str, maps)], check=True)
        os.write(go[1], b"x")
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) & 255


def init(settings: dict[str, Any], command: list[str], name: str, ids: tuple[int, int]) -> None:
    """Process 1 of the worse host: what it leaves behind ends with it."""
    uid, gid = ids
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    count = min(granted(kind, name)[1] for kind in ("subuid", "subgid")) - 2
    variables = {"D": settings["directory"], "NAME": name, "FIRST": str(FIRST), "COUNT": str(count)}
    variables |= {"ID": str(uid), "PATH": PATH}
    if subprocess.run(["sh", "-c", PREPARE + settings.get("script", "")], env=variables, check=False).returncode:
        os._exit(FAILED)
    if settings.get("apart"):
        uncover(settings["needs"])
        give(settings, uid, gid)
    confine(settings)
    main_process = os.fork()
    if main_process == 0:
        os.setresgid(*[settings.get("gid", gid)] * 3)
        os.setresuid(*[uid] * 3)
        if settings.get("no_new_privileges"):
            LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        os.execvp(command[0], command)  # noqa: S606 - an argument list
    while True:
        pid, status = os.wait()
        if pid == main_process:
            if settings.get("apart"):
                give(settings, FIRST - 1, FIRST - 1)
            os._exit(os.waitstatus_to_exitcode(status) & 255)


def confine(settings: dict[str, Any]) -> None:
    """Take from what is started afterwards what it shall not have: the network, capabilities, system calls."""
    if settings.get("network") is False and LIBC.unshare(NEWNET) != 0:
        os._exit(FAILED)
    for capability in settings.get("lacks", ()):
        if LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            os._exit(FAILED)
    if settings.get("filter"):
        refuse(*settings["filter"])


def uncover(trees: list[str]) -> None:
    """Have these trees be seen by an account that may not enter the homes that they are in."""
    kept = tempfile.mkdtemp()
    closed = {tree: [above for above in Path(tree).parents if not above.stat().st_mode & 1] for tree in trees}
    for number, tree in enumerate(trees):
        os.mkdir(f"{kept}/{number}")
        subprocess.run(["mount", "--rbind", tree, f"{kept}/{number}"], check=True)
    for top in {above[-1] for above in closed.values() if above}:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", top], check=True)
    for number, tree in enumerate(trees):
        if closed[tree]:
            os.makedirs(tree, exist_ok=True)
            subprocess.run(["mount", "--rbind", f"{kept}/{number}", tree], check=True)


def give(settings: dict[str, Any], uid: int, gid: int) -> None:
    """Have the home, in which the directory of this host is, belong to these ids."""
    home = os.path.dirname(settings["directory"])
    argv = ["find", home, settings["out"], "-xdev", "-exec", "chown", "-h", f"{uid}:{gid}", "{}", "+"]
    subprocess.run(argv, check=True)


def refuse(number: int, names: list[str]) -> None:
    """Have system calls refused with this errno, as the filter of an engine does (seccomp(2))."""
    calls = CALLS[os.uname().machine]
    steps = [(LOAD, 0, 0, 0)]
    for name in names:
        steps += [(EQUAL, 0, 1, calls[name]), (RETURN, 0, 0, REFUSE | number)]
    if "unshare" in names:
        steps += [(EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, REFUSE | errno.ENOSYS)]
        steps += [(EQUAL, 0, 3, calls["clone"]), (LOAD, 0, 0, 16), (ANY_OF, 0, 1, NEW_NAMESPACES)]
        steps += [(RETURN, 0, 0, REFUSE | number)]
    program = b"".join(struct.pack("HBBI", *each) for each in [*steps, (RETURN, 0, 0, ALLOW)])

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    if LIBC.prctl(PR_SET_SECCOMP, 2, ctypes.byref(Filter(len(steps) + 1, program)), 0, 0) != 0:
        os._exit(FAILED)


if __name__ == "__main__":
    sys.exit(main())
