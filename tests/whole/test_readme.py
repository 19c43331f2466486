"""The README's blocks are what a newcomer will type: each is run as it stands, and what it shows is compared.

What belongs to somebody else's host (a registry, another machine, port 8080) is put in the place of its name.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from conftest import SERVER, Home
from containers import containers, make_image, podman
from registries import PASSWORD, USER, free_port, registry
from remote_hosts import podman_service, remote_host
from watchers import watching

from rootless_scratch.host.network import private_network_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SOURCE = Path(__file__).resolve().parents[2]

MAIN = 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("Hello World") }\n'

MAIN_LINE = "int main(int count, char **words) {"
ANSWERS = f"#include <stdio.h>\n{MAIN_LINE}\n    if (count > 1) {{ puts(words[1]); return 0; }}"
"""With a word the README's server says it and ends."""

TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


class Block(NamedTuple):
    name: str
    text: str


def blocks(text: str) -> Iterator[Block]:
    """Every fenced block, named by its heading and its language, and counted where there are several."""
    heading = ""
    seen: dict[str, int] = {}
    for found in re.finditer(
        r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>\w*)\n(?P<text>.*?)^```$", text, re.MULTILINE | re.DOTALL
    ):
        if found["heading"] is not None:
            heading = found["heading"]
            continue
        name = f"{heading}: {found['language']}"
        seen[name] = seen.get(name, 0) + 1
        yield Block(name if seen[name] == 1 else f"{name} {seen[name]}", found["text"])


BLOCKS = {block.name: block.text for block in blocks((SOURCE / "README.md").read_text())}


class Step(NamedTuple):
    command: str
    shown: str


def steps(text: str) -> list[Step]:
    """The commands of a console, and what it shows after each."""
    return [Step(*part.partition("\n")[::2]) for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]]


class Stage:
    """A newcomer's directory, with the files that the README names, and a home."""

    def __init__(self, home: Home, place: Path) -> None:
        self.home = home
        self.place = place
        self.port = free_port()

    def prepare(self) -> None:
        shutil.copy(SOURCE / "docs/hello.c", self.place)
        for name in ("build", "static", "data", "amd64", "arm64"):
            (self.place / name).mkdir()
        (self.place / "static/page").write_text("x")
        (self.place / "app.py").write_text("#!/usr/bin/python3\nprint('Hello World')\n")
        (self.place / "data").chmod(0o777)
        (self.place / "main.go").write_text(MAIN)
        (self.place / "go.mod").write_text("module example.com/hello\n")
        (self.place / "server.c").write_text(SERVER.replace(MAIN_LINE, ANSWERS).replace("8080", str(self.port)))
        self.compile("hello.c", "build/hello")
        self.compile("server.c", "build/server")
        shutil.copy(self.place / "build/server", self.place / "server")
        shutil.copy(self.place / "build/hello", self.place / "client")

    def compile(self, source: str, program: str) -> None:
        subprocess.run(["gcc", "-static", "-o", program, source], cwd=self.place, check=True)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        found = self.home.environment | dict(more or {})
        found["PATH"] = f"{os.path.dirname(sys.executable)}:{found['PATH']}"
        return found | {"GOFLAGS": "-mod=mod", "GOCACHE": str(self.place / "cache"), "CGO_ENABLED": "0"}

    def here(self, text: str) -> str:
        """The same on this host: a free port for 8080, and the host's network where a container can have none."""
        if private_network_problem() is not None:
            text = text.replace("{8080: None}", '{8080: None}, network="host"')
            text = text.replace("-p 8080:8080", "--network host")
        return text.replace("8080", str(self.port))

    def run(
        self, command: str, *, typed: str | None = None, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command of a console; `typed` is what is typed on its terminal."""
        words = ["bash", "-e", "-o", "pipefail", "-c", command]
        terminal = [] if typed is None else [sys.executable, "-c", TERMINAL]
        done = subprocess.run(
            [*terminal, *words],
            cwd=self.place,
            env=self.environment(more),
            input=(typed or "").encode(),
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{(done.stdout + done.stderr).decode()}"
        return done

    def follow(self, text: str, *, more: Mapping[str, str] | None = None) -> None:
        """Run a console's commands one after the other; what it shows must be what they say."""
        for command, shown in steps(self.here(text)):
            typed = "exit\n" if re.search(r" -it |^rootless-scratch debug (?!.*--exec)", command) else None
            done = self.run(command, typed=typed, more=more)
            assert shown.strip() in ("", done.stdout.decode().strip()), command

    def python(self, text: str) -> bytes:
        return self.run(f"{shlex.quote(sys.executable)} -c {shlex.quote(self.here(text))}").stdout


@pytest.fixture(scope="module")
def readme_home() -> Iterator[Home]:
    """A home with the image `tool`, whose program is a static busybox."""
    home = Home(Path(tempfile.mkdtemp(prefix="rst-")))
    make_image(home, "tool", "/busybox")
    yield home
    home.remove()


@pytest.fixture
def stage(readme_home: Home, tmp_path: Path) -> Stage:
    found = Stage(readme_home, tmp_path)
    found.prepare()
    return found


def console(stage: Stage, text: str) -> None:
    stage.follow(text)


def python(stage: Stage, text: str) -> None:
    said = stage.python(f"cases = ['true', 'echo']\n{text}")
    assert said.decode().splitlines()[0] == "0 b'Hello World\\n'"


def suite(stage: Stage, text: str) -> None:
    (stage.place / "test_hello.py").write_text(text)
    said = stage.run(f"{shlex.quote(sys.executable)} -m pytest -q -p no:cacheprovider").stdout
    assert b"1 passed" in said


def workflow(stage: Stage, text: str) -> None:
    assert text.index("\non: ") < text.index("actions/checkout@") < text.index("- run: "), "it is a whole file"
    install, *commands = re.findall(r"^ +- run: (.+)$", text, re.MULTILINE)
    # What is there is this checkout, installed already.
    assert install == "pipx install ./rootless-scratch"
    assert [stage.run(command).stdout for command in commands][-1] == b"Hello World\n"


def a_file(stage: Stage, text: str) -> None:
    (stage.place / "scratch.toml").write_text(text)
    built = stage.run("rootless-scratch build --spec scratch.toml").stdout
    assert [line.split()[0] for line in built.splitlines()] == [b"server", b"hello"]


def by_a_file(stage: Stage, text: str) -> None:
    (stage.place / "scratch.toml").write_text(BLOCKS["A file in place of options: toml"])
    (stage.place / "Containerfile.bake").write_text('FROM scratch\nCOPY build/hello /\nENTRYPOINT ["/hello"]\n')
    (stage.place / "docker-bake.hcl").write_text('target "default" {\n  dockerfile = "Containerfile.bake"\n}\n')
    stage.follow(text)
    assert stage.run("rootless-scratch run shop/hello:2").stdout == b"Hello World\n"


def in_a_registry(stage: Stage, text: str) -> None:
    with registry(stage.place / "registry", password=True) as there:
        settings = stage.home.path / ".config/containers/registries.conf"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(f'[[registry]]\nlocation = "{there.host}"\ninsecure = true\n')
        # A password is typed on a terminal; skopeo takes it from words as well.
        login = f"skopeo login -u {USER} -p {PASSWORD} --tls-verify=false"
        try:
            stage.run("rootless-scratch build ./server -t shop:1")
            stage.follow(text.replace("skopeo login", login).replace("registry.example.com", there.host))
            listed = stage.run(f"skopeo list-tags docker://{there.host}/shop/server").stdout
        finally:
            settings.unlink()
    assert b'"1"' in listed
    assert b'"latest"' in listed
    assert (stage.place / "shop.tar").exists()


def an_error(stage: Stage, text: str) -> None:
    compile_, build = steps(text)
    stage.run(compile_.command)
    ours, *words = shlex.split(build.command)
    assert ours == "rootless-scratch"
    refused = stage.home.cli(*words, cwd=stage.place)
    assert refused.returncode == 1
    assert refused.stdout == b""
    assert refused.stderr.decode() == build.shown


def the_recipe(stage: Stage) -> None:
    (stage.place / "Dockerfile").write_text('FROM scratch\nCOPY helloworld /\nCMD ["helloworld"]\n')
    stage.run("gcc -o helloworld hello.c")


def a_dockerfile(stage: Stage, text: str) -> None:
    the_recipe(stage)
    (check,) = steps(text)
    checked = stage.home.cli(*shlex.split(check.command)[1:], cwd=stage.place)
    assert checked.returncode == 1
    assert (checked.stdout + checked.stderr).decode() == check.shown


def a_corrected_dockerfile(stage: Stage, text: str) -> None:
    the_recipe(stage)
    build, run = steps(text)
    built = stage.home.cli(*shlex.split(build.command)[1:], cwd=stage.place)
    assert built.returncode == 0, built.stderr.decode()
    *change, image_id = build.shown.splitlines()
    assert built.stderr.decode().splitlines()[: len(change)] == change
    assert len(built.stdout.decode().strip()) == len(image_id)
    assert stage.run(run.command).stdout.decode() == run.shown


def running(stage: Stage, text: str) -> None:
    stage.run("rootless-scratch build ./server -t server")
    try:
        stage.follow(text.replace("head -c 1G", "head -c 1M"))
        assert "web" in containers(stage.home)
        assert stage.run(f"curl -s http://127.0.0.1:{stage.port}").stdout == b"well\n"
    finally:
        podman(stage.home, "rm", "--force", "--time", "0", "web")


def watched(stage: Stage, text: str) -> None:
    (step,) = steps(stage.here(text))
    with watching(stage.home, *shlex.split(step.command)[2:], cwd=stage.place) as watcher:
        watcher.err("and started it")
        assert stage.run(f"curl -s http://127.0.0.1:{stage.port}").stdout == b"well\n"
        watcher.err("watching")
        source = stage.place / "server.c"
        source.write_text(source.read_text().replace("well", "good"))
        stage.compile("server.c", "server")
        watcher.err("server changed: built")
        assert stage.run(f"curl -s http://127.0.0.1:{stage.port}").stdout == b"good\n"


def debugging(stage: Stage, text: str) -> None:
    stage.run("rootless-scratch build ./server -t shop:1")
    stage.run(stage.here("rootless-scratch run -d --name web -p 8080:8080 shop:1"))
    try:
        stage.follow(text)
    finally:
        podman(stage.home, "rm", "--force", "--time", "0", "web")


def elsewhere(stage: Stage, text: str) -> None:
    with ExitStack() as stack:
        far = Home(Path(tempfile.mkdtemp(prefix="rst-")))
        stack.callback(far.remove)
        make_image(far, "tool", "/busybox")
        host = stack.enter_context(remote_host(far, stage.home))
        stack.enter_context(podman_service(far, host.socket))
        settings = stage.home.path / ".config/containers/containers.conf"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(f'[engine.service_destinations.builder]\nuri = "{host.url}"\n')
        stack.callback(settings.unlink)
        loop = "while :; do /busybox sleep 0.1; done"
        more = ["-d", "--name", "web", "--network", "none", "--url", host.url, "tool", "sh", "-c", loop]
        started = stage.home.cli("run", "-q", *more, environment=host.environment)
        assert started.returncode == 0, started.stderr
        stack.callback(podman, far, "rm", "--force", "--time", "0", "web")
        stage.follow(text.replace("ssh://me@builder.example.com", host.url), more=host.environment)
        assert host.wait_until_alone()


def scripts(_: Stage, text: str) -> None:
    """They would set this very checkout up anew: that they are there, and that the demo shows what is above."""
    for step in steps(text):
        assert os.access(SOURCE / shlex.split(step.command, comments=True)[0], os.X_OK)
    demo = (SOURCE / "scripts/demo").read_text()
    for step in steps(BLOCKS["rootless-scratch: console"]):
        assert f"show {step.command}\n" in demo


STORIES = {
    "rootless-scratch: console": console,
    "Try it: console": scripts,
    "Four ways to use it: console": console,
    "Four ways to use it: python": python,
    "Four ways to use it: python 2": suite,
    "Four ways to use it: yaml": workflow,
    "Four ways to use it: console 2": in_a_registry,
    "What an error looks like: console": an_error,
    "The Dockerfile that you have: console": a_dockerfile,
    "The Dockerfile that you have: console 2": a_corrected_dockerfile,
    "Programs that are not static: console": console,
    "Several platforms: console": console,
    "A file in place of options: toml": a_file,
    "A file in place of options: console": by_a_file,
    "A file in place of options: console 2": console,
    "While you write: console": watched,
    "What it will miss: console": console,
    "What it will miss: console 2": console,
    "Running it: console": running,
    "Running it: console 2": console,
    "Running it: console 3": elsewhere,
    "Looking inside: console": debugging,
}


def test_every_block_of_the_readme_has_its_story() -> None:
    assert set(BLOCKS) == set(STORIES)


def test_blocks_and_steps_are_found_as_they_stand() -> None:
    text = "# A\n```console\n$ one\ntwo\n# no heading\n$ three\n```\n## B\n```python\nx\n```\n```python\ny\n```\n"
    assert [block.name for block in blocks(text)] == ["A: console", "B: python", "B: python 2"]
    assert steps(next(blocks(text)).text) == [("one", "two\n# no heading\n"), ("three", "")]


@pytest.mark.podman
@pytest.mark.buildah
@pytest.mark.registry
@pytest.mark.compiler
@pytest.mark.parametrize("name", STORIES)
def test_a_block_of_the_readme_does_what_it_says(stage: Stage, name: str) -> None:
    STORIES[name](stage, BLOCKS[name])
