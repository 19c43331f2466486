"""Labels and annotations: those that were asked for, by any name, and nothing of ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

OCI = "org.opencontainers.image"
ASKED = {
    f"{OCI}.created": "2026-01-31T12:00:00Z",
    f"{OCI}.revision": "0123abcd",
    f"{OCI}.source": "https://example.com/hello.git?a=1&b=2",
    f"{OCI}.version": "1.2",
}


@pytest.fixture
def programs(tmp_path: Path) -> list[str]:
    return [str(path) for path in tinyelf.for_machines(tmp_path, "x86_64", "aarch64").values()]


def documents(place: Path) -> list[dict[str, Any]]:
    """Every JSON document of a layout: indexes, manifests, configs."""
    found = []
    for path in [place / "index.json", *(place / "blobs/sha256").iterdir()]:
        content = path.read_bytes()
        if content.startswith(b"{"):
            found.append(json.loads(content))
    return found


def test_nothing_is_stamped_on_an_image_unasked(shared_home: Home, tmp_path: Path, programs: list[str]) -> None:
    shared_home.json("build", *programs, "-o", f"oci:{tmp_path}/out")
    found = documents(tmp_path / "out")
    assert len(found) == 6
    for document in found:
        text = json.dumps(document).lower()
        assert "annotations" not in text
        assert "labels" not in text
        assert "scratch" not in text
        assert not {"history", "author", "comment", "container_config"} & set(document)
    configs = [document for document in found if "rootfs" in document]
    assert {tuple(document["config"]) for document in configs} == {("User", "Entrypoint", "WorkingDir")}


def test_names_of_oci_are_passed_on_as_they_are_to_the_config_the_manifest_and_the_index(
    shared_home: Home, tmp_path: Path, programs: list[str]
) -> None:
    for flag in ("label", "annotation"):
        flags = [word for key, value in ASKED.items() for word in (f"--{flag}", f"{key}={value}")]
        shared_home.json("build", *programs, *flags, "-o", f"oci:{tmp_path}/{flag}s")
    labelled = documents(tmp_path / "labels")
    assert [each["config"]["Labels"] for each in labelled if "rootfs" in each] == [ASKED, ASKED]
    assert not any("annotations" in each for each in labelled)
    annotated = documents(tmp_path / "annotations")
    assert not any("Labels" in each["config"] for each in annotated if "rootfs" in each)
    layout = json.loads((tmp_path / "annotations/index.json").read_text())
    assert "annotations" not in layout
    said = [each["annotations"] for each in annotated if "annotations" in each]
    assert said == [ASKED, ASKED, ASKED]


def test_annotations_change_no_image_id_and_labels_do(
    shared_home: Home, tmp_path: Path, programs: list[str]
) -> None:
    def build(*words: str) -> dict[str, Any]:
        return shared_home.json("build", programs[0], *words, "-o", f"oci:{tmp_path}/out")

    plain, labelled, annotated = build(), build("--label", "a=b"), build("--annotation", "a=b")
    assert annotated["image_id"] == plain["image_id"] != labelled["image_id"]
    assert annotated["digest"] != plain["digest"]
    assert shared_home.json("inspect", f"oci:{tmp_path}/out")["config"].keys() == {
        *("created", "architecture", "os", "config", "rootfs")
    }
