"""Hosts as they fail in practice, each made for one command: doctor names the cause, and its predictions hold."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SOURCE, Home

from rootless_scratch.host.cgroups import cgroup_mode

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.buildah

WORSE = SOURCE / "tests" / "worse_host.py"
OPERATIONS = ("build-direct", "build-buildah", "run")


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A host, and what doctor is to say of it: the `rules` beyond those of a healthy one, and what does not work.

    `script` is what its root has done to it, `before` what the user has, `without` the programs that it lacks.
    With `cure` in the environment, or after `doctor --fix`, everything works.
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
SOCKET = "import os, socket; socket.socket(1).bind(os.environ['XDG_RUNTIME_DIR'] + '/podman/podman.sock')"
NO_SUBIDS = ": > /etc/subuid; : > /etc/subgid"
ADD_KEYS = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
number = {"x86_64": 248, "aarch64": 217}[os.uname().machine]
while libc.syscall(number, b"user", b"rst-%d" % libc.rand(), b"x", 1, -4) > 0:
    pass
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


MODES = {
    "healthy": Mode(),
    "A1-no-subids": Mode(script=NO_SUBIDS, rules="host-subids"),
    "A1-no-subgids": Mode(script=": > /etc/subgid", rules="host-subids"),
    "A3-short-range": Mode(script=everybody("$NAME:$FIRST:1000"), rules="host-subids", fails="run"),
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
    "A7-another-group": Mode(settings={"gid": 99_999}, rules="host-group", fails="run"),
    "A8-another-name-in-USER": Mode(environment={"USER": "root"}),
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
    "A11-root-as-HOME": Mode(environment={"HOME": "/"}, rules="host-home", fails=NESTED),
    "A11-HOME-missing": Mode(environment={"HOME": "/nonexistent"}, rules="host-home", fails=NESTED),
    "A11-HOME-read-only": Mode(script=remounted('"$HOME_"', "ro"), rules="host-home ?host-pause", fails=NESTED),
    "A12-no-user-namespaces": Mode(
        script="echo 0 > /proc/sys/user/max_user_namespaces", rules="host-user-namespaces-limit", fails=NESTED
    ),
    "A15-seccomp": Mode(settings={"filter": [1, DOCKER]}, rules="host-user-namespaces-seccomp", fails=NESTED),
    "A16-no-mounts": Mode(
        settings={"filter": [13, ["mount"]]}, rules="host-user-namespaces-confined", fails="run"
    ),
    "A18-masked-proc": Mode(
        script="mount -t tmpfs -o ro tmpfs /proc/acpi || mount -t tmpfs tmpfs /proc/scsi",
        rules="host-proc-masked",
        fails="run",
    ),
    "A19-read-only-proc-sys": Mode(script=remounted("/proc/sys", "ro"), rules="host-proc-masked", fails="run"),
    "A20-pause-process-gone": Mode(
        before="mkdir -p $XDG_RUNTIME_DIR/libpod/tmp; printf 999999 > $XDG_RUNTIME_DIR/libpod/tmp/pause.pid",
        rules="host-pause",
        fails="run",
    ),
    "A21-no-mnt": Mode(
        script="echo 0 > /proc/sys/user/max_mnt_namespaces", rules="host-user-namespaces", fails=NESTED
    ),
    **{
        f"A21-no-{kind}": Mode(
            script=f"echo 0 > /proc/sys/user/max_{kind}_namespaces", rules="host-user-namespaces", fails="run"
        )
        for kind in ("net", "pid", "ipc", "uts")
    },
    "A22-root-not-shared": Mode(script="mount --make-rprivate /"),
    "A23-hidepid": Mode(script="mount -o remount,hidepid=2 /proc"),
    "A24-foreign-runtime-directory": Mode(environment={"XDG_RUNTIME_DIR": "/run"}),
    "A25-no-such-runtime-directory": Mode(environment={"XDG_RUNTIME_DIR": "/nonexistent"}),
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
    "A32-overlay-on-overlay": Mode(
        before=CONF,
        script=OVERLAY,
        rules="host-storage-overlay",
        fails=NESTED,
        cure={"STORAGE_DRIVER": "vfs"},
    ),
    "A32-vfs-on-overlay": Mode(script=OVERLAY),
    "A34-noexec": Mode(script=remounted('"$HOME_/.local"', "noexec"), rules="host-storage-noexec", fails="run"),
    "A34-noexec-for-temporary-files": Mode(script=remounted('"$HOME_/tmp"', "noexec")),
    "A35-another-driver": Mode(before=CONF, rules="host-storage-drivers", cure={"STORAGE_DRIVER": "vfs"}),
    "A36-another-boot": Mode(
        before="mkdir -p $XDG_RUNTIME_DIR/libpod/tmp; echo 1111 > $XDG_RUNTIME_DIR/libpod/tmp/alive"
    ),
    "A37-no-room-for-temporary-files": Mode(
        script='mount -t tmpfs -o size=64k,mode=1777 tmpfs "$HOME_/tmp"',
        rules="host-disk-full",
        fails="build-buildah",
        cure={"TMPDIR": "/tmp"},
    ),
    "A37-no-room-in-var-tmp": Mode(
        environment={"TMPDIR": None},
        script="mount -t tmpfs -o size=64k,mode=1777 tmpfs /var/tmp",
        rules="host-disk-full",
        fails="build-buildah",
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
        fails="build-buildah",
        fixes=True,
    ),
    "A40-read-only-locks": Mode(script=remounted("/dev/shm", "ro"), rules="host-locks", fails="run"),
    "A40-locks-of-another": Mode(
        script="mount -t tmpfs -o mode=1777 tmpfs /dev/shm; umask 077; : > /dev/shm/libpod_rootless_lock_$ID",
        rules="host-locks",
        fails="run",
    ),
    "A41-no-network-helper": Mode(without=("slirp4netns", "pasta"), rules="host-network-helper"),
    "A42-no-tun": Mode(script="mount -t tmpfs tmpfs /dev/net", rules="?host-tun"),
    "A45-no-keys-left": Mode(
        settings={"apart": True},
        script="mount -t tmpfs -o mode=1777 tmpfs /dev/shm",
        prefix=(sys.executable, "-c", ADD_KEYS),
        rules="host-keys",
        fails="run",
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


@pytest.fixture(scope="module")
def template(hello: Path) -> Iterator[Home]:
    """A home whose storage has an image, with which podman has not had to do yet."""
    home = Home(Path(tempfile.mkdtemp(prefix="rst-")))
    shutil.copy(hello, home.path / "hello")
    assert home.cli("build", "-q", "hello", "-t", "hello").returncode == 0
    yield home
    home.remove()


@pytest.fixture
def home(template: Home) -> Iterator[Home]:
    """A copy of it."""
    place = Path(tempfile.mkdtemp(prefix="rst-"))
    place.rmdir()
    shutil.copytree(template.path, place, symlinks=True, ignore=shutil.ignore_patterns("run", "tmp"))
    home = Home(place)
    yield home
    home.remove()


@pytest.fixture
def out() -> Iterator[Path]:
    """A directory for what is built, outside of the home, of which hosts may make anything."""
    directory = Path(tempfile.mkdtemp(prefix="rst-"))
    yield directory
    shutil.rmtree(directory)


def in_path_without(home: Home, sbin: Path, names: tuple[str, ...]) -> str:
    """A PATH in which every program is but these."""
    farm = home.path / "bin"
    farm.mkdir()
    for directory in ("/usr/local/bin", "/usr/bin", "/usr/sbin"):
        for program in Path(directory).iterdir():
            link = farm / program.name
            if program.name not in names and not link.is_symlink():
                real = program.resolve()
                link.symlink_to(sbin / real.name if real.parent == Path("/usr/sbin") else real)
    return str(farm)


class Host:
    """What is called in it is called on the worse host."""

    def __init__(self, home: Home, mode: Mode, *, out: Path) -> None:
        self.home, self.mode, self.out = home, mode, out
        self.environment = home.environment | {"USER": pwd.getpwuid(os.getuid()).pw_name}
        if mode.before:
            subprocess.run(["sh", "-ec", mode.before], env=self.environment, check=True, capture_output=True)
        directory = home.path / "root"
        directory.mkdir()
        script = f"HOME_={home.path}\n{mode.script}\n"
        if mode.without:
            # Programs are looked up in the administrator's directories too, whatever PATH says.
            script += "mkdir $D/sbin; mount --bind /usr/sbin $D/sbin; mount -t tmpfs tmpfs /usr/sbin\n"
            self.environment["PATH"] = in_path_without(home, directory / "sbin", mode.without)
        self.settings = {"directory": str(directory), "out": str(out.parent), "script": script, **mode.settings}
        self.environment |= {name: value for name, value in mode.environment.items() if value is not None}
        for name in [name for name, value in mode.environment.items() if value is None]:
            del self.environment[name]

    def cli(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """What `rootless-scratch WORDS` does on this host."""
        done = subprocess.run(
            [
                *(sys.executable, str(WORSE), json.dumps(self.settings)),
                *(*self.mode.prefix, sys.executable, "-m", "rootless_scratch", *words),
            ],
            env=self.environment,
            cwd=self.home.path,
            capture_output=True,
            timeout=120,
            check=False,
        )
        if words[0] in ("run", "debug") and PAUSE not in self.mode.before:
            for left in (*self.home.runtime.glob(PAUSE), *self.home.temporary.glob(f"*/{PAUSE}")):
                # It has ended with the call.
                left.unlink()
        return done

    def doctor(self) -> dict[str, Any]:
        done = self.cli("doctor", "--json")
        assert done.stderr == b""
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def really(self, operation: str) -> subprocess.CompletedProcess[bytes]:
        """Do what the operation is about."""
        program = str(self.home.path / "hello")
        if operation == "build-direct":
            return self.cli("build", "-q", program, "-o", f"oci:{self.out}")
        if operation == "build-buildah":
            return self.cli("build", "-q", program, "-t", "hello")
        if operation == "debug":
            return self.cli("debug", "hello", "--exec", "exit 0")
        return self.cli("run", "--json", "hello")


def serious(answer: dict[str, Any]) -> set[str]:
    return {each["rule"] for each in answer["findings"] if each["severity"] != "info"}


@pytest.fixture(scope="module")
def usual(template: Home) -> set[str]:
    """What this host is told anyway: the modes are made of it."""
    return serious(json.loads(template.cli("doctor", "--json").stdout))


@pytest.mark.podman
@pytest.mark.parametrize("name", MODES)
def test_doctor_names_what_is_wrong_and_nothing_else_and_what_it_says_of_each_operation_comes_true(
    name: str, home: Home, usual: set[str], out: Path
) -> None:
    mode = MODES[name]
    host = Host(home, mode, out=out / "written")
    answer = host.doctor()
    wanted = {rule for rule in mode.rules.split() if not rule.startswith("?")}
    perhaps = {rule[1:] for rule in mode.rules.split() if rule.startswith("?")}
    assert serious(answer) - usual - perhaps == wanted - usual, answer["findings"]
    for finding in answer["findings"]:
        if finding["rule"] in wanted:
            assert finding["evidence"]
            assert finding["effect"]
    fails = {each for each in OPERATIONS if not answer["operations"][each]["works"]}
    assert fails == set(mode.fails.split())
    done = {operation: host.really(operation) for operation in (*OPERATIONS, "debug")}
    for operation, really in done.items():
        said = answer["operations"][operation]["works"]
        assert (really.returncode == 0) == said, (operation, really.stderr.decode())
        assert b"Traceback" not in really.stderr
    if "run" not in fails:
        has_none = any("no network" in note for note in json.loads(done["run"].stdout)["notes"])
        assert answer["operations"]["network"]["works"] == (not has_none)
    if mode.fixes:
        host.cli("doctor", "--fix")
    if mode.fixes or mode.cure:
        host.environment |= mode.cure
        again = host.doctor()
        assert all(again["operations"][each]["works"] for each in OPERATIONS), again["findings"]
        for operation in OPERATIONS:
            really = host.really(operation)
            assert really.returncode == 0, (operation, really.stderr.decode())
