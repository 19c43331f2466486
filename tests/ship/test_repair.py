"""`save --repair`: of an image that storage refuses one that it takes, with the last entry of each path."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest
import tinyelf
from foreign import CONFIG, INDEX, LAYER, MANIFEST, Layout, config_of, docker_archive, hello_layer, layer_of

import rootless_scratch as rs
from rootless_scratch.backends.open_image import read_any

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

HELLO = ("hello", tinyelf.hello())
CASES: dict[str, tuple[list[bytes], dict[str, int | None]]] = {
    "a file twice": ([layer_of(("hello", b"no program"), HELLO)], {}),
    "a file twice, once with a dot": ([layer_of(HELLO, ("a", b"1"), ("./a", b"22"))], {"/a": 2}),
    "a directory twice": ([layer_of(HELLO, ("d/", None), ("d/x", b"1"), ("d/", None))], {"/d/x": 1}),
    "a directory and a file": ([layer_of(HELLO, ("d/", None), ("d", b"1"))], {"/d": 1}),
    "a whiteout twice": ([layer_of(HELLO, ("a", b"1")), layer_of((".wh.a", b""), (".wh.a", b""))], {"/a": None}),
    "a file below a file": ([layer_of(HELLO, ("d", b"1"), ("d/e/x", b"22"))], {"/d/e/x": 2}),
    "below a file of another layer": ([layer_of(HELLO, ("d", b"1")), layer_of(("d/e/x", b"22"))], {"/d/e/x": 2}),
    "below a file two layers under": (
        [layer_of(HELLO, ("d", b"1")), layer_of(), layer_of(("d/x", b"22"))],
        {"/d/x": 2},
    ),
    "a whiteout of nothing": ([layer_of(HELLO), layer_of((".wh.", b""), ("a", b"1"))], {"/a": 1}),
    "a root that is a file": ([layer_of(HELLO, ("/", b"x"))], {}),
    "long names and contents": (
        [layer_of(HELLO, ("n" * 150, b"1" * 5000), ("b", b"3" * 513), ("n" * 150, b"2" * 700))],
        {"/" + "n" * 150: 700, "/b": 513},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_repaired_image_is_sound_and_has_the_last_of_each(tmp_path: Path, case: str) -> None:
    layers, sizes = CASES[case]
    word = docker_archive(tmp_path / "a.tar", (["x/a:1"], layers))
    assert rs.check(word).verdict == "fails"
    places = [f"oci:{tmp_path}/oci", f"docker-archive:{tmp_path}/b.tar"]
    saved = rs.save(word, places, repair=True)
    for place in places:
        judged = rs.check(place)
        assert (judged.verdict, judged.findings) == ("starts", ())
        stored = read_any(place)
        assert stored.image_id == saved.image_id
        found = {file.path: file.size for file in stored.files}
        assert {path: found.get(path) for path in sizes} == sizes
        assert found["/hello"] == len(tinyelf.hello())
    assert any(saved.image_id in note and "The image " in note for note in saved.notes)
    again = rs.save(places[0], f"oci:{tmp_path}/again", repair=True)
    assert (again.digest, again.notes) == (saved.digest, ())


@pytest.mark.buildah
@pytest.mark.podman
@pytest.mark.parametrize("case", CASES)
def test_podman_takes_the_repaired_image(shared_home: Home, tmp_path: Path, case: str) -> None:
    word = docker_archive(tmp_path / "a.tar", (["x/repaired:1"], CASES[case][0]))
    done = shared_home.cli("save", word, "-o", str(tmp_path / "b.tar"), "--repair")
    assert done.returncode == 0, done.stderr.decode()
    assert b"was repaired, and has the " in done.stderr
    shared_home.run(["podman", "load", "-q", "-i", str(tmp_path / "b.tar")])


def test_what_is_sound_stays_byte_for_byte(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    word = layout.index(layout.image())
    saved = rs.save(word, f"oci:{tmp_path}/again", repair=True)
    assert saved.digest == json.loads((tmp_path / "layout/index.json").read_text())["manifests"][0]["digest"]
    assert saved.notes == ()


def test_zeros_behind_a_gzip_stream_go_and_the_image_stays_the_same(tmp_path: Path) -> None:
    layout, layer = Layout(tmp_path / "layout"), hello_layer()
    described = layout.blob(gzip.compress(layer) + bytes(100), f"{LAYER}+gzip")
    config = layout.blob(config_of([layer]), CONFIG)
    word = layout.index(layout.blob({"schemaVersion": 2, "config": config, "layers": [described]}, MANIFEST))
    saved = rs.save(word, f"oci:{tmp_path}/again", repair=True)
    assert rs.check(f"oci:{tmp_path}/again").verdict == "starts"
    assert saved.layers[0].media_type.endswith("gzip")
    assert f"sha256:{saved.image_id}" == config["digest"]
    assert [note.split(" was ")[1][:16] for note in saved.notes] == ["compressed again"]


def test_an_index_is_repaired_image_by_image(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    broken = layout.image(layer_of(HELLO, HELLO), architecture="arm64")
    entries = [
        {**layout.image(), "platform": {"os": "linux", "architecture": "amd64"}},
        {**broken, "platform": {"os": "linux", "architecture": "arm64"}},
    ]
    word = layout.index(layout.blob({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX))
    saved = rs.save(word, f"oci:{tmp_path}/again", repair=True)
    assert len([note for note in saved.notes if note.startswith("The image ")]) == 1
    assert rs.check(f"oci:{tmp_path}/again", platform="linux/amd64").verdict == "starts"


def test_a_layer_that_is_not_what_it_should_be_is_not_repaired(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    word = docker_archive(path, (["x/a:1"], [layer_of(HELLO, ("a", b"sound"), ("a", b"2"))]))
    path.write_bytes(path.read_bytes().replace(b"sound", b"wound"))
    with pytest.raises(rs.SourceError, match="has the diff_id"):
        rs.save(word, f"oci:{tmp_path}/b", repair=True)


def test_the_last_member_of_a_tar_may_lack_its_padding(tmp_path: Path) -> None:
    packed = io.BytesIO(layer_of(HELLO, ("a", b"1"), ("a", b"22")))
    with tarfile.open(fileobj=packed) as tar:
        last = tar.getmembers()[-1]
    layer = packed.getvalue()[: last.offset_data + 2]
    saved = rs.save(docker_archive(tmp_path / "a.tar", (None, [layer])), f"oci:{tmp_path}/b", repair=True)
    assert saved.notes
    assert rs.check(f"oci:{tmp_path}/b").verdict == "starts"
