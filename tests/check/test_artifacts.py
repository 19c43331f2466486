"""What is not an image, beside images and inside their index: passed over, kept, and never called damaged.

podman and skopeo take the first entry of a name, and in an index the first for the platform, whatever it is.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from foreign import CONFIG, INDEX, MANIFEST, Layout, named
from registries import registry

import rootless_scratch as rs
from rootless_scratch.image.read.faults import validate
from rootless_scratch.image.read.reader import ImageReader
from rootless_scratch.image.references import parse_reference

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

NATIVE = {"architecture": "amd64", "os": "linux"}
KINDS = ("artifact", "signature", "attestation", "provenance", "odd")
PLACES = (
    *("behind", "before", "same-name-before", "alone"),
    *("inside-before", "inside-behind", "inside-before-for-the-platform", "inside-before-without-platforms"),
)


def artifact(layout: Layout, kind: str) -> dict[str, Any]:
    """The descriptor of one: by image-spec v1.1, by cosign, by buildkit, and one that is not known."""
    if kind == "odd":
        manifest: dict[str, Any] = {
            "mediaType": "application/x.manifest.v1+json",
            "artifactType": "text/x",
            "blobs": [],
        }
        return layout.blob(manifest, manifest["mediaType"])
    types = {
        "artifact": "text/x",
        "signature": "application/vnd.dev.cosign.simplesigning.v1+json",
        "attestation": "application/vnd.dsse.envelope.v1+json",
        "provenance": "application/vnd.in-toto+json",
    }
    part = layout.blob(b'{"critical": {}}', types[kind])
    config: bytes | dict[str, Any] = {"architecture": "", "os": "", "rootfs": {"diff_ids": [part["digest"]]}}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": layout.blob(config, CONFIG), "layers": [part]}
    if kind == "artifact":
        empty = layout.blob(b"{}", "application/vnd.oci.empty.v1+json")
        return layout.blob(
            {**manifest, "artifactType": "text/x", "config": empty}, MANIFEST, artifactType="text/x"
        )
    more = {"platform": {"architecture": "unknown", "os": "unknown"}} if kind == "provenance" else {}
    return layout.blob(manifest, MANIFEST, **more)


def index_of(layout: Layout, *entries: dict[str, Any]) -> dict[str, Any]:
    return layout.blob({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}, INDEX)


def arranged(layout: Layout, kind: str, place: str) -> str:
    """A layout with an artifact in this place; the word for what is named v1 there."""
    other, image = artifact(layout, kind), layout.image()
    here = {"platform": NATIVE} if place.endswith("for-the-platform") and kind != "provenance" else {}
    entries = {
        "behind": (named(image, "v1"), other),
        "before": (other, named(image, "v1")),
        "same-name-before": (named(other, "v1"), named(image, "v1")),
        "alone": (named(other, "v1"),),
        "inside-before": (named(index_of(layout, other, {**image, "platform": NATIVE}), "v1"),),
        "inside-behind": (named(index_of(layout, {**image, "platform": NATIVE}, other), "v1"),),
        "inside-before-for-the-platform": (
            named(index_of(layout, {**other, **here}, {**image, "platform": NATIVE}), "v1"),
        ),
        "inside-before-without-platforms": (named(index_of(layout, other, image), "v1"),),
    }[place]
    return f"{layout.index(*entries)}:v1"


def is_chosen(kind: str, place: str) -> bool:
    """Whether it is the image that podman and skopeo take."""
    if place == "alone" or (place == "same-name-before" and kind != "odd"):
        return False
    return not place.startswith("inside-before-") or kind == "provenance"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_image_is_found_where_podman_finds_it(tmp_path: Path, kind: str, place: str) -> None:
    word = arranged(Layout(tmp_path / "layout"), kind, place)
    with ImageReader(parse_reference(word)) as reader:
        assert validate(reader) == ()
    if is_chosen(kind, place):
        assert rs.check(word, platform="linux/amd64").verdict == "starts"
        return
    with pytest.raises(rs.ImageNotFoundError, match="an artifact of the type"):
        rs.check(word)


@pytest.mark.buildah
@pytest.mark.podman
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["artifact", "provenance", "odd"])
def test_podman_finds_it_there(shared_home: Home, tmp_path: Path, kind: str, place: str) -> None:
    word = arranged(Layout(tmp_path / "layout"), kind, place)
    pulled = shared_home.run(["podman", "pull", "-q", word], check=False)
    assert (pulled.returncode == 0) == is_chosen(kind, place), pulled.stderr.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_the_only_image_of_a_layout_needs_no_name(tmp_path: Path, kind: str) -> None:
    layout = Layout(tmp_path / "layout")
    word = layout.index(artifact(layout, kind), layout.image(), {**layout.blob(b"x", "text/y")})
    assert rs.check(word).verdict == "starts"
    assert rs.save(word, f"docker-archive:{tmp_path}/saved.tar").platform == "linux/amd64"


def test_two_images_beside_an_artifact_are_two(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    images = [named(layout.image(architecture=each), each) for each in ("amd64", "arm64")]
    word = layout.index(*images, named(artifact(layout, "artifact"), "other"))
    with pytest.raises(rs.ImageNotFoundError, match="names 2 images; there are: amd64, arm64, other"):
        rs.check(word)


@pytest.mark.parametrize("kind", KINDS)
def test_an_artifact_that_is_damaged_is_told(tmp_path: Path, kind: str) -> None:
    layout = Layout(tmp_path / "layout")
    other = artifact(layout, kind)
    word = layout.index(named(layout.image(), "v1"), {**other, "size": other["size"] + 1})
    (finding,) = rs.check(f"{word}:v1").findings
    assert finding.rule == "broken-image"
    assert f"has {other['size']} bytes and not {other['size'] + 1}" in finding.message


def test_a_manifest_that_is_damaged_is_no_artifact(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    word = layout.index(layout.blob(b"{", MANIFEST))
    assert rs.check(word).findings[0].rule == "broken-image"
    word = layout.index(layout.blob({"config": {"mediaType": 5}, "layers": 5}, MANIFEST))
    assert rs.check(word).findings[0].rule == "broken-image"


def blobs_in(layout: Path) -> set[str]:
    return {path.name for path in (layout / "blobs/sha256").iterdir()}


def digest_in(layout: Path) -> str:
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    return str(entry["digest"])


def test_an_index_is_saved_with_all_artifacts_in_it(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    others = [artifact(layout, kind) for kind in KINDS]
    word = layout.index(named(index_of(layout, *others, {**layout.image(), "platform": NATIVE}), "v1"))
    saved = rs.save(f"{word}:v1", f"oci:{tmp_path}/again:v1")
    assert blobs_in(tmp_path / "again") == blobs_in(layout.place)
    assert rs.check(f"oci:{tmp_path}/again:v1", platform="linux/amd64").verdict == "starts"
    assert saved.digest == digest_in(tmp_path / "again") == digest_in(tmp_path / "layout")


@pytest.mark.registry
@pytest.mark.parametrize("is_said", [False, True])
def test_an_index_is_pushed_with_all_artifacts_in_it(shared_home: Home, tmp_path: Path, *, is_said: bool) -> None:
    layout = Layout(tmp_path / "layout")
    others = [artifact(layout, kind) for kind in KINDS if kind != "odd"]
    if not is_said:
        others[0].pop("artifactType")
    word = layout.index(named(index_of(layout, {**layout.image(), "platform": NATIVE}, *others), "v1"))
    (tmp_path / "registry").mkdir()
    with registry(tmp_path / "registry") as at:
        done = shared_home.cli("push", f"{word}:v1", f"docker://{at.host}/all:1", "--tls-verify=false")
        if is_said and done.returncode == 1:
            # So it is with skopeo 1.9: nothing is pushed that would be another index.
            assert b"The skopeo of this host cannot send the index unchanged" in done.stderr
            return
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode().strip() == digest_in(tmp_path / "layout")
        raw = at.manifest("all", "1")
        assert raw is not None
        assert all(at.manifest("all", entry["digest"]) for entry in json.loads(raw)["manifests"])
