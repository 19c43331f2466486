"""The job files of docs/ci, each step as it stands: with its platform's variables, a registry, and a clean home.

What belongs to somebody else (a registry's address, the wheel of a release) is put in the place of its name. The
pods, runners and secrets of the platforms are not here: steps in an image run in that image, as confined as the
file says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import SOURCE, Home
from jobs import FILES, JOBS, Step, steps_of
from jsonschema import validate
from own_images import NO_NAMESPACES
from registries import PASSWORD, USER, registry
from wheels import write_wheels

from rootless_scratch import __version__
from rootless_scratch.host.cgroups import choose_runtime
from rootless_scratch.host.network import private_network_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from registries import Registry

pytestmark = [pytest.mark.buildah, pytest.mark.podman, pytest.mark.registry]

OWN = f"registry.example.com/rootless-scratch:{__version__}"
OTHERS = ("registry.example.com", "image-registry.openshift-image-registry.svc:5000")
WORSE = SOURCE / "tests/worse_host.py"
DOCKERFILE = 'FROM scratch\nCOPY hello /hello\nENTRYPOINT ["/hello"]\n'


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of the package; those of what it needs lie beside it."""
    return write_wheels(tmp_path_factory.mktemp("jobs") / "wheels")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("jobs") / "registry", password=True, tls=True) as started:
        yield started


class Runner:
    """A host for jobs: the home of its user, the directory of a project, and what its platform hands on."""

    def __init__(self, home: Home, project: Path, registry: Registry, wheel: Path) -> None:
        self.home, self.project, self.registry, self.wheel = home, project, registry, wheel
        self.prefix: tuple[str, ...] = ()
        self.settings = home.path / ".config/containers"
        self.certificates = str(self.settings / "certs.d" / registry.host)
        project.mkdir()
        shutil.copy(SOURCE / "docs/hello.c", project)
        (project / "Dockerfile").write_text(DOCKERFILE)
        self._configure()
        # Nothing of the tests: neither their Python nor their packages.
        python = os.path.dirname(os.path.realpath(sys.executable))
        self.environment = {
            "PATH": f"{home.path}/.local/bin:{python}:/usr/local/bin:/usr/bin:/bin",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheel.parent),
            **{name: home.environment[name] for name in ("HOME", "XDG_RUNTIME_DIR", "TMPDIR")},
        }

    def _configure(self) -> None:
        """What this host's administrator has set: the registry's authority, and what podman cannot do here."""
        trusted = self.settings / "certs.d" / self.registry.host
        trusted.mkdir(parents=True)
        assert self.registry.authority is not None
        shutil.copy(self.registry.authority, trusted / "ca.crt")
        runtime = choose_runtime().name
        lines = [*(("[engine]", f'runtime = "{runtime}"') if runtime else ())]
        if private_network_problem() is not None:
            lines += ["[containers]", 'netns = "host"']
        (self.settings / "containers.conf").write_text("\n".join((*lines, "")))

    def here(self, text: str) -> str:
        """The same on this host."""
        text = text.replace(OWN, "localhost/own:latest")
        for other in OTHERS:
            text = text.replace(other, self.registry.host)
        return text

    def logins(self, path: Path) -> Path:
        """A file of logins, as a platform's secret is."""
        words = ["skopeo", "login", "--authfile", str(path), "-u", USER, "-p", PASSWORD, self.registry.host]
        self.home.run([*words, "--cert-dir", self.certificates])
        return path

    def call(
        self,
        step: Step,
        variables: Mapping[str, str],
        *arguments: str,
        by: str = "bash",
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a step on this host."""
        # A variable of the file may be made of the platform's.
        given = {
            name: re.sub(r"\$(\w+)", lambda found: variables[found[1]], value) for name, value in step.env.items()
        }
        if "ROOTLESS_SCRATCH" in given:
            assert given["ROOTLESS_SCRATCH"].startswith("git+https://git.example.com/")
            given["ROOTLESS_SCRATCH"] = str(self.wheel)
        script = self.home.path / "step.sh"
        script.write_text(self.here(step.script))
        done = subprocess.run(
            [*self.prefix, by, "-e", str(script), *arguments],
            env=self.environment | dict(variables) | given,
            cwd=cwd or self.project,
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (step.script, done.stdout.decode(), done.stderr.decode())
        return done

    def call_inside(
        self, step: Step, variables: Mapping[str, str], *, user: str | None = None, mountpoint: str = "/work"
    ) -> None:
        """Run a step in the image of rootless-scratch, as confined as a pod, on the network of this registry.

        The project is mounted at `mountpoint`.
        """
        assert step.image == OWN
        filtered = self.home.path / "filter.json"
        filtered.write_text(json.dumps(NO_NAMESPACES))
        given = {name: self.here(value) for name, value in step.env.items()} | dict(variables)
        words = [word for name, value in given.items() for word in ("--env", f"{name}={value}")]
        words += ["--volume", f"{self.project}:{mountpoint}", "--volume", f"{self.home.path}/secrets:/auth:ro"]
        words += ["--volume", f"{self.settings}/certs.d:/etc/containers/certs.d:ro"]
        words += ["--seccomp", str(filtered)] if step.hardened or user else []
        chosen = user or step.user
        words += ["--user", f"{chosen}:0" if chosen else "0"]
        done = self.home.cli(
            *("run", "-q", "--network", "host", *words, "--entrypoint", '["sh", "-ec"]'),
            *("own", self.here(step.script)),
        )
        assert done.returncode == 0, (step.script, done.stdout.decode(), done.stderr.decode())

    def compile(self) -> None:
        subprocess.run(["gcc", "-static", "-o", "hello", "hello.c"], cwd=self.project, check=True)

    def pushed(self, name: str) -> None:
        """What lies in the registry runs, pulled by whoever has the login."""
        home = self.home
        logins = self.logins(home.path / "pulling.json")
        words = ("run", "-q", "--pull", "always", "--authfile", str(logins), f"{self.registry.host}/{name}")
        done = home.cli(*words[:-1], "--cert-dir", self.certificates, words[-1])
        assert (done.returncode, done.stdout) == (0, b"Hello World\n"), done.stderr


@pytest.fixture
def runner(fresh_home: Home, tmp_path: Path, secured: Registry, wheel: Path) -> Runner:
    """A host on which no job has run yet."""
    return Runner(fresh_home, tmp_path / "project", secured, wheel)


@pytest.fixture
def pod(shared_home: Home, own: Path, tmp_path: Path, secured: Registry, wheel: Path) -> Iterator[Runner]:
    """A host that has the image of rootless-scratch; a program, and a secret with the registry's login."""
    assert own.is_dir()
    made = Runner(shared_home, tmp_path / "project", secured, wheel)
    made.compile()
    (shared_home.path / "secrets").mkdir()
    made.logins(shared_home.path / "secrets/.dockerconfigjson").chmod(0o644)
    yield made
    shutil.rmtree(shared_home.path / "secrets")
    shutil.rmtree(made.settings / "certs.d")
    (made.settings / "containers.conf").unlink()


def gitlab(runner: Runner, **more: str) -> dict[str, str]:
    """The predefined variables of a GitLab job."""
    return {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_PROJECT_DIR": str(runner.project),
        "CI_REGISTRY": runner.registry.host,
        "CI_REGISTRY_IMAGE": f"{runner.registry.host}/team/gitlab",
        "CI_REGISTRY_USER": USER,
        "CI_REGISTRY_PASSWORD": PASSWORD,
        **more,
    }


def github(runner: Runner) -> dict[str, str]:
    """The default variables of GitHub Actions."""
    return {
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(runner.project),
        "GITHUB_REPOSITORY": "team/hello",
        "GITHUB_REF_NAME": "main",
        "RUNNER_TEMP": str(runner.home.temporary),
        "RUNNER_OS": "Linux",
    }


def test_the_shell_executor_of_gitlab_builds_runs_and_pushes(runner: Runner) -> None:
    work, after = steps_of("gitlab-shell.yml")
    variables = gitlab(runner, CI_COMMIT_SHORT_SHA="5e11aaaa")
    done = runner.call(work, variables)
    assert b"Hello World\n" in done.stdout
    assert (runner.project / ".auth.json").exists()
    runner.call(after, variables)
    assert not (runner.project / ".auth.json").exists()
    runner.pushed("team/gitlab:5e11aaaa")


def test_the_docker_executor_of_gitlab_compiles_and_pushes_from_the_image(pod: Runner) -> None:
    compiling, building = steps_of("gitlab-docker.yml")
    assert compiling.image == "gcc:14"
    (pod.project / "hello").unlink()
    pod.call(compiling, gitlab(pod), by="sh")
    pod.call_inside(building, gitlab(pod, CI_COMMIT_SHORT_SHA="d0cce4") | {"REGISTRY_AUTH_FILE": "/tmp/auth.json"})
    pod.pushed("team/gitlab:d0cce4")


def test_the_kubernetes_executor_of_gitlab_pushes_as_a_user_without_rights(pod: Runner) -> None:
    (building,) = steps_of("gitlab-kubernetes.yml")
    assert "run_as_user = 10001" in (FILES / "gitlab-kubernetes.yml").read_text()
    pod.call_inside(building, gitlab(pod, CI_COMMIT_SHORT_SHA="8e5"), user="10001")
    pod.pushed("team/gitlab:8e5")


def test_github_actions_build_and_run(runner: Runner) -> None:
    said = [runner.call(step, github(runner)).stdout for step in steps_of("github.yml")]
    assert said[-1] == b"Hello World\n"


def test_github_gets_findings_as_sarif(runner: Runner) -> None:
    runner.compile()
    for step in steps_of("check-github.yml"):
        runner.call(step, github(runner))
    report = json.loads((runner.project / "findings.sarif").read_text())
    validate(report, json.loads((SOURCE / "tests/schemas/sarif-2.1.0-rtm.4.json").read_text()))
    assert report["runs"][0]["tool"]["driver"]["name"] == "rootless-scratch"


def test_gitlab_gets_findings_as_a_report_of_code_quality(runner: Runner) -> None:
    (checking,) = steps_of("check-gitlab.yml")
    runner.compile()
    # The Python of its image is the job's own.
    subprocess.run(["python3", "-m", "venv", runner.home.path / ".local"], env=runner.environment, check=True)
    runner.call(checking, gitlab(runner))
    report = json.loads((runner.project / "findings.json").read_text())
    validate(report, json.loads((SOURCE / "tests/schemas/gitlab-code-quality.json").read_text()))


def test_jenkins_pushes_with_its_credential(pod: Runner) -> None:
    (pushing,) = steps_of("jenkins.groovy")
    variables = {"JENKINS_URL": "https://jenkins.example.com/", "BUILD_NUMBER": "7"}
    # What withCredentials sets.
    pod.call_inside(pushing, variables | {"REGISTRY_AUTH_FILE": "/auth/.dockerconfigjson"})
    pod.pushed("team/hello:7")


def test_tekton_pushes_and_tells_the_digest(pod: Runner) -> None:
    (building,) = steps_of("tekton.yml")
    pod.call_inside(building, {})
    pod.pushed("team/hello:latest")
    told = (pod.project / "digest").read_text().strip()
    logins = pod.logins(pod.home.path / "seeing.json")
    words = ["skopeo", "inspect", "--authfile", str(logins), "--cert-dir", pod.certificates]
    seen = pod.home.run([*words, f"docker://{pod.registry.host}/team/hello:latest"])
    assert json.loads(seen.stdout)["Digest"] == told


def test_openshift_pushes_as_a_user_id_that_nobody_knows(pod: Runner) -> None:
    (building,) = steps_of("openshift.yml")
    pod.call_inside(building, {}, user="54321", mountpoint="/programs")
    pod.pushed("team/hello:1")


def on_worse_host(runner: Runner, script: str = "", **settings: object) -> tuple[str, ...]:
    """What is called behind it is called on a host of which root has made that: tests/worse_host.py."""
    directory, out = runner.home.path / "root", runner.project
    directory.mkdir(exist_ok=True)
    wanted = {"directory": str(directory), "out": str(out), "script": script, "needs": [], **settings}
    return (sys.executable, str(WORSE), json.dumps(wanted))


def test_a_hardened_host_builds_judges_and_pushes(runner: Runner) -> None:
    (script,) = steps_of("hardened.sh")
    runner.compile()
    installed = runner.home.path / "venv"
    subprocess.run(["python3", "-m", "venv", installed], env=runner.environment, check=True)
    pip = [str(installed / "bin/pip"), "install", "--quiet", str(runner.wheel)]
    subprocess.run(pip, env=runner.environment, check=True, capture_output=True)
    runner.environment["PATH"] = f"{installed}/bin:{runner.environment['PATH']}"
    logins = runner.logins(runner.home.path / "logins.json")
    runner.prefix = on_worse_host(runner, "echo 0 > /proc/sys/user/max_user_namespaces")
    runner.call(script, {"REGISTRY_AUTH_FILE": str(logins)}, by="sh")
    assert "user.max_user_namespaces=28633" in (runner.project / "repair.sh").read_text()
    runner.prefix = ()
    runner.pushed("team/hello:1")


def test_a_host_without_a_network_gets_all_of_it_as_files(runner: Runner) -> None:
    (script,) = steps_of("air-gapped.sh")
    # The checkout, set up as scripts/setup leaves it.
    checkout = runner.home.path / "checkout"
    checkout.mkdir()
    for name in ("scripts", "rootless_scratch", "docs", "Containerfile.in", "pyproject.toml"):
        (shutil.copytree if (SOURCE / name).is_dir() else shutil.copy)(SOURCE / name, checkout / name)
    subprocess.run(["python3", "-m", "venv", checkout / ".venv"], env=runner.environment, check=True)
    pip = [str(checkout / ".venv/bin/pip"), "install", "--quiet", str(runner.wheel)]
    subprocess.run(pip, env=runner.environment, check=True, capture_output=True)
    digest = subprocess.run(["sha256sum", checkout / "pyproject.toml"], capture_output=True, check=True, text=True)
    (checkout / ".venv/.made-from").write_text(f"{digest.stdout.split()[0]} \n")
    runner.call(script, {"ROOTLESS_SCRATCH": str(runner.wheel)}, "connected", by="sh", cwd=checkout)
    runner.compile()
    (checkout / "transfer").rename(runner.project / "transfer")
    assert (runner.project / "transfer/rootless-scratch.tar").exists()
    del runner.environment["PIP_FIND_LINKS"]
    runner.prefix = on_worse_host(runner, network=False)
    done = runner.call(script, {}, "isolated", by="sh")
    assert done.stdout.endswith(b"Hello World\n")
    runner.prefix = ()
    runner.home.run(["podman", "load", "--quiet", "--input", str(runner.project / "hello.tar")])
    assert runner.home.cli("run", "-q", "hello").stdout == b"Hello World\n"


def test_inside_podman_a_container_builds_what_the_host_loads(pod: Runner) -> None:
    (script,) = steps_of("container.sh")
    pod.call(script, {}, by="sh")
    ran = pod.home.cli("run", "-q", "hello")
    assert (ran.returncode, ran.stdout) == (0, b"Hello World\n"), ran.stderr


def test_no_job_file_is_left_out() -> None:
    tested = (SOURCE / "tests/whole/test_job_files_real.py").read_text()
    assert {path.name for path in JOBS} == set(re.findall(r'steps_of\("([\w.-]+)"\)', tested))
