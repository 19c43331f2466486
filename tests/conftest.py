"""What the tests share: a home of their own with its own image store, and the command line inside it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from containers import make_image
from own_images import build_own
from registries import registry
from staging import Bench

from rootless_scratch import processes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from registries import Registry

# nohup, and shells that put a command into the background, have them ignored; what is started would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

SOURCE = Path(__file__).resolve().parent.parent

SERVER = """
#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void end(int number) { write(1, "bye\\n", 4); _exit(0); }
int main(int count, char **words) {
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(words[1]) : 8080)};
    char asked[4096];
    const char *answer = "HTTP/1.0 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nwell\\n";
    signal(SIGTERM, end);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 9)) return 1;
    write(1, "up\\n", 3);
    for (;;) {
        int caller = accept(listener, 0, 0);
        read(caller, asked, sizeof asked);
        write(caller, answer, strlen(answer));
        close(caller);
    }
}
"""
"""A web server that holds nothing else: no shell, no file but itself. On SIGTERM it says goodbye."""


def is_pause(pid: int) -> bool:
    """Whether this is what keeps podman's user namespace: catatonit, or podman itself."""
    return os.path.basename(b"".join(processes.arguments_of(pid)[:1])) in (b"catatonit", b"podman")


class Home:
    """A home directory of the tests' own: another image store than the user's, and its own runtime dir.

    It lies directly under the temporary directory because conmon's socket paths may not exceed 107 bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runtime = path / "run"
        self.runtime.mkdir(mode=0o700)
        self.temporary = path / "tmp"
        self.temporary.mkdir()
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CONTAINER", "XDG_", "STORAGE_", "BUILDAH_", "REGISTRY_"))
        }
        self.environment |= {
            "HOME": str(path),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(SOURCE),
        }

    def cli(
        self,
        *words: str | bytes,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
        input: bytes = b"",  # noqa: A002 - the name that subprocess.run has for it
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `rootless-scratch WORDS` as a user would, in this home."""
        return subprocess.run(
            [sys.executable, "-m", "rootless_scratch", *words],
            env=self.environment | dict(environment or {}),
            cwd=cwd or self.path,
            input=input,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *words: str | bytes, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - passed on
        """Run a verb with --json and return its object; fails the test unless it exits 0."""
        done = self.cli(*words, "--json", **options)
        assert done.returncode == 0, done.stderr.decode()
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def run(self, argv: Sequence[str], *, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run another program (podman, buildah ...) in this home."""
        done = subprocess.run(argv, env=self.environment, capture_output=True, timeout=120, check=False)
        if check:
            assert done.returncode == 0, done.stderr.decode()
        return done

    def temporary_files(self) -> list[Path]:
        """What calls of ours have in TMPDIR; podman keeps files of its own there where it finds no runtime dir."""
        return [path for path in self.temporary.iterdir() if path.name.startswith("rootless-scratch")]

    def remove(self) -> None:
        """End podman's pause processes and remove everything, files of subordinate ids included."""
        end_pauses(self.path)
        if shutil.which("buildah") and os.getuid() != 0:
            subprocess.run(
                ["buildah", "unshare", "rm", "-rf", str(self.path)],
                env=self.environment,
                capture_output=True,
                timeout=120,
                check=False,
            )
        shutil.rmtree(self.path, ignore_errors=True)


def end_pauses(place: Path) -> None:
    """End what keeps podman's user namespaces for runtime directories below `place`, whoever chose them."""
    for above in ("", "*/", "*/*/"):
        for pause in place.glob(f"{above}libpod/tmp/pause.pid"):
            number = int(pause.read_text() or 0)
            # Where it has been killed, another process may have its number by now.
            processes.signal_those(lambda pid, wanted=number: pid == wanted and is_pause(pid), signal.SIGKILL)  # type: ignore[misc]


@pytest.fixture(scope="session", autouse=True)
def runtime_directory() -> Iterator[None]:
    """A runtime directory for this process: without one podman leaves two directories and a process in /tmp."""
    if os.environ.get("XDG_RUNTIME_DIR"):
        yield
        return
    place = Path(tempfile.mkdtemp(prefix="rsr-"))
    os.environ["XDG_RUNTIME_DIR"] = str(place)
    yield
    del os.environ["XDG_RUNTIME_DIR"]
    end_pauses(place)
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_home() -> Iterator[Home]:
    """One home for a whole test process, for tests that only add images under names of their own."""
    home = Home(Path(tempfile.mkdtemp(prefix="rst-")))
    yield home
    home.remove()


@pytest.fixture
def fresh_home() -> Iterator[Home]:
    """A home with an empty image store, for tests that count what is left behind."""
    home = Home(Path(tempfile.mkdtemp(prefix="rst-")))
    yield home
    home.remove()


@pytest.fixture
def lonely(fresh_home: Home, tmp_path: Path) -> Bench:
    """A context whose builds have a store of stages that nobody else uses."""
    context = tmp_path / "context"
    context.mkdir()
    return Bench(fresh_home, context)


@pytest.fixture(scope="session")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the README, statically linked."""
    program = tmp_path_factory.mktemp("hello") / "hello"
    subprocess.run(["gcc", "-static", "-o", program, SOURCE / "docs/hello.c"], check=True)
    return program


@pytest.fixture(scope="session")
def own(shared_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The shared home's storage has the image `own`, that of rootless-scratch itself; its layout."""
    layout = tmp_path_factory.mktemp("own") / "layout"
    build_own(shared_home.environment, "-o", f"oci:{layout}")
    archive = layout.with_name("own.tar")
    done = shared_home.cli("save", f"oci:{layout}", "-o", f"docker-archive:{archive}:own")
    assert done.returncode == 0, done.stderr
    shared_home.run(["podman", "load", "--quiet", "--input", str(archive)])
    archive.unlink()
    yield layout
    shutil.rmtree(layout)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("server")
    (place / "server.c").write_text(SERVER)
    subprocess.run(["gcc", "-static", "-o", place / "server", place / "server.c"], check=True)
    (place / "settings").write_text("port=8080\n")
    return place


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry for tests of what goes wrong before it."""
    with registry(tmp_path_factory.mktemp("registry")) as started:
        yield started


@pytest.fixture
def python_home(shared_home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """This very process sees the tests' image store."""
    for name in set(os.environ) - set(shared_home.environment):
        monkeypatch.delenv(name)
    for name, value in shared_home.environment.items():
        monkeypatch.setenv(name, value)
    return shared_home


@pytest.fixture(scope="session")
def tools(shared_home: Home) -> Home:
    """A home with the image `tools`, whose program is a static busybox."""
    make_image(shared_home, "tools", "/busybox")
    return shared_home


@pytest.fixture
def lonely_tools(fresh_home: Home) -> Home:
    """The same in a store of its own, for tests that count what is left."""
    make_image(fresh_home, "tools", "/busybox")
    return fresh_home
