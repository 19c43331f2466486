"""Archives of `docker save` by their names: an image has several, short or full, and is one."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING

import pytest
import tinyelf
from foreign import Layout, docker_archive, hello_layer, layer_of, named

import rootless_scratch as rs
from rootless_scratch.image.names import full_names

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

OTHER = layer_of(("hello", tinyelf.hello()), ("other", b""))


def tags_in(path: Path) -> list[str] | None:
    with tarfile.open(path) as saved:
        manifest = saved.extractfile("manifest.json")
        assert manifest is not None
        tags: list[str] | None = json.load(manifest)[0]["RepoTags"]
        return tags


@pytest.mark.parametrize(
    "ref", ["", ":x/a:1", ":docker.io/x/a:1", ":x/a:2", ":localhost/x/a:2", ":index.docker.io/x/a:1"]
)
def test_one_image_with_two_names_is_one_image(tmp_path: Path, ref: str) -> None:
    word = docker_archive(tmp_path / "two.tar", (["x/a:1", "x/a:2"], [hello_layer()]))
    assert rs.check(f"{word}{ref}").verdict == "starts"


@pytest.mark.parametrize(
    "ref", ["hello", "hello:latest", "library/hello", "docker.io/library/hello", "docker.io/hello"]
)
@pytest.mark.parametrize("tag", ["hello:latest", "docker.io/library/hello:latest"])
def test_names_match_in_short_and_in_full(tmp_path: Path, ref: str, tag: str) -> None:
    word = docker_archive(tmp_path / "one.tar", ([tag], [hello_layer()]), (["other:latest"], [OTHER]))
    assert rs.check(f"{word}:{ref}").verdict == "starts"


@pytest.mark.parametrize("ref", ["x/a:3", "quay.io/x/a:1", "a:1", "hello"])
def test_a_name_that_the_archive_has_not_is_told_with_those_that_it_has(tmp_path: Path, ref: str) -> None:
    word = docker_archive(tmp_path / "two.tar", (["x/a:1", "x/a:2"], [hello_layer()]))
    with pytest.raises(rs.ImageNotFoundError, match=r"names no image; there are: x/a:1, x/a:2\."):
        rs.check(f"{word}:{ref}")


def test_two_images_are_told_apart_by_any_of_their_names(tmp_path: Path) -> None:
    word = docker_archive(
        tmp_path / "both.tar", (["x/a:1", "x/a:2"], [hello_layer()]), (["localhost/x/b:1"], [OTHER])
    )
    with pytest.raises(rs.ImageNotFoundError, match="names 2 images; there are: localhost/x/b:1, x/a:1, x/a:2"):
        rs.check(word)
    images = {ref: rs.save(f"{word}:{ref}", f"oci:{tmp_path}/{ref[-3:-2]}").image_id for ref in ("x/a:2", "x/b:1")}
    assert len(set(images.values())) == 2


def test_a_name_without_a_host_is_podmans_where_both_are_there(tmp_path: Path) -> None:
    here, there = ["localhost/x/a:1"], ["docker.io/x/a:1"]
    word = docker_archive(tmp_path / "both.tar", (there, [OTHER]), (here, [hello_layer()]))
    alone = docker_archive(tmp_path / "one.tar", (here, [hello_layer()]))
    expected = rs.save(alone, f"oci:{tmp_path}/1").image_id
    assert rs.save(f"{word}:x/a:1", f"oci:{tmp_path}/2").image_id == expected
    assert rs.save(f"{word}:docker.io/x/a:1", f"oci:{tmp_path}/3").image_id != expected


def test_a_saved_archive_has_all_names_or_the_one_that_was_asked_for(tmp_path: Path) -> None:
    word = docker_archive(tmp_path / "two.tar", (["x/a:1", "x/a:2"], [hello_layer()]))
    rs.save(word, f"docker-archive:{tmp_path}/all.tar")
    assert tags_in(tmp_path / "all.tar") == ["x/a:1", "x/a:2"]
    rs.save(f"{word}:docker.io/x/a:2", f"docker-archive:{tmp_path}/one.tar")
    assert tags_in(tmp_path / "one.tar") == ["x/a:2"]


def test_our_own_archive_with_two_tags_opens_without_a_name(tmp_path: Path) -> None:
    rs.build(
        tinyelf.write(tmp_path / "hello"), tag=["foo:1", "foo:2"], output=f"docker-archive:{tmp_path}/own.tar"
    )
    for ref in ("", ":foo:1", ":localhost/foo:2"):
        assert rs.check(f"docker-archive:{tmp_path}/own.tar{ref}").verdict == "starts"


def test_one_image_with_two_names_in_a_layout_is_one_image(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    image = layout.image()
    word = layout.index(named(image, "a"), named(image, "b"))
    for ref in ("", ":a", ":b"):
        assert rs.check(f"{word}{ref}").verdict == "starts"
    program = tinyelf.write(tmp_path / "hello")
    rs.build(program, output=[f"oci:{tmp_path}/own:1", f"oci:{tmp_path}/own:2"])
    assert rs.check(f"oci:{tmp_path}/own").verdict == "starts"


def test_an_index_with_two_names_is_copied_whole(tmp_path: Path) -> None:
    native, foreign = tinyelf.write(tmp_path / "a"), tinyelf.write(tmp_path / "b", machine="aarch64")
    places = [f"oci:{tmp_path}/own:1", f"oci:{tmp_path}/own:2"]
    built = rs.build(f"{native}:/p", f"{foreign}:/p", output=places)
    assert rs.save(f"oci:{tmp_path}/own", f"oci:{tmp_path}/copy").digest == built.digest


def test_an_image_is_found_by_the_name_that_its_index_has_whatever_it_is_called_inside(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    index = {"schemaVersion": 2, "manifests": [named(layout.image(), "hello-amd64")]}
    word = layout.index(named(layout.blob(index, "application/vnd.oci.image.index.v1+json"), "hello"))
    for ref in ("", ":hello", ":hello-amd64"):
        assert rs.check(f"{word}{ref}").verdict == "starts"


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("a", ("localhost/a:latest", "docker.io/library/a:latest")),
        ("x/a:1", ("localhost/x/a:1", "docker.io/x/a:1")),
        ("localhost/a", ("localhost/a:latest",)),
        ("docker.io/a:1", ("docker.io/library/a:1",)),
        ("index.docker.io/x/a:1", ("docker.io/x/a:1",)),
        ("localhost:5000/a", ("localhost:5000/a:latest",)),
        ("quay.io/x/a", ("quay.io/x/a:latest",)),
    ],
)
def test_names_in_full(name: str, full: tuple[str, ...]) -> None:
    assert full_names(name) == full


@pytest.mark.buildah
@pytest.mark.podman
def test_podman_and_skopeo_find_them_by_the_same_names(shared_home: Home, tmp_path: Path) -> None:
    word = docker_archive(tmp_path / "two.tar", (["x/two:1", "x/two:2"], [hello_layer()]))
    shared_home.run(["podman", "load", "-q", "-i", str(tmp_path / "two.tar")])
    for ref in ("", ":x/two:1", ":docker.io/x/two:2"):
        shared_home.run(["skopeo", "inspect", f"{word}{ref}"])
        assert rs.check(f"{word}{ref}").verdict == "starts"
    images = [shared_home.run(["podman", "image", "inspect", "-f", "{{.Id}}", f"x/two:{n}"]).stdout for n in "12"]
    assert images[0] == images[1]
    assert rs.save(word, f"oci:{tmp_path}/copy").image_id == images[0].decode().strip()
