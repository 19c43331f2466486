"""Registries that know no media types of OCI: what they get, what is said of it, and that others can pull it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from planning import refusal
from registries import Trouble, proxy

import rootless_scratch as rs
from rootless_scratch.errors import RegistryError, UsageError
from rootless_scratch.image.oci import INDEX, MANIFEST
from rootless_scratch.ship.docker_types import LIST_V2, MANIFEST_V2

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home
    from registries import Answer, Registry

pytestmark = pytest.mark.registry


def answer(status: int, code: str = "", message: str = "") -> Answer:
    body = json.dumps({"errors": [{"code": code, "message": message}]}) if code else "<html>no</html>"
    return status, {}, body.encode()


REFUSALS = {
    "415": answer(415),
    "invalid": answer(400, "MANIFEST_INVALID", "manifest invalid"),
    "unsupported": answer(405, "UNSUPPORTED", "The operation is unsupported."),
    "ecr": answer(405, "UNSUPPORTED", "Invalid JSON syntax"),
    "tag": answer(400, "TAG_INVALID", "manifest tag did not match URI"),
}
"""How registries refuse a manifest of a type that they do not know."""


@pytest.fixture
def layout(tmp_path: Path) -> str:
    rs.build(tinyelf.write(tmp_path / "program"), output=f"oci:{tmp_path}/layout", compress="gzip")
    return f"oci:{tmp_path}/layout"


@pytest.fixture
def index(tmp_path: Path) -> str:
    programs = tinyelf.for_machines(tmp_path, "x86_64", "aarch64")
    rs.build(*programs.values(), output=f"oci:{tmp_path}/index")
    return f"oci:{tmp_path}/index"


def manifest_at(behind: Registry, name: str, digest: str) -> dict[str, Any]:
    held: dict[str, Any] = json.loads(behind.manifest(name, digest) or b"{}")
    return held


@pytest.mark.parametrize("how", REFUSALS)
def test_a_registry_without_types_of_oci_gets_those_of_docker_and_that_is_said(
    behind: Registry, layout: str, shared_home: Home, how: str
) -> None:
    with proxy(behind, Trouble(types={MANIFEST: REFUSALS[how]})) as old:
        done = shared_home.cli("push", layout, f"{old.host}/old/{how}:1", "--tls-verify=false")
        sent = shared_home.json("push", layout, f"docker://{old.host}/old/{how}:2", "--tls-verify=false")
    assert done.returncode == 0, done.stderr.decode()
    (output,) = sent["outputs"]
    assert done.stdout.decode() == f"{sent['digest']}\n"
    assert f"pushed: {output['pull']}\n" in done.stderr.decode()
    (note,) = sent["notes"]
    assert note.startswith(f"{old.host} refuses the media types of OCI (")
    assert "--format docker" in note
    assert sent["digest"] in note
    assert f"note: {note}\n".replace(":2", ":1") in done.stderr.decode()
    held = manifest_at(behind, f"old/{how}", sent["digest"])
    assert held["mediaType"] == MANIFEST_V2
    assert held["config"]["digest"] == f"sha256:{sent['image_id']}", "the image keeps its ID"


@pytest.mark.parametrize("types", [{INDEX}, {INDEX, MANIFEST}])
@pytest.mark.parametrize("how", ["415", "invalid"])
def test_an_index_becomes_a_manifest_list_where_that_alone_is_refused(
    behind: Registry, index: str, types: set[str], how: str
) -> None:
    name = f"lists/{how}/{len(types)}"
    with proxy(behind, Trouble(types=dict.fromkeys(types, REFUSALS[how]))) as old:
        sent = rs.push(index, f"docker://{old.host}/{name}:1", tls_verify=False)
    assert "refuses the media types of OCI" in sent.notes[0]
    held = manifest_at(behind, name, sent.digest)
    assert held["mediaType"] == LIST_V2
    assert [each["platform"]["architecture"] for each in held["manifests"]] == ["amd64", "arm64"]
    assert {manifest_at(behind, name, each["digest"])["mediaType"] for each in held["manifests"]} == {MANIFEST_V2}


def test_an_index_that_a_registry_fails_to_store_is_tried_again_as_it_is(behind: Registry, index: str) -> None:
    left = ["once"]

    def once(method: str, path: str) -> Answer | None:
        return answer(503) if method == "PUT" and path.endswith("/manifests/1") and left and left.pop() else None

    with proxy(behind, Trouble(once)) as shaky:
        sent = rs.push(index, f"docker://{shaky.host}/shaky/list:1", tls_verify=False, retries=1)
    (note,) = sent.notes
    assert "failed: 503" in note
    assert manifest_at(behind, "shaky/list", sent.digest)["mediaType"] == INDEX


@pytest.mark.podman
def test_what_has_types_of_docker_is_pulled_by_podman_and_runs(
    behind: Registry, layout: str, shared_home: Home
) -> None:
    words = ("--format", "docker", "--tls-verify=false")
    sent = shared_home.json("push", layout, f"docker://{behind.host}/typed/hello:1", *words)
    shared_home.run(["podman", "pull", "--quiet", "--tls-verify=false", sent["outputs"][0]["pull"]])
    assert shared_home.cli("run", sent["image_id"]).stdout == b"Hello World\n"
    assert sent["notes"] == [], "it is what was asked for"


def test_a_build_says_the_digest_of_each_place(behind: Registry, tmp_path: Path, shared_home: Home) -> None:
    program = str(tinyelf.write(tmp_path / "program"))
    with proxy(behind, Trouble(types={MANIFEST: REFUSALS["415"]})) as old:
        words = ["-o", f"docker://{old.host}/two/places:1", "-o", f"docker://{behind.host}/two/places:2"]
        built = shared_home.json("build", program, *words, "--tls-verify=false", "--annotation", "k=v")
    first, second = built["outputs"]
    assert manifest_at(behind, "two/places", first["digest"])["mediaType"] == MANIFEST_V2
    assert manifest_at(behind, "two/places", second["digest"])["mediaType"] == MANIFEST
    assert second["digest"] == built["digest"] != first["digest"]
    assert any("no annotations" in note for note in built["notes"])


def test_a_format_that_was_asked_for_is_not_changed(behind: Registry, layout: str) -> None:
    with proxy(behind, Trouble(types={MANIFEST: REFUSALS["415"]})) as old:
        place = f"docker://{old.host}/only/oci:1"
        error = refusal(lambda: rs.push(layout, place, tls_verify=False, format="oci"), RegistryError)
    assert error.message.endswith("refuses the media types of OCI: 415.")
    assert "--format docker" in error.fix
    unknown = refusal(lambda: rs.push(layout, place, tls_verify=False, format="v2s1"), UsageError)
    assert "auto, oci, docker" in unknown.fix


@pytest.mark.parametrize("image", ["layout", "index"])
def test_a_registry_that_takes_neither_is_told_in_words_of_ours(
    behind: Registry, request: pytest.FixtureRequest, image: str
) -> None:
    types = dict.fromkeys((MANIFEST, MANIFEST_V2, INDEX, LIST_V2), REFUSALS["invalid"])
    with proxy(behind, Trouble(types=types)) as none:
        place = f"docker://{none.host}/no/{image}:1"
        word = request.getfixturevalue(image)
        error = refusal(lambda: rs.push(word, place, tls_verify=False), RegistryError)
    assert error.message == (
        f"{none.host} rejects the manifest of {none.host}/no/{image}:1, with OCI's media types and "
        "with docker's: manifest invalid."
    )
    assert "preserve" not in error.message + error.fix
    assert behind.manifest(f"no/{image}", "1") is None


def test_layers_that_docker_has_no_type_for_are_refused_with_the_way_out(behind: Registry, tmp_path: Path) -> None:
    word = f"oci:{tmp_path}/zstd"
    rs.build(tinyelf.write(tmp_path / "program"), output=word, compress="zstd")
    place = f"docker://{behind.host}/zstd/hello:1"
    error = refusal(lambda: rs.push(word, place, tls_verify=False, format="docker"), RegistryError)
    assert "tar+zstd" in error.message
    assert "--compress gzip" in error.fix
    assert os.listdir(tmp_path / "zstd")
