"""The image of rootless-scratch itself: the same each time, and what it builds without rights runs on the host."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from own_images import NO_NAMESPACES, build_own
from registries import registry

from rootless_scratch.host.cgroups import choose_runtime

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from conftest import Home

pytestmark = [pytest.mark.buildah, pytest.mark.podman]


@pytest.fixture
def job(shared_home: Home, own: Path, hello: Path, tmp_path: Path) -> Path:
    """The directory of a job, with a program, and the filter of its pod."""
    assert own.is_dir()
    assert shared_home.path.is_dir()
    place = tmp_path / "job"
    place.mkdir()
    shutil.copy(hello, place / "hello")
    (tmp_path / "filter.json").write_text(json.dumps(NO_NAMESPACES))
    return place


def test_it_is_the_same_each_time(shared_home: Home, own: Path, tmp_path: Path) -> None:
    build_own(shared_home.environment, "-o", f"oci:{tmp_path}/again")
    assert (tmp_path / "again/index.json").read_bytes() == (own / "index.json").read_bytes()


@pytest.mark.parametrize("pod", ["", "--user 10001:10001 --seccomp {filter}"], ids=["container", "hardened-pod"])
def test_what_it_builds_in_a_container_runs_on_the_host(
    shared_home: Home, job: Path, tmp_path: Path, pod: str
) -> None:
    options = pod.format(filter=tmp_path / "filter.json").split()

    def called(*words: str) -> subprocess.CompletedProcess[bytes]:
        # Hardened as every run: no capability, no new privileges, a read-only root.
        return shared_home.cli(
            "run", "-q", *options, "--network", "none", "--volume", f"{job}:/work", "own", *words
        )

    built = called("build", "hello", "-o", "oci:image", "-o", "docker-archive:image.tar:made-inside", "--json")
    assert built.returncode == 0, built.stderr
    image_id = json.loads(built.stdout)["image_id"]
    checked = called("check", "oci:image")
    assert (checked.returncode, checked.stdout) == (0, b"oci:image: starts\n")
    assert json.loads(called("inspect", "oci:image", "--json").stdout)["image_id"] == image_id
    assert called("doctor", "--for", "build-direct").returncode == 0
    assert called("doctor", "--for", "push").returncode == 0
    refused = called("build", "hello", "-t", "named")
    assert refused.returncode == 1
    assert b"buildah is not installed" in refused.stderr
    assert b"`-o oci-archive:named.tar`" in refused.stderr
    # The files are the user's own.
    shared_home.run(["podman", "load", "--quiet", "--input", str(job / "image.tar")])
    done = shared_home.cli("run", "-q", "made-inside")
    assert (done.returncode, done.stdout) == (0, b"Hello World\n"), done.stderr


@pytest.mark.registry
def test_it_pushes_and_has_a_shell_for_the_lines_of_a_job(shared_home: Home, job: Path, tmp_path: Path) -> None:
    with registry(tmp_path / "registry") as host:
        destination = f"docker://localhost:{host.port}/made:1"
        script = f"rootless-scratch build hello -o oci:image && rootless-scratch push oci:image {destination} "
        script += f"--tls-verify false && rootless-scratch build hello -o {destination} --tls-verify false"
        words = ("--network", "host", "--volume", f"{job}:/work", "--entrypoint", '["sh", "-ec"]', "own", script)
        done = shared_home.cli("run", "-q", *words)
        assert done.returncode == 0, done.stderr
        seen = shared_home.run(["skopeo", "inspect", "--tls-verify=false", destination])
        assert json.loads(seen.stdout)["Os"] == "linux"


BAKED = """
[image.all]
name = "s-${n}"
tag = "localhost:${PORT}/shop/s-${n}:1"
programs = ["hello"]
env = {N = "${n}"}
matrix = {n = ["0", "1", "2", "3"]}
"""


@pytest.mark.registry
def test_a_pod_of_the_job_for_kubernetes_makes_its_share(shared_home: Home, job: Path, tmp_path: Path) -> None:
    """podman plays what the Job's controller makes of its template for one index."""
    (job / "scratch.toml").write_text(BAKED)
    volume, name, runtime = "shop-sources", "bake-1", choose_runtime().name
    podman = ["podman", *(("--runtime", runtime) if runtime else ()), "--cgroup-manager=cgroupfs"]
    podman.append("--events-backend=file")
    shared_home.run([*podman, "volume", "create", volume])
    shown = shared_home.run([*podman, "volume", "inspect", "--format", "{{.Mountpoint}}", volume])
    shutil.copytree(job, shown.stdout.decode().strip(), dirs_exist_ok=True)
    with registry(tmp_path / "registry") as host:
        words = ["--push", "--tls-verify=false", "--set", f"PORT={host.port}", "--executor", "kubernetes"]
        for each in (f"sources={volume}", "image=localhost/own:latest", "shards=2"):
            words += ["--kubernetes", each]
        template = shared_home.json("bake", *words, cwd=job)["job"]["spec"]["template"]
        (container,) = template["spec"]["containers"]
        container["env"].append({"name": "JOB_COMPLETION_INDEX", "value": "1"})
        if not json.loads(shared_home.cli("doctor", "--json").stdout)["operations"]["limits"]["works"]:
            # Where nobody has delegated control groups to this user, no engine can enforce them.
            del container["resources"]
        container["args"] = [each.replace("$(JOB_COMPLETION_INDEX)", "1") for each in container["args"]]
        pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": name, **template["metadata"]}}
        (tmp_path / "pod.yaml").write_text(json.dumps(pod))
        shared_home.run([*podman, "kube", "play", "--network", "host", str(tmp_path / "pod.yaml")])
        try:
            waited = shared_home.run([*podman, "wait", f"{name}-bake"])
            logs = shared_home.run([*podman, "logs", f"{name}-bake"])
            assert waited.stdout == b"0\n", logs.stderr
            image_ids = dict(line.split() for line in logs.stdout.decode().splitlines())
        finally:
            shared_home.run([*podman, "kube", "down", str(tmp_path / "pod.yaml")], check=False)
            shared_home.run([*podman, "volume", "rm", "--force", volume])
        assert list(image_ids) == ["s-1", "s-3"]
        for number in range(4):
            found = host.manifest(f"shop/s-{number}", "1")
            if number % 2:
                assert found is not None
                assert json.loads(found)["config"]["digest"] == f"sha256:{image_ids[f's-{number}']}"
            else:
                assert found is None
