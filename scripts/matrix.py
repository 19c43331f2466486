"""What works on this host with each driver and runtime, with and without subordinate ids, in each surrounding.

scripts/hosts runs it as an unprivileged user of each host. A cell is a home of its own, in which the verbs are
called as users call them. What they refuse has to be explained by a rule of doctor. Prints a JSON object per cell,
and exits with 1 where a refusal is not explained.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

DRIVERS = ("overlay", "vfs")
RUNTIMES = ("crun", "runc")
SUBIDS = ("subids", "none")
PLACES = ("plain", "nested", "nested-root", "seccomp", "off")
OUTER = (
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/login.defs", "/etc/ld.so.cache"),
    *("/etc/alternatives", "/etc/containers", "/etc/ssl", "/usr"),
)
"""What the container of `nested` has of this host, all of it read-only; it has no file of its own but busybox."""

LINKS = ("usr/bin:/bin", "usr/sbin:/sbin", "usr/lib:/lib", "usr/lib64:/lib64")


class Cell(NamedTuple):
    """One combination; `subids` is `none` where the account has no subordinate ids."""

    place: str
    subids: str
    driver: str
    runtime: str


def operations(port: str) -> dict[str, list[str]]:
    """What is tried, in this order."""
    name = f"docker://localhost:{port}/hello"
    return {
        "build -t": ["build", "hello", "-t", "hello"],
        "build -o": ["build", "hello", "-o", "oci:image"],
        "run": ["run", "--network", "none", "hello"],
        "push": ["push", "hello", f"{name}:named", "--tls-verify", "false"],
        "push oci:": ["push", "oci:image", f"{name}:file", "--tls-verify", "false"],
    }


def within(port: str) -> None:
    """Called inside of the surroundings of a cell, in its home: print what comes of each operation."""
    found: dict[str, Any] = {}
    for name, words in operations(port).items():
        command = [sys.executable, "-m", "rootless_scratch", *words, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        answer: dict[str, Any] = {}
        with contextlib.suppress(ValueError):
            answer = json.loads(done.stdout)
        found[name] = {"code": done.returncode, **(answer.get("error") or {})}
        if done.returncode and "error" not in answer:
            rule = re.search(r"\[(host-[a-z-]+)\]", done.stderr)
            found[name] |= {"message": done.stderr[-500:], "rule": rule[1] if rule else ""}
    sys.stdout.write(json.dumps(found))


def python(*words: str) -> list[str]:
    """A command of Python."""
    return [sys.executable, *words]


class Host:
    """The account that this runs as, with a program, and with a container to be nested in."""

    def __init__(self, top: Path, port: str) -> None:
        self.top, self.port = top, port
        self.name = pwd.getpwuid(os.getuid()).pw_name
        subprocess.run(["gcc", "-static", "-o", top / "hello", ROOT / "docs/hello.c"], check=True)
        self.outer = self.environment(top / "outer", "vfs", "")
        mkdirs = [word for path in OUTER for word in ("--mkdir", os.path.dirname(path)) if path.count("/") > 1]
        links = [word for link in LINKS for word in ("--symlink", link)]
        busybox = shutil.which("busybox") or "busybox"
        words = ["build", "-q", f"{busybox}:/.busybox", *links, *mkdirs, "--mkdir", "/usr", "-t", "outer"]
        self.call(python("-m", "rootless_scratch", *words), self.outer)

    def environment(self, home: Path, driver: str, runtime: str) -> dict[str, str]:
        """What a command sees in a home of its own, which is made."""
        settings = home / ".config/containers"
        settings.mkdir(parents=True)
        (settings / "storage.conf").write_text(f'[storage]\ndriver = "{driver}"\n')
        if runtime:
            (settings / "containers.conf").write_text(f'[engine]\nruntime = "{runtime}"\n')
        for name in ("run", "tmp"):
            (home / name).mkdir(mode=0o700)
        shutil.copy(self.top / "hello", home / "hello")
        fixed = {"XDG_RUNTIME_DIR": str(home / "run"), "TMPDIR": str(home / "tmp"), "PYTHONPATH": str(ROOT)}
        return {"PATH": os.environ["PATH"], "HOME": str(home), "USER": self.name, **fixed}

    def call(self, words: list[str], environment: dict[str, str]) -> str:
        """Run it in its home; what it printed."""
        home = environment["HOME"]
        done = subprocess.run(words, env=environment, cwd=home, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"matrix: {words[:4]} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def judge(self, cell: Cell) -> dict[str, Any]:
        """What comes of each operation in that cell."""
        home = self.top / "-".join(cell)
        environment = self.environment(home, cell.driver, cell.runtime)
        asked = python(str(ROOT / "scripts/matrix.py"), "within", self.port)
        if cell.place.startswith("nested"):
            words = self.nested(cell, home, asked)
            return dict(json.loads(self.call(words, self.outer)))
        # What is to be run was built when nothing was in the way yet.
        bare = self.worse(cell._replace(place="plain"), home)
        self.call([*bare, *python("-m", "rootless_scratch", "build", "-q", "hello", "-t", "hello")], environment)
        return dict(json.loads(self.call([*self.worse(cell, home), *asked], environment)))

    def worse(self, cell: Cell, home: Path) -> list[str]:
        """The words that bring a command into a host made by tests/worse_host.py; none for this host as it is."""
        from worse_hosts import DOCKER, NO_SUBIDS

        if (cell.place, cell.subids) == ("plain", "subids"):
            return []
        scripts = {"none": NO_SUBIDS, "off": "echo 0 > /proc/sys/user/max_user_namespaces"}
        script = "".join(f"{scripts[word]}\n" for word in (cell.subids, cell.place) if word in scripts)
        (home / "root").mkdir(exist_ok=True)
        settings: dict[str, Any] = {"directory": str(home / "root"), "out": str(home), "script": script}
        if cell.place == "seccomp":
            settings["filter"] = [1, DOCKER]
        return python(str(ROOT / "tests/worse_host.py"), json.dumps(settings))

    def nested(self, cell: Cell, home: Path, asked: list[str]) -> list[str]:
        """The same in a rootless container with podman's own defaults, as a user of it or as its root."""
        uid, gid = (0, 0) if cell.place == "nested-root" else (os.getuid(), os.getgid())
        kinds = {"subuid": uid, "subgid": gid}
        owner = self.name if uid else "root"
        mounts = [f"{path}:{path}:ro" for path in (*OUTER, str(ROOT)) if os.path.exists(path)]
        if not sys.prefix.startswith(f"{ROOT}/"):
            mounts.append(f"{sys.prefix}:{sys.prefix}:ro")
        for kind, own in kinds.items():
            lines = f"{owner}:1:{own - 1}\n" if own else ""
            lines += f"{owner}:{own + 1}:{65535 - own}\n"
            (self.top / f"{home.name}.{kind}").write_text(lines if cell.subids == "subids" else "")
            mounts.append(f"{self.top}/{home.name}.{kind}:/etc/{kind}:ro")
            # That of this host is owned by its root, who is nobody there.
            helper = f"new{kind[3:]}map"
            copy = self.top / helper
            if not copy.exists():
                shutil.copy(shutil.which(helper) or helper, copy)
                copy.chmod(0o4755)
            mounts.append(f"{copy}:/usr/bin/{helper}:ro,suid")
        mounts.append(f"{home}:{home}:U")
        inner = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(home / "tmp"),
        }
        words = ["podman", "run", "--rm", "--network", "host", "--user", f"{uid}:{gid}", "--workdir", str(home)]
        words += [word for mount in mounts for word in ("--volume", mount)]
        words += [word for name, value in inner.items() for word in ("--env", f"{name}={value}")]
        return [*words, "--tmpfs", "/tmp", "--tmpfs", "/var/tmp", "--entrypoint", asked[0], "outer", *asked[1:]]  # noqa: S108

    def clean(self) -> None:
        """Remove the homes, with what they have of subordinate ids."""
        for pause in self.top.glob("*/run/libpod/tmp/pause.pid"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(pause.read_text()), 9)
        subprocess.run(["buildah", "unshare", "rm", "-rf", str(self.top)], check=False, capture_output=True)


def needs_image(name: str, found: dict[str, Any]) -> bool:
    """Whether it was not even begun, for want of an image that could not be built."""
    return bool(
        name in ("run", "push") and found["build -t"]["code"] and "There is no image" in found[name]["message"]
    )


def unexplained(found: dict[str, Any]) -> Iterator[str]:
    """The operations that were refused without a rule, or with another exit code than the contract's."""
    for name, each in found.items():
        if needs_image(name, found):
            continue
        refused = 125 if name == "run" else 1
        if each["code"] and (each["code"] != refused or not each.get("rule", "").startswith("host-")):
            yield name


def outcome(name: str, found: dict[str, Any]) -> str:
    """What stands in the table."""
    each = found[name]
    if each["code"] == 0:
        return "works"
    if needs_image(name, found):
        return "no image"
    return f"`{each.get('rule') or each.get('kind', '?')}` ({each['code']})"


def rows(lines: list[dict[str, Any]]) -> Iterator[list[str]]:
    """The rows of the table; what has the same outcome is told once."""
    told: dict[tuple[str, ...], list[str]] = {}
    for place, subids in itertools.product(PLACES, SUBIDS):
        here = [each for each in lines if (each["place"], each["subids"]) == (place, subids)]
        for host in dict.fromkeys(each["host"] for each in here):
            alike: dict[tuple[str, ...], list[tuple[str, str]]] = {}
            for each in here:
                if each["host"] == host:
                    seen = tuple(outcome(name, each["found"]) for name in each["found"])
                    alike.setdefault(seen, []).append((each["driver"], each["runtime"]))
            for seen, pairs in alike.items():
                drivers, runtimes = ([*dict.fromkeys(column)] for column in zip(*pairs, strict=True))
                whole = len(pairs) == len(drivers) * len(runtimes)
                which = [", ".join(drivers), ", ".join(runtimes)]
                which = which if whole else ["", ", ".join(" with ".join(pair) for pair in pairs)]
                told.setdefault((place, subids, *which, *seen), []).append(host)
    for row, hosts in told.items():
        yield [", ".join(hosts), *row]


def table(files: list[str]) -> str:
    """A table of what was found on each host, whose file has its name."""
    lines = []
    for file in map(Path, files):
        found = [json.loads(line) for line in file.read_text().splitlines()]
        lines += [{"host": file.stem.replace("debian-", "Debian "), **each} for each in found]
    head = ["host", "place", "ids", "driver", "runtime", *operations("")]
    body = [head, ["---"] * len(head), *rows(lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in body)


def main() -> int:
    """All cells, or those that have all of the words."""
    if sys.argv[1:2] == ["within"]:
        within(sys.argv[2])
        return 0
    if sys.argv[1:2] == ["table"]:
        made = table([word for word in sys.argv[2:] if word != "--write"])
        sys.stdout.write(made)
        if "--write" in sys.argv:
            page = ROOT / "docs/hosts.md"
            before, _, rest = page.read_text().partition("<!-- matrix -->\n")
            _, _, after = rest.partition("<!-- end -->\n")
            page.write_text(f"{before}<!-- matrix -->\n\n{made}\n<!-- end -->\n{after}")
        return 0
    from registries import registry

    top = Path(tempfile.mkdtemp(prefix="rsm-"))
    host = None
    bad = 0
    try:
        with registry(top / "registry") as behind:
            host = Host(top, str(behind.port))
            for parts in itertools.product(PLACES, SUBIDS, DRIVERS, RUNTIMES):
                cell = Cell(*parts)
                if set(sys.argv[1:]) <= set(cell):
                    found = host.judge(cell)
                    bad += bool([*unexplained(found)])
                    sys.stdout.write(json.dumps({**cell._asdict(), "found": found}) + "\n")
                    sys.stdout.flush()
    finally:
        if host is not None:
            host.clean()
        shutil.rmtree(top, ignore_errors=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
