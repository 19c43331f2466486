"""What `generate` writes is taken by those that it is for, and the container answers at its port."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from containers import Home, podman
from hostile_layouts import Layout
from registries import free_port
from tars import END, packed, program
from unitfiles import arguments, sections

import rootless_scratch as rs
from rootless_scratch.host.cgroups import choose_runtime
from rootless_scratch.host.network import private_network_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.podman, pytest.mark.compiler]

GENERATOR = Path("/usr/libexec/podman/quadlet")
HOSTILE = "x\"\n[Service]\nExecStart=/bin/evil\n%h $HOME ${HOME} $(id) \\\n# '`\u2028\x85\x1b[2J\\"


@pytest.fixture
def web(fresh_home: Home, server: Path) -> Home:
    """A home with the image `web`, whose podman does what podman can do here without us."""
    files = ["--mkdir", "/data:uid=65532,gid=65532", "--volume", "/data", "--stop-signal", "TERM"]
    done = fresh_home.cli("build", "-q", str(server / "server"), "-t", "web", *files)
    assert done.returncode == 0, done.stderr
    runtime = choose_runtime().name
    lines = ["[engine]", 'cgroup_manager = "cgroupfs"', 'events_logger = "file"']
    lines += [f'runtime = "{runtime}"'] if runtime else []
    # Where a container cannot have a network of its own, it has the host's, and a port is what it listens on.
    lines += ["[containers]", 'netns = "host"'] if private_network_problem() else []
    settings = fresh_home.path / ".config/containers/containers.conf"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("\n".join(lines))
    return fresh_home


@pytest.fixture
def port() -> int:
    return free_port()


def published(port: int) -> tuple[list[str], list[str]]:
    """Options that bring the container's port to this one of the host, and the arguments of its program."""
    if private_network_problem():
        return [], [str(port)]
    return ["--publish", f"127.0.0.1:{port}:8080"], []


def answer(port: int) -> bytes:
    """What it answers, once it listens."""
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as found:
                content: bytes = found.read()
                return content
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def generated(home: Home, form: str, file: Path, *typed: str) -> str:
    """The file that `generate` writes, by the command line."""
    done = home.cli("generate", form, "web", "-o", str(file), *typed)
    assert done.returncode == 0, done.stderr
    return file.read_text()


def is_hardened(home: Home, name: str) -> bool:
    """Whether podman has started it as a `run` would."""
    (found,) = json.loads(home.run(["podman", "inspect", name]).stdout)
    return bool(
        found["HostConfig"]["ReadonlyRootfs"]
        and not found["EffectiveCaps"]
        and found["Config"]["User"] == "65532:65532"
        and "no-new-privileges" in found["HostConfig"]["SecurityOpt"]
    )


def test_podman_plays_the_deployment_and_the_container_answers(web: Home, port: int, tmp_path: Path) -> None:
    options, program_arguments = published(port)
    file = tmp_path / "web.yaml"
    generated(web, "kubernetes", file, *options, "--", *program_arguments)
    network = ["--network", "host"] if private_network_problem() else []
    web.run(["podman", "kube", "play", *network, str(file)])
    try:
        assert answer(port) == b"well\n"
        (name,) = (each for each in podman(web, "ps", "--format", "{{.Names}}") if "infra" not in each)
        assert is_hardened(web, name)
        (found,) = json.loads(web.run(["podman", "inspect", name]).stdout)
        # What is to be in memory is that from podman 5 on; before, it is a volume.
        mounted = {*(mount["Destination"] for mount in found["Mounts"]), *found["HostConfig"]["Tmpfs"]}
        assert mounted == {"/data", "/run", "/tmp", "/var/tmp"}
    finally:
        web.run(["podman", "kube", "down", str(file)], check=False)
    assert podman(web, "ps", "--all", "--quiet") == []


@contextmanager
def started(home: Home, argv: list[str], name: str) -> Iterator[None]:
    """A container that podman starts by these arguments."""
    home.run(argv)
    try:
        yield
    finally:
        home.run(["podman", "rm", "--force", name], check=False)


def test_systemd_takes_the_unit_and_its_command_starts_a_container_that_answers(
    web: Home, port: int, tmp_path: Path
) -> None:
    options, program_arguments = published(port)
    options += ["--health-cmd", "/server"]
    # Checks are timers of systemd, which is not here.
    web.environment["DISABLE_HC_SYSTEMD"] = "true"
    unit = tmp_path / "web.service"
    text = generated(web, "systemd", unit, *options, "--", *program_arguments)
    done = web.run(["systemd-analyze", "--user", "verify", str(unit)])
    assert (done.stdout, done.stderr) == (b"", b"")
    specifiers = {"%t": str(web.runtime), "%N": "web", "%n": "web.service"}
    service = sections(text)["Service"]
    commands = {key: arguments(value.removeprefix("-"), specifiers) for key, value in service if key[:4] == "Exec"}
    with started(web, commands["ExecStart"], "web"):
        assert answer(port) == b"well\n"
        assert is_hardened(web, "web")
        (found,) = json.loads(web.run(["podman", "inspect", "web"]).stdout)
        assert [(mount["Name"], mount["Destination"]) for mount in found["Mounts"]] == [("web-data", "/data")]
        assert found["Config"]["Healthcheck"]["Test"] == ["CMD", "/server"]
        web.run(commands["ExecStop"])
        web.run(commands["ExecStopPost"])
        assert podman(web, "ps", "--all", "--quiet") == []
        # What was killed leaves the file of its ID; it is no obstacle.
        web.run(commands["ExecStartPre"])
        web.run(commands["ExecStart"])
        assert answer(port) == b"well\n"


def test_the_generator_of_quadlet_makes_a_unit_that_starts_a_container_that_answers(
    web: Home, port: int, tmp_path: Path
) -> None:
    options, program_arguments = published(port)
    text = generated(web, "quadlet", tmp_path / "web.container", *options, "--", *program_arguments)
    if not GENERATOR.exists():
        # podman before 4.4, as on Debian 12: `scripts/hosts debian-13` comes here with one.
        assert b" 4.3." in web.run(["podman", "--version"]).stdout
        assert "Container" in sections(text)
        return
    made = quadlet(tmp_path)
    specifiers = {"%t": str(web.runtime), "%N": "web", "%n": "web.service"}
    (command,) = (value for key, value in sections(made)["Service"] if key == "ExecStart")
    # Groups of processes are delegated by systemd, which is not here.
    argv = [each for each in arguments(command, specifiers) if each != "--cgroups=split"]
    with started(web, argv, "web"):
        assert answer(port) == b"well\n"
        assert is_hardened(web, "web")


def quadlet(directory: Path) -> str:
    """What the generator makes of the only file of a directory."""
    done = subprocess.run(
        [GENERATOR, "-dryrun", "-user"],
        env=os.environ | {"QUADLET_UNIT_DIRS": str(directory)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "unsupported" in done.stderr) == (0, False), done.stderr
    return done.stdout.partition("---\n")[2]


def test_podman_compose_starts_a_container_that_answers(web: Home, port: int, tmp_path: Path) -> None:
    options, program_arguments = published(port)
    generated(web, "compose", tmp_path / "compose.yaml", *options, "--", *program_arguments)
    files = ["-f", str(tmp_path / "compose.yaml")]
    if private_network_problem():
        # It makes a network for each file unless one is named.
        (tmp_path / "host.yaml").write_text("services: {web: {network_mode: host}}\n")
        files += ["-f", str(tmp_path / "host.yaml")]
    compose = [sys.executable, "-m", "podman_compose", "--in-pod", "false", *files]
    web.run([*compose, "up", "--detach"])
    try:
        assert answer(port) == b"well\n"
        assert is_hardened(web, "web")
    finally:
        web.run([*compose, "down"], check=False)


@pytest.mark.buildah
def test_an_image_of_storage_has_its_name_and_its_user_by_number(python_home: Home, server: Path) -> None:
    image = rs.build(server / "server", tag="named:2", user="nonroot", essentials=["nonroot"])
    made = rs.generate("quadlet", image, env={"A": "b"})
    assert (made.image, made.name, made.notes) == ("localhost/named:2", "named", ())
    assert "\nUser=65532\nGroup=65532\n" in made.text
    done = python_home.cli("generate", "quadlet", "named:2", "-e", "A=b")
    assert (done.stdout.decode(), done.stderr) == (made.text, b"")
    assert python_home.cli("generate", "quadlet", image.image_id).stderr.startswith(b"note: An image ID is known")


@pytest.fixture
def hostile(tmp_path: Path) -> str:
    """An image whose description and health check want to be more than values."""
    layout = Layout(tmp_path / "hostile")
    health = {"Test": ["CMD", "/hello", HOSTILE, "; evil"]}
    labels = {"org.opencontainers.image.description": HOSTILE}
    layout.write([layout.image(packed(program() + END), Healthcheck=health, Labels=labels)])
    return f"oci:{layout.path}"


def test_systemd_reads_what_was_meant_whatever_stands_in_it(fresh_home: Home, hostile: str) -> None:
    text = rs.generate("systemd", hostile, (HOSTILE, ";"), name="web", env={"A": HOSTILE}).text
    directory = fresh_home.path / ".config/systemd/user"
    directory.mkdir(parents=True)
    (directory / "web.service").write_text(text)
    fresh_home.run(["systemd-analyze", "--user", "verify", str(directory / "web.service")])
    specifiers = {"%t": str(fresh_home.runtime), "%N": "web", "%n": "web.service"}
    (command,) = (value for key, value in sections(text)["Service"] if key == "ExecStart")
    meant = arguments(command, specifiers)
    assert {HOSTILE, f"A={HOSTILE}", ";"} <= set(meant)
    assert loaded(fresh_home) == meant


def loaded(home: Home) -> list[str]:
    """The arguments of ExecStart= as systemd has them in mind, variables not yet expanded."""
    systemd = next(path for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if os.path.exists(path))
    done = home.run([systemd, "--user", "--test", "--unit=web.service", "--log-target=console"], check=False)
    (dump,) = (
        each for each in re.split("(?:->|→) Unit ", done.stdout.decode()) if each.startswith("web.service:")
    )
    (line,) = re.findall(r"(?:->|→) ExecStart:\n\s*Command Line: (.*)\n", dump)
    # It writes them for a shell: octal digits in place of \x, and a backslash before what a shell would expand.
    octal = re.sub(r"\\([0-7]{3})", lambda match: f"\\x{int(match[1], 8):02x}", line)
    assert "$" not in octal.replace("\\$\\$", "")
    return [found.replace("\0", "") for found in arguments(octal.replace("\\$\\$", "$$").replace("%", "%%"))]


def test_podman_compose_reads_what_was_meant_whatever_stands_in_it(hostile: str, tmp_path: Path) -> None:
    text = rs.generate("compose", hostile, (HOSTILE,), env={"A": HOSTILE}).text
    (tmp_path / "compose.yaml").write_text(text)
    config = [sys.executable, "-m", "podman_compose", "-f", "compose.yaml", "config"]
    done = subprocess.run(config, cwd=tmp_path, capture_output=True, timeout=60, check=True)
    (service,) = yaml.safe_load(done.stdout)["services"].values()
    assert service["command"] == [HOSTILE]
    assert service["environment"] in ([f"A={HOSTILE}"], {"A": HOSTILE})
    assert service["healthcheck"]["test"] == ["CMD", "/hello", HOSTILE, "; evil"]


def test_the_generator_of_quadlet_reads_what_was_meant_whatever_stands_in_it(hostile: str, tmp_path: Path) -> None:
    directory = tmp_path / "units"
    directory.mkdir()
    made = rs.generate("quadlet", hostile, (HOSTILE,), name="web", env={"A": HOSTILE})
    (directory / "web.container").write_text(made.text)
    text = quadlet(directory) if GENERATOR.exists() else made.text
    key, section = ("ExecStart", "Service") if GENERATOR.exists() else ("Exec", "Container")
    values = [value for name, value in sections(text)[section] if name == key]
    assert HOSTILE in arguments(values[0], {"%t": "/run", "%N": "web"})
    assert shutil.which("evil") is None
    assert len(values) == 1
