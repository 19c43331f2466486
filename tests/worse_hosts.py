"""Hosts as they fail in practice, numbered by cause: what test_modes.py makes, and what doctor has to say."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from rootless_scratch.host.cgroups import cgroup_mode


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A host, and what doctor is to say of it: the `rules` beyond those of a healthy one, and what does not work.

    `script` is what its root has done to it, `before` what the user has, `without` the programs that it lacks.
    With `cure` in the environment, or after `doctor --fix`, everything works; with the options `way` `run` does.
    `builds` and `runs` are the rules of what `build` and `run` do otherwise there, by which they work. Where
    `kept` is set, nothing of the user's is written to.
    """

    script: str = ""
    before: str = ""
    rules: str = ""
    fails: str = ""
    environment: dict[str, str | None] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    cure: dict[str, str] = field(default_factory=dict)
    fixes: bool = False
    way: str = ""
    builds: str = ""
    runs: str = ""
    kept: bool = False


def _podman() -> tuple[int, ...]:
    """The version of podman here."""
    try:
        said = subprocess.run(["podman", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(int(number) for number in re.findall(r"\d+", said))


PODMAN = _podman()
NESTED = "build-buildah run"
PAUSE = "libpod/tmp/pause.pid"
CONF = (
    "mkdir -p ~/.config/containers;"
    'printf \'[storage]\\ndriver="overlay"\\n%s\' "$MORE" > ~/.config/containers/storage.conf'
)
PROGRAM = "MORE='[storage.options.overlay]\nmount_program=\"/usr/bin/fuse-overlayfs\"\n'; "
OVERLAY = (
    "mkdir $D/u $D/w; chown $ID $D/u;"
    'mount -t overlay -o lowerdir="$HOME_",upperdir=$D/u,workdir=$D/w overlay "$HOME_"'
)
DATABASE = "podman info; podman system migrate"
"""podman notes the driver, and the process that keeps its namespace ends."""
SOCKET = "import os, socket; socket.socket(1).bind(os.environ['XDG_RUNTIME_DIR'] + '/podman/podman.sock')"
NO_SUBIDS = ": > /etc/subuid; : > /etc/subgid"
ADD_KEYS = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
number = {"x86_64": 248, "aarch64": 217}[os.uname().machine]
# What earlier programs had is given back some time after their end.
refused = 0
while refused < 5:
    added = libc.syscall(number, b"user", b"rst-%d" % libc.rand(), b"x", 1, -4) > 0
    refused = 0 if added else refused + 1
    time.sleep(0 if added else 0.1)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Uses up the user's quota of kernel keys (add_key(2)), and goes on as another program."""
DOCKER = ["unshare", "mount", "umount2", "setns", "pivot_root", "keyctl"]


def everybody(line: str) -> str:
    """The same line in /etc/subuid and /etc/subgid."""
    return f'for kind in u g; do printf "{line}\\n" > /etc/sub${{kind}}id; done'


def remounted(place: str, option: str) -> str:
    """A directory with an option of mount(8)."""
    return f"mount --bind {place} {place}; mount -o remount,bind,{option} {place}"


def hidden(*names: str) -> str:
    """Programs that podman looks for in directories of its own choice, as if they were not there."""
    return "; ".join(f'mount --bind /dev/null "$(readlink -f "$(command -v {name})")"' for name in names)


ANOTHER_HOME: dict[str, Any] = {
    "rules": "host-home ?host-pause",
    "builds": "host-home",
    "runs": "host-home",
    "kept": True,
}
OWN_STORAGE: dict[str, Any] = {"builds": "host-storage-overlay", "runs": "host-storage-overlay", "kept": True}
NO_IMAGES = "chmod -R u+rwx ~/.local/share/containers; rm -r ~/.local/share/containers"
READ_ONLY_HOME = (
    f"""mount --bind "$HOME_/tmp" /mnt; {remounted('"$HOME_"', "ro")}; mount --bind /mnt "$HOME_/tmp\""""
)
LASTING = OVERLAY.replace("mkdir ", "mkdir -p ").replace("$D", "$OUT")
MASKED = "mount -t tmpfs -o ro tmpfs /proc/acpi || mount -t tmpfs tmpfs /proc/scsi"

MODES = {
    "healthy": Mode(),
    "A1-no-subids": Mode(script=NO_SUBIDS, rules="host-subids", runs="host-subids"),
    "A1-no-subgids": Mode(script=": > /etc/subgid", rules="host-subids", runs="host-subids"),
    "A3-short-range": Mode(
        script=everybody("$NAME:$FIRST:1000"), rules="host-subids", fails="run", way="--user 0"
    ),
    "A3-two-ranges": Mode(script=everybody("$NAME:$FIRST:32768\\n$NAME:$((FIRST + 32768)):32765")),
    "A3-huge-range": Mode(script=everybody("$NAME:$FIRST:4000000"), rules="host-subids-outside", fails="run"),
    "A4-no-newuidmap": Mode(without=("newuidmap", "newgidmap"), rules="host-newuidmap-missing", fails=NESTED),
    "A4-no-newgidmap": Mode(without=("newgidmap",), rules="host-newuidmap-missing", fails=NESTED),
    "A4-no-newuidmap-no-subids": Mode(
        without=("newuidmap", "newgidmap"),
        script=NO_SUBIDS,
        rules="host-newuidmap-missing host-subids",
        fails="build-buildah",
    ),
    "A5-setuid-lost": Mode(script="chmod u-s $D/new?idmap", rules="host-newuidmap-rights", fails="run"),
    "A5-setuid-of-one-lost": Mode(script="chmod u-s $D/newgidmap", rules="host-newuidmap-rights", fails="run"),
    "A6-no-new-privileges": Mode(
        settings={"no_new_privileges": True}, rules="host-no-new-privileges", fails="run"
    ),
    "A6-nosuid": Mode(
        script='for name in newuidmap newgidmap; do mount -o remount,bind,nosuid "$(command -v $name)"; done',
        rules="host-no-new-privileges",
        fails="run",
    ),
    "A6-without-SETUID": Mode(settings={"lacks": [7]}, rules="host-capabilities", fails="run"),
    "A6-without-SYS_ADMIN": Mode(settings={"lacks": [21]}, rules="host-capabilities", fails="run"),
    "A6-without-SYS_ADMIN-and-proc": Mode(
        settings={"lacks": [21]}, script=MASKED, rules="host-capabilities host-proc-masked", fails="run"
    ),
    "A7-another-group": Mode(settings={"gid": 99_999}, rules="host-group", fails="run"),
    "A8-another-name-in-USER": Mode(
        environment={"USER": "root"}, builds="host-environment", runs="host-environment"
    ),
    "A9-overlap": Mode(
        script='echo "$NAME:$((ID - 5)):65536" > /etc/subuid', rules="host-subids-overlap", fails="run"
    ),
    "A9-malformed": Mode(script='echo "$NAME:x:65536" > /etc/subuid', rules="host-subids"),
    "A9-overlap-with-another": Mode(
        script='for kind in u g; do echo "other:$((FIRST + 100)):65536" >> /etc/sub${kind}id; done',
        rules="host-subids-shared",
    ),
    "A10-unknown-account": Mode(
        script='grep -v "^$NAME:" /etc/passwd > $D/passwd; mount --bind $D/passwd /etc/passwd',
        rules="host-no-account",
        fails=NESTED,
    ),
    "A11-no-HOME": Mode(
        script='sed "s,^\\($NAME:.*:\\)[^:]*\\(:[^:]*\\)$,\\1$HOME_\\2," /etc/passwd > $D/passwd;'
        "mount --bind $D/passwd /etc/passwd",
        environment={"HOME": None},
    ),
    "A11-root-as-HOME": Mode(environment={"HOME": "/"}, **ANOTHER_HOME),
    "A11-HOME-missing": Mode(environment={"HOME": "/nonexistent/home"}, **ANOTHER_HOME),
    "A11-HOME-read-only": Mode(script=READ_ONLY_HOME, **ANOTHER_HOME),
    "A12-no-user-namespaces": Mode(
        script="echo 0 > /proc/sys/user/max_user_namespaces", rules="host-user-namespaces-limit", fails=NESTED
    ),
    "A13-switched-off": Mode(
        # A kernel that has the switch, and what it does.
        script="mkdir $D/kernel; cp -r /proc/sys/kernel/. $D/kernel 2> /dev/null || :;"
        "echo 0 > $D/kernel/unprivileged_userns_clone; mount --bind $D/kernel /proc/sys/kernel",
        settings={"filter": [1, ["unshare"]]},
        rules="host-user-namespaces-switch",
        fails=NESTED,
    ),
    "A15-seccomp": Mode(settings={"filter": [1, DOCKER]}, rules="host-user-namespaces-seccomp", fails=NESTED),
    "A16-no-mounts": Mode(
        settings={"filter": [13, ["mount"]]}, rules="host-user-namespaces-confined", fails="run"
    ),
    "A18-masked-proc": Mode(
        script=MASKED,
        rules="host-proc-masked",
        runs="host-proc-masked",
    ),
    "A18-masked-proc-no-subids": Mode(
        script=f"{MASKED}; {NO_SUBIDS}", rules="host-proc-masked host-subids", fails="run"
    ),
    "A19-read-only-proc-sys": Mode(
        script=remounted("/proc/sys", "ro"), rules="host-proc-masked", runs="host-proc-masked"
    ),
    "A20-pause-process-gone": Mode(
        before="mkdir -p $XDG_RUNTIME_DIR/libpod/tmp; printf 999999 > $XDG_RUNTIME_DIR/libpod/tmp/pause.pid",
        rules="host-pause" if PODMAN < (6,) else "",
        fails="run" if PODMAN < (6,) else "",
    ),
    "A21-no-mnt": Mode(
        script="echo 0 > /proc/sys/user/max_mnt_namespaces", rules="host-user-namespaces", fails=NESTED
    ),
    **{
        f"A21-no-{kind}": Mode(
            script=f"echo 0 > /proc/sys/user/max_{kind}_namespaces", rules="host-user-namespaces", fails="run"
        )
        for kind in ("pid", "ipc", "uts")
    },
    "A21-no-net": Mode(
        script="echo 0 > /proc/sys/user/max_net_namespaces",
        rules="host-user-namespaces",
        fails="run",
        way="--network host",
    ),
    "A22-root-not-shared": Mode(script="mount --make-rprivate /"),
    "A23-hidepid": Mode(script="mount -o remount,hidepid=2 /proc"),
    "A24-foreign-runtime-directory": Mode(
        environment={"XDG_RUNTIME_DIR": "/run"}, builds="host-runtime-dir", runs="host-runtime-dir"
    ),
    "A25-no-such-runtime-directory": Mode(
        environment={"XDG_RUNTIME_DIR": "/nonexistent"}, builds="host-runtime-dir", runs="host-runtime-dir"
    ),
    "A25-no-runtime-directory": Mode(environment={"XDG_RUNTIME_DIR": None}),
    "A27-hybrid-without-runc": Mode(
        script=hidden("runc"),
        rules="?host-runtime-hybrid",
        fails="run" if cgroup_mode() == "hybrid" else "",
    ),
    "A28-nothing-delegated": Mode(
        script="[ ! -d /sys/fs/cgroup/unified ] || mount --rbind /sys/fs/cgroup/unified /sys/fs/cgroup",
        rules="?host-cgroup-delegation",
    ),
    "A29-no-cgroups": Mode(script="mount -t tmpfs -o ro tmpfs /sys/fs/cgroup", rules="?host-cgroup-limits"),
    "A30-stale-socket": Mode(before=f'mkdir -p $XDG_RUNTIME_DIR/podman; python3 -c "{SOCKET}"'),
    "A31-no-mount-program": Mode(before=PROGRAM + CONF, rules="host-storage-mount-program", fails=NESTED),
    "A31-no-mount-program-nor-images": Mode(
        before=f"{PROGRAM}{CONF}; {NO_IMAGES}", rules="host-storage-mount-program", **OWN_STORAGE
    ),
    "A32-overlay-on-overlay-without-images": Mode(
        before=f"{CONF}; {NO_IMAGES}", script=LASTING, rules="host-storage-overlay", **OWN_STORAGE
    ),
    "A32-overlay-on-overlay": Mode(
        before=CONF,
        script=OVERLAY,
        rules="host-storage-overlay",
        fails=NESTED,
        cure={"STORAGE_DRIVER": "vfs"},
    ),
    "A32-vfs-on-overlay": Mode(script=OVERLAY),
    "A34-noexec": Mode(script=remounted('"$HOME_/.local"', "noexec"), rules="host-storage-noexec", fails="run"),
    "A34-noexec-below-overlay": Mode(
        before=CONF, script=remounted('"$HOME_/.local"', "noexec"), rules="host-storage-drivers"
    ),
    "A34-noexec-for-temporary-files": Mode(script=remounted('"$HOME_/tmp"', "noexec")),
    "A32-overlay-on-overlay-in-the-database": Mode(
        before=f"{CONF}; {DATABASE}", script=OVERLAY, rules="host-storage-overlay", fails=NESTED
    ),
    "A35-another-driver": Mode(before=CONF, rules="host-storage-drivers"),
    "A35-another-driver-than-the-database": Mode(
        before=f"{CONF}; {DATABASE}",
        environment={"STORAGE_DRIVER": "vfs"},
        rules="host-storage-settings",
        fails="run",
        cure={"STORAGE_DRIVER": "overlay"},
    ),
    "A36-another-boot": Mode(
        before="mkdir -p $XDG_RUNTIME_DIR/libpod/tmp; echo 1111 > $XDG_RUNTIME_DIR/libpod/tmp/alive",
        rules="" if PODMAN < (5, 1) else "host-runtime-left",
        fails="" if PODMAN < (5, 1) else "run",
    ),
    "A37-no-room-for-temporary-files": Mode(
        script='mount -t tmpfs -o size=64k,mode=1777 tmpfs "$HOME_/tmp"',
        rules="host-disk-full",
        builds="host-disk-full",
        cure={"TMPDIR": "/tmp"},
    ),
    "A37-no-room-in-var-tmp": Mode(
        environment={"TMPDIR": None},
        script="mount -t tmpfs -o size=64k,mode=1777 tmpfs /var/tmp",
        rules="host-disk-full",
        builds="host-disk-full",
        cure={"TMPDIR": "/tmp"},
    ),
    "A37-no-room-for-images": Mode(
        script='mount -t tmpfs -o size=64k,mode=700,uid=$ID tmpfs "$HOME_/.local"',
        rules="host-disk-full",
        fails=NESTED,
    ),
    "A38-no-policy": Mode(
        script="mount -t tmpfs tmpfs /etc/containers",
        rules="host-policy-missing",
        builds="host-policy-missing",
        fixes=True,
    ),
    "A40-read-only-locks": Mode(script=remounted("/dev/shm", "ro"), rules="host-locks", fails="run"),
    "A40-locks-of-another": Mode(
        script="mount -t tmpfs -o mode=1777 tmpfs /dev/shm; umask 077; : > /dev/shm/libpod_rootless_lock_$ID",
        rules="host-locks",
        fails="run",
    ),
    "A41-no-network-helper": Mode(
        without=("slirp4netns", "pasta"), rules="host-network-helper", runs="host-network-helper"
    ),
    "A42-no-tun": Mode(script="mount -t tmpfs tmpfs /dev/net", rules="?host-tun"),
    "A45-no-keys-left": Mode(
        settings={"apart": True},
        script="mount -t tmpfs -o mode=1777 tmpfs /dev/shm",
        prefix=(sys.executable, "-c", ADD_KEYS),
        rules="host-keys",
        runs="host-keys",
        fixes=True,
    ),
    "A46-few-files": Mode(prefix=("prlimit", "--nofile=18:18"), rules="host-resource-limit", fails="run"),
    "A46-few-processes": Mode(prefix=("prlimit", "--nproc=1:1"), rules="host-resource-limit", fails=NESTED),
    "A46-little-memory": Mode(prefix=("prlimit", "--as=600000000"), rules="host-resource-limit", fails=NESTED),
    "A47-no-conmon": Mode(
        script="mount --bind /dev/null /usr/bin/conmon", rules="host-conmon-missing", fails="run"
    ),
    "A47-no-runtime": Mode(script=hidden("crun", "runc"), rules="host-runtime-missing", fails="run"),
    "A47-no-podman": Mode(without=("podman",), rules="host-podman-missing", fails="run"),
    "A47-no-buildah": Mode(without=("buildah",), rules="host-buildah-missing", fails="build-buildah"),
    "A47-no-skopeo": Mode(without=("skopeo",), rules="host-skopeo-missing"),
}
