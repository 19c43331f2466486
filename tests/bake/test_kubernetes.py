"""A team has a Kubernetes cluster make its images: it takes the Job, whose shards make all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import tinyelf
import yaml
from planning import refusal
from registries import registry

import rootless_scratch as rs
from rootless_scratch.errors import UsageError

if TYPE_CHECKING:
    from conftest import Home

SCHEMA = json.loads((Path(__file__).parents[1] / "schemas/kubernetes-job-1.33.json").read_text())

FILE = """
[variables]
REGISTRY = "registry.example.com/shop"
VERSION = "1"

[image.all]
name = "s-${n}"
tag = "${REGISTRY}/s-${n}:${VERSION}"
programs = ["server"]
env = {N = "${n}", PRICE = "$(5)"}
matrix = {n = ["0", "1", "2", "3", "4", "5", "6"]}
"""

CACHE = "docker://registry.example.com/shop/layers"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    tinyelf.write(tmp_path / "server")
    (tmp_path / "scratch.toml").write_text(FILE)
    return tmp_path


def job_of(home: Home, shop: Path, *words: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """The Job that is printed, read by a YAML of others and held to the schema of the API."""
    words = ("bake", *words, "--executor", "kubernetes")
    done = home.cli(*words, cwd=shop, environment=environment)
    assert done.returncode == 0, done.stderr
    job: dict[str, Any] = yaml.safe_load(done.stdout)
    jsonschema.validate(job, SCHEMA)
    assert home.json(*words, cwd=shop, environment=environment)["job"] == job
    return job


def container_of(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return dict(container)


EVERYTHING = (
    "image=registry.example.com/tools/rootless-scratch:0.2",
    "sources=shop-sources",
    "path=deploy/images",
    "shards=5",
    "parallelism=2",
    "name=bake-shop",
    "namespace=builds",
    "secret=registry-login",
    "certificates=registry-ca",
    "cpu=1500m",
    "memory=1Gi",
    "disk=8Gi",
)


def test_the_job_is_one_that_kubernetes_takes_and_hardened_as_its_strictest_standard_asks(
    shared_home: Home, shop: Path
) -> None:
    options = [word for each in EVERYTHING for word in ("--kubernetes", each)]
    job = job_of(shared_home, shop, "--push", *options)
    spec, pod, container = job["spec"], job["spec"]["template"]["spec"], container_of(job)
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 5, 2)
    assert job["metadata"]["namespace"] == "builds"
    # Pod Security Standards, "restricted".
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} == {
        "persistentVolumeClaim",
        "emptyDir",
        "secret",
        "configMap",
    }
    assert container["resources"]["requests"] == {"cpu": "1500m", "memory": "1Gi", "ephemeral-storage": "8Gi"}
    assert {mount["name"]: mount.get("readOnly", False) for mount in container["volumeMounts"]} == {
        "sources": True,
        "temporary": False,
        "logins": True,
        "certificates": True,
    }
    assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}
    words = container["args"]
    assert words[words.index("--jobs") + 1] == "2"
    assert words[words.index("--cert-dir") + 1] == "/run/certificates"


def test_what_this_call_says_is_what_the_pods_are_told(shared_home: Home, shop: Path) -> None:
    (shop / "images").mkdir()
    (shop / "scratch.toml").rename(shop / "images/scratch.toml")
    words = ["images/scratch.toml", "s-1", "s-2", "--set", "s-1.env.COST=$(A)$$B", "--push", "--no-check"]
    job = job_of(
        shared_home,
        shop,
        *words,
        *("--compress", "zstd", "--tls-verify=false", "--kubernetes", "sources=shop"),
        *("--cache-from", CACHE, "--cache-to", CACHE),
        environment={"VERSION": "7", "PATHS": "no", "SOURCE_DATE_EPOCH": "5"},
    )
    assert container_of(job)["args"] == [
        *("bake", "--file", "images/scratch.toml", "--set", "s-1.env.COST=$$(A)$$$$B", "--set", "VERSION=7"),
        *("--cache-from", CACHE, "--cache-to", CACHE),
        *("--push", "--no-check", "--compress", "zstd", "--jobs", "1", "--tls-verify=false"),
        *("--retries", "3", "--format", "auto", "s-1", "s-2", "--shard", "$(JOB_COMPLETION_INDEX)/2"),
    ]
    assert {"name": "SOURCE_DATE_EPOCH", "value": "5"} in container_of(job)["env"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--push"], "sources=CLAIM"),
        (["--kubernetes", "sources=a"], "--push"),
        (["--push", "--kubernetes", "sources=A B"], "sources=sources"),
        (["--push", "--kubernetes", "colour=red"], "shards"),
        (["--push", "--kubernetes", "sources=a", "--kubernetes", "shards=0"], "shards=8"),
        (["--push", "--kubernetes", "sources=a", "--kubernetes", "path=../x"], "path=shop/images"),
        (["--push", "--kubernetes", "sources=a", "--kubernetes", "memory=much"], "memory=512Mi"),
        (["--push", "--kubernetes", "sources=a", "--authfile", "scratch.toml"], "secret=NAME"),
        (["--push", "--kubernetes", "sources=a", "--shard", "0/2"], "--shard"),
        (["--kubernetes", "sources=a", "-o", "oci:out"], "registries"),
        (["--push", "--kubernetes", "sources=a", "s-1", "--set", "s-1.sbom=spdx"], "gone with the pod"),
        (["--kubernetes", "sources=a", "--check"], "--check"),
        (["--push", "--load", "--kubernetes", "sources=a"], "registries"),
        (["--push", "--kubernetes", "sources=a", "--cache-to", "oci:layers"], "docker://HOST/NAME[:TAG]"),
        (["--push", "--kubernetes", "sources=a", "--compress", "none", "--cache-from", CACHE], "compressed"),
    ],
)
def test_what_no_pod_could_do_is_usage(shared_home: Home, shop: Path, words: list[str], told: str) -> None:
    done = shared_home.cli("bake", "--executor", "kubernetes", *words, cwd=shop)
    assert (done.returncode, done.stdout) == (2, b"")
    assert told in done.stderr.decode()


def test_a_file_that_the_volume_does_not_have_and_an_option_of_another_executor_are_usage(
    shared_home: Home, shop: Path
) -> None:
    words = ["bake", "--push", "--executor", "kubernetes", "--kubernetes", "sources=a"]
    assert b"working directory" in shared_home.cli(*words, str(shop / "scratch.toml"), cwd=shop).stderr
    done = shared_home.cli("bake", "--push", "--kubernetes", "sources=a", cwd=shop)
    assert done.returncode == 2
    assert b"--executor kubernetes" in done.stderr


def test_a_bake_file_is_not_for_pods(shared_home: Home, tmp_path: Path) -> None:
    bakes = {"target": {"default": {"tags": ["registry.example.com/x:1"]}}}
    (tmp_path / "docker-bake.json").write_text(json.dumps(bakes))
    words = ["bake", "--push", "--executor", "kubernetes", "--kubernetes", "sources=a"]
    done = shared_home.cli(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"scratch.toml" in done.stderr


def test_in_python_a_job_is_not_what_makes_images(shop: Path) -> None:
    error = refusal(
        lambda: rs.bake(shop / "scratch.toml", output=f"oci:{shop}/out", executor="kubernetes"), UsageError
    )
    assert "kubectl apply" in error.fix
    baked = rs.bake(shop / "scratch.toml", output=f"oci:{shop}/out", shard="1/3")
    assert list(baked.images) == ["s-1", "s-4"]


@pytest.mark.parametrize("shard", ["3/3", "1", "-1/3", "0/0", "1/2/3", "a/b", ""])
def test_what_is_no_share_is_usage(shared_home: Home, shop: Path, shard: str) -> None:
    done = shared_home.cli("bake", "-o", "oci:out", f"--shard={shard}", cwd=shop)
    assert done.returncode == 2
    assert b"0/4" in done.stderr
    assert not (shop / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 9])
def test_shards_in_processes_of_their_own_make_all_images_once(shared_home: Home, shop: Path, count: int) -> None:
    """Nine shards of seven images: two of them have nothing to do, and say so by doing it."""
    calls = [
        subprocess.Popen(
            [sys.executable, "-m", "rootless_scratch", "bake", "-o", "oci:out", "--shard", f"{number}/{count}"],
            env=shared_home.environment,
            cwd=shop,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for number in range(count)
    ]
    lines = [line for call in calls for line in call.communicate()[0].decode().splitlines()]
    assert [call.returncode for call in calls] == [0] * count
    whole = shared_home.cli("bake", "-o", "oci:whole", cwd=shop)
    assert sorted(lines) == sorted(whole.stdout.decode().splitlines())
    indexes = [json.loads((shop / name / "index.json").read_text())["manifests"] for name in ("out", "whole")]
    assert sorted(map(str, indexes[0])) == sorted(map(str, indexes[1]))
    assert len(indexes[0]) == 7


@pytest.mark.registry
def test_the_very_arguments_of_the_pods_push_all_images(shared_home: Home, shop: Path, tmp_path: Path) -> None:
    with registry(tmp_path / "registry") as at:
        words = ["--push", "--set", f"REGISTRY={at.host}/shop", "--tls-verify=false"]
        job = job_of(shared_home, shop, *words, "--kubernetes", "sources=a", "--kubernetes", "shards=3")
        for number in range(3):
            done = shared_home.cli(*arguments_of(job, number), cwd=shop)
            assert done.returncode == 0, done.stderr
        for number in range(7):
            assert at.manifest(f"shop/s-{number}", "1") is not None


def arguments_of(job: dict[str, Any], number: int) -> list[str]:
    """The arguments of a pod, as kubelet has them: `$(NAME)` is a variable, and `$$` a dollar."""
    parts = [each.split("$$") for each in container_of(job)["args"]]
    return ["$".join(each.replace("$(JOB_COMPLETION_INDEX)", str(number)) for each in part) for part in parts]
