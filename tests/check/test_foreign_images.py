"""Images that other tools wrote, whole and damaged: sent and saved as they are, or told in a sentence."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from foreign import INDEX, MANIFEST, Layout

import rootless_scratch as rs
from rootless_scratch.errors import ScratchError
from rootless_scratch.image.read.faults import validate
from rootless_scratch.image.read.reader import ImageReader
from rootless_scratch.image.references import parse_reference

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home


def faults(word: str) -> tuple[str, ...]:
    with ImageReader(parse_reference(word)) as source:
        return validate(source)


@pytest.fixture
def both(tmp_path: Path) -> dict[str, Any]:
    """The descriptor of an index for two platforms, in the layout `both`."""
    native, foreign = tinyelf.write(tmp_path / "a"), tinyelf.write(tmp_path / "b", machine="aarch64")
    rs.build(f"{native}:/p", f"{foreign}:/p", output=f"oci:{tmp_path}/both")
    (entry,) = json.loads((tmp_path / "both/index.json").read_text())["manifests"]
    found: dict[str, Any] = entry
    return found


def test_an_index_with_attestations_is_saved_with_all_that_it_names(tmp_path: Path, both: dict[str, Any]) -> None:
    layout = Layout(tmp_path / "both")
    config = layout.blob(
        {"architecture": "unknown", "os": "unknown", "rootfs": {"diff_ids": []}}, "application/json"
    )
    statement = layout.blob(b'{"_type": "x"}', "application/vnd.in-toto+json")
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [statement]}
    unknown = {"architecture": "unknown", "os": "unknown"}
    attestation = layout.blob(document, MANIFEST, platform=unknown)
    index = json.loads((tmp_path / "both/blobs/sha256" / both["digest"].removeprefix("sha256:")).read_text())
    index["manifests"].append(attestation)
    nested = layout.blob({"schemaVersion": 2, "mediaType": INDEX, "manifests": [index["manifests"][0]]}, INDEX)
    index["manifests"].append(nested)
    word = layout.index(layout.blob(index, INDEX))
    rs.save(word, f"oci:{tmp_path}/again")
    blobs = {path.name for path in (tmp_path / "again/blobs/sha256").iterdir()}
    for entry in (*index["manifests"], statement, config):
        assert entry["digest"].removeprefix("sha256:") in blobs
    assert rs.check(f"oci:{tmp_path}/again").verdict == "starts"


@pytest.mark.parametrize("damage", ["config", "layers", "index"])
def test_an_index_with_a_damaged_attestation_is_not_saved(
    tmp_path: Path, both: dict[str, Any], damage: str
) -> None:
    layout = Layout(tmp_path / "both")
    config = layout.blob({"rootfs": {"diff_ids": []}}, "application/json")
    layers: Any = 5 if damage == "layers" else []
    platform = {"architecture": "unknown", "os": "unknown"}
    attestation = layout.blob(
        {"schemaVersion": 2, "config": config, "layers": layers}, MANIFEST, platform=platform
    )
    nested = layout.blob(b"[1]" if damage == "index" else b'{"manifests": []}', INDEX)
    index = json.loads((tmp_path / "both/blobs/sha256" / both["digest"].removeprefix("sha256:")).read_text())
    index["manifests"] += [attestation, attestation, nested, nested]
    if damage == "config":
        (layout.place / "blobs/sha256" / config["digest"].removeprefix("sha256:")).write_bytes(b"{}")
    word = layout.index(layout.blob(index, INDEX))
    with pytest.raises(rs.SourceError):
        rs.save(word, f"oci-archive:{tmp_path}/again.tar")
    assert not (tmp_path / "again.tar").exists()


def test_an_archive_is_never_written_over_what_goes_into_it(tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "hello")
    before = program.read_bytes()
    for transport in ("oci-archive", "docker-archive"):
        with pytest.raises(rs.UsageError, match="which goes into the image"):
            rs.build(program, output=f"{transport}:{program}")
    assert program.read_bytes() == before


def test_building_into_a_layout_mends_a_blob_that_was_damaged(tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "hello")
    word = f"oci:{tmp_path}/layout"
    rs.build(program, output=word)
    for blob in (tmp_path / "layout/blobs/sha256").iterdir():
        content = blob.read_bytes()
        blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert faults(word)
    rs.build(program, output=word)
    assert faults(word) == ()


def test_entries_without_a_name_that_others_wrote_stay(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    word = layout.index(layout.blob({"a": 1}, MANIFEST), layout.blob({"b": 1}, MANIFEST))
    rs.build(tinyelf.write(tmp_path / "hello"), output=word)
    assert len(json.loads((tmp_path / "layout/index.json").read_text())["manifests"]) == 3


@pytest.mark.parametrize(
    "config",
    [
        {"os": 5, "architecture": [1], "rootfs": {"diff_ids": []}},
        {"os": "linux", "architecture": "amd64", "variant": {}, "rootfs": {"diff_ids": []}, "config": [1]},
        {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}, "config": {"Env": 5, "Labels": "x"}},
        {"rootfs": {"diff_ids": []}, "config": {"Entrypoint": {"a": 1}, "Cmd": [1, None], "User": 7}},
    ],
)
@pytest.mark.parametrize("annotations", [[1], "x", 5, {"org.opencontainers.image.ref.name": 7}])
def test_documents_of_any_types_are_judged_without_a_traceback(
    tmp_path: Path, config: dict[str, Any], annotations: object
) -> None:
    layout = Layout(tmp_path / "layout")
    described = layout.blob(config, "application/vnd.oci.image.config.v1+json")
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": [], "annotations": [1]}
    word = layout.index(layout.blob(document, MANIFEST, annotations=annotations))
    for call in (
        lambda: rs.check(word),
        lambda: rs.save(word, f"oci-archive:{tmp_path}/x.tar", compress="gzip"),
        lambda: rs.verify(word, tinyelf.write(tmp_path / "hello")),
    ):
        # Whatever they say, they say it themselves.
        with suppress(ScratchError):
            call()


def test_a_layer_of_damaged_gzip_is_told_with_its_name(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    packed = bytearray(gzip.compress(bytes(range(256)) * 100))
    packed[40:80] = b"\xff" * 40
    layer = layout.blob(bytes(packed), "application/vnd.oci.image.layer.v1.tar+gzip")
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": ["sha256:" + "0" * 64]}}
    described = layout.blob(config, "application/vnd.oci.image.config.v1+json")
    word = layout.index(layout.blob({"schemaVersion": 2, "config": described, "layers": [layer]}, MANIFEST))
    assert any("cannot be unpacked" in fault for fault in faults(word))
    for call in (
        lambda: rs.save(word, f"oci-archive:{tmp_path}/x.tar", compress="none"),
        lambda: rs.verify(word, tinyelf.write(tmp_path / "hello")),
    ):
        with pytest.raises(rs.SourceError):
            call()


def test_a_layer_that_is_a_link_in_dockers_archive_is_read(tmp_path: Path) -> None:
    rs.build(tinyelf.write(tmp_path / "hello"), output=f"docker-archive:{tmp_path}/a.tar:hello:1")
    with tarfile.open(tmp_path / "a.tar") as old, tarfile.open(tmp_path / "b.tar", "w") as new:
        for member in old:
            content = old.extractfile(member)
            data = b"" if content is None else content.read()
            if member.name.endswith("layer.tar"):
                link = tarfile.TarInfo(member.name)
                link.type, link.linkname = tarfile.SYMTYPE, "../shared.tar"
                new.addfile(link)
                member.name = "shared.tar"
            new.addfile(member, io.BytesIO(data))
    assert rs.check(f"docker-archive:{tmp_path}/b.tar").verdict == "starts"
    rs.save(f"docker-archive:{tmp_path}/b.tar", f"docker-archive:{tmp_path}/c.tar")
    with tarfile.open(tmp_path / "c.tar") as saved:
        manifest = saved.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)[0]["RepoTags"] == ["localhost/hello:1"]


@pytest.mark.buildah
def test_a_saved_image_has_the_name_that_it_was_asked_for_by(shared_home: Home, tmp_path: Path) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    names = ("beef", "a", "zz-last")
    assert shared_home.cli("build", program, *(word for name in names for word in ("-t", name))).returncode == 0
    for name in names:
        archive = tmp_path / f"{name}.tar"
        assert shared_home.cli("save", name, "-o", str(archive)).returncode == 0
        with tarfile.open(archive) as saved:
            manifest = saved.extractfile("manifest.json")
            assert manifest is not None
            assert json.load(manifest)[0]["RepoTags"] == [f"localhost/{name}:latest"]


def test_a_colon_in_tmpdir_is_passed_over_and_said(tmp_path: Path) -> None:
    from rootless_scratch.host.environment import tool_environment

    place = tmp_path / "x:y"
    place.mkdir()
    found = tool_environment({"HOME": str(tmp_path), "TMPDIR": str(place)})
    assert "TMPDIR" not in found.variables
    assert "colon" in found.notes[0]


def test_a_login_in_the_word_for_a_registry_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(rs.UsageError) as caught:
        rs.build(tinyelf.write(tmp_path / "hello"), output="docker://user:secret@host.example/x:1")
    assert "secret" not in caught.value.message + caught.value.fix
