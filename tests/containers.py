"""What the tests of `run` share: an image with a static busybox, and runs of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOOP = "while :; do /busybox sleep 0.1; done"

MAKE = """set -e
container=$(buildah from scratch)
root=$(buildah mount "$container")
cp "$1" "$root/busybox"
cp "$2" "$root/dynamic"
printf 'no program\\n' > "$root/text"
printf 'no program\\n' > "$root/plain"
mkdir "$root/data"
chmod 755 "$root/busybox" "$root/dynamic" "$root/text"
chmod 644 "$root/plain"
buildah umount "$container" > /dev/null
buildah config --entrypoint "$3" --user 65532:65532 "$container"
buildah commit -q "$container" "$4"
buildah rm "$container" > /dev/null
"""


class Home(Protocol):
    """What the tests' conftest gives: a home directory with an image store of its own."""

    path: Path
    runtime: Path
    environment: dict[str, str]

    def cli(
        self,
        *words: str | bytes,
        environment: Mapping[str, str] | None = None,
        timeout: float = 120,
        input: bytes = b"",  # noqa: A002 - as conftest has it
    ) -> subprocess.CompletedProcess[bytes]: ...

    def run(self, argv: list[str], *, check: bool = True) -> subprocess.CompletedProcess[bytes]: ...


def make_image(home: Home, name: str, entrypoint: str) -> str:
    busybox = shutil.which("busybox")
    assert busybox is not None, "install busybox-static"
    unshare = [] if os.getuid() == 0 else ["buildah", "unshare"]
    arguments = [busybox, str(Path("/bin/true").resolve()), json.dumps([entrypoint]), name]
    return home.run([*unshare, "sh", "-c", MAKE, "sh", *arguments]).stdout.decode().split()[0]


def shell(home: Home, script: str, *options: str, **more: Any) -> subprocess.CompletedProcess[bytes]:  # noqa: ANN401 - passed on
    return home.cli("run", "-q", *options, "tools", "sh", "-c", script, **more)


@contextmanager
def running(home: Home, script: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run in the background that has printed its first line, `up`."""
    words = ["run", "-q", *options, "tools", "sh", "-c", f"echo up; {script}"]
    with subprocess.Popen(
        [sys.executable, "-m", "rootless_scratch", *words],
        env=home.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        try:
            yield process
        finally:
            process.kill()


def podman(home: Home, *words: str) -> list[str]:
    return home.run(["podman", *words]).stdout.decode().split()


def containers(home: Home) -> list[str]:
    return podman(home, "ps", "--all", "--format", "{{.Names}}")


def left(home: Home) -> list[str]:
    """Whatever is still there of earlier runs: containers, leases, private directories, services."""
    deadline = time.monotonic() + 3
    # A service that no longer listens is still a process for some milliseconds.
    while services(home) and time.monotonic() < deadline:
        time.sleep(0.01)
    leases = home.path / ".local/state/rootless-scratch/runs"
    directories = [*home.runtime.glob("rootless-scratch-*"), *(leases.iterdir() if leases.exists() else ())]
    return [*containers(home), *map(str, directories), *services(home)]


def services(home: Home) -> list[str]:
    """Command lines of podman services whose socket lies below this home."""
    return list(service_processes(home).values())


def service_processes(home: Home) -> dict[int, str]:
    """The processes of these services; a rootless podman is a pair with the same words."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if "system service" in line and str(home.path) in line:
            found[int(entry.parent.name)] = line
    return found
