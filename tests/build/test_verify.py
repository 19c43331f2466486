"""`verify`: is this image what these programs and words build, and what is it that differs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from typing import TYPE_CHECKING, Any

import hostile_layouts
import pytest
import tars
import tinyelf
from planning import refusal

import rootless_scratch as rs
from rootless_scratch.errors import ImageNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Words of a build with all kinds of entries."""
    program = tinyelf.write(tmp_path / "program")
    for name in ("b", "a/c", "ü"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(name)
    return [
        *(f"{program}:/usr/bin/program", "--copy", f"{tmp_path}/tree:/tree", "--mkdir", "/tmp:mode=1777"),
        *("--symlink", "program:/usr/bin/link", "--env", "A=1", "--label", "l=1", "--user", "7"),
        *("--copy", f"{program}:/raw:cap=cap_net_raw+ep,uid=1000,gid=7"),
    ]


def swapped(words: list[str], **changes: str) -> list[str]:
    """The words with the value of some options (`env` for --env) replaced."""
    given = list(words)
    for option, value in changes.items():
        given[given.index(f"--{option}") + 1] = value
    return given


@pytest.mark.parametrize("how", [(), ("--compress", "gzip")])
def test_the_same_words_give_the_same_image_wherever_it_was_written_and_however_it_is_compressed(
    shared_home: Home, tmp_path: Path, words: list[str], how: tuple[str, ...]
) -> None:
    outputs = [f"oci:{tmp_path}/a:x", f"oci-archive:{tmp_path}/b", f"docker-archive:{tmp_path}/c"]
    built = shared_home.json("build", *words, *how, *(word for each in outputs for word in ("-o", each)))
    before = sorted(tmp_path.rglob("*"))
    for output in outputs:
        found = shared_home.json("verify", output, *words)
        assert (found["verdict"], found["differences"], found["schema"]) == ("identical", [], 1)
        assert found["image_id"] == found["planned_image_id"] == built["image_id"]
    assert sorted(tmp_path.rglob("*")) == before
    said = shared_home.cli("verify", outputs[0], *words)
    assert (said.returncode, said.stdout.decode()) == (0, f"{outputs[0]}: identical\n")


def test_every_file_and_every_key_that_differs_is_named_with_both_values(
    shared_home: Home, tmp_path: Path, words: list[str]
) -> None:
    word = f"oci:{tmp_path}/layout"
    shared_home.json("build", *words, "-o", word)
    (tmp_path / "tree/b").write_text("other")
    (tmp_path / "tree/a/c").unlink()
    (tmp_path / "tree/new").mkdir()
    changed = swapped(words, mkdir="/tmp:mode=0700,uid=5", symlink="other:/usr/bin/link", env="A=2", user="8")
    changed[-1] = changed[-1].replace("net_raw", "chown").replace("gid=7", "gid=8")
    done = shared_home.cli("verify", word, *changed, "--json")
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    assert answer["verdict"] == "differs"
    found = {(each.get("path") or each["key"], each["what"]): each for each in answer["differences"]}
    values = {where: (each["planned"], each["found"]) for where, each in found.items()}
    content = values.pop(("/tree/b", "content"))
    assert all(str(each).startswith("sha256:") for each in content)
    capabilities = values.pop(("/raw", "capabilities"))
    assert capabilities[0] != capabilities[1]
    assert values == {
        ("/raw", "owner"): ("1000:8", "1000:7"),
        ("/tmp", "mode"): ("0700", "1777"),
        ("/tmp", "owner"): ("5:0", "0:0"),
        ("/tree/a/c", "added"): (None, "file"),
        ("/tree/new", "missing"): ("directory", None),
        ("/usr/bin/link", "target"): ("other", "program"),
        ("config.Env", "value"): (["A=2"], ["A=1"]),
        ("config.User", "value"): ("8", "7"),
    }
    assert {"path", "what", "planned", "found"} == set(found["/tmp", "mode"])
    assert {"key", "what", "planned", "found"} == set(found["config.User", "value"])
    said = shared_home.cli("verify", word, *changed)
    assert said.returncode == 1
    lines = said.stdout.decode().splitlines()
    assert lines[0] == f"{word}: differs"
    assert "  /tmp: mode 1777, planned is 0700" in lines
    assert "  /tree/a/c: a file that is not planned" in lines
    assert "  /tree/new: missing, a directory is planned" in lines
    assert '  config.Env: ["A=1"], planned is ["A=2"]' in lines


def test_another_time_is_told_of_the_config_and_of_every_file(tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    image = rs.build(program, output=f"oci:{tmp_path}/layout", created=100)
    assert rs.verify(image, program, created=100).verdict == "identical"
    found = rs.verify(image, program, created=0)
    assert [(each.path or each.key, each.what, each.planned, each.found) for each in found.differences] == [
        ("/program", "mtime", 0, 100),
        ("created", "value", "1970-01-01T00:00:00Z", "1970-01-01T00:01:40Z"),
    ]


def test_a_file_in_place_of_a_link_and_another_platform_differ(tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    image = rs.build(program, output=f"oci:{tmp_path}/layout", symlink=["program:/same"])
    tinyelf.write(program, machine="aarch64")
    found = rs.verify(image, program, copy=[f"{program}:/same"])
    whats = {(each.path or each.key): (each.what, each.planned, each.found) for each in found.differences}
    assert whats["/same"] == ("type", "file", "symlink")
    assert whats["/program"][0] == "content"
    assert whats["architecture"] == ("value", "arm64", "amd64")
    assert whats["variant"] == ("value", "v8", None)


def recoded(place: Path, *, type_bits: int) -> dict[str, Any]:
    """Write the only layer of a layout anew, as other builders write it; gives the new config."""

    def blob(digest: str) -> Path:
        return place / "blobs/sha256" / digest.removeprefix("sha256:")

    def put(content: bytes) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        blob(digest).write_bytes(content)
        return {"digest": digest, "size": len(content)}

    index = json.loads((place / "index.json").read_text())
    manifest = json.loads(blob(index["manifests"][0]["digest"]).read_text())
    config: dict[str, Any] = json.loads(blob(manifest["config"]["digest"]).read_text())
    (place / "layer").touch()
    with (
        tarfile.open(blob(manifest["layers"][0]["digest"])) as old,
        tarfile.open(place / "layer", "w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in old:
            member.mode |= type_bits
            new.addfile(member, old.extractfile(member) if member.isreg() else None)
    manifest["layers"][0] |= put((place / "layer").read_bytes())
    (place / "layer").unlink()
    config["rootfs"]["diff_ids"] = [manifest["layers"][0]["digest"]]
    manifest["config"] |= put(json.dumps(config).encode())
    index["manifests"][0] |= put(json.dumps(manifest).encode())
    (place / "index.json").write_text(json.dumps(index))
    return config


def test_the_same_files_in_another_encoding_are_equal_and_not_identical(tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    image = rs.build(program, output=f"oci:{tmp_path}/layout", mkdir=["/tmp:mode=1777"])
    recoded(tmp_path / "layout", type_bits=0o100000)
    found = rs.verify(f"oci:{tmp_path}/layout", program, mkdir=["/tmp:mode=1777"])
    assert (found.verdict, found.differences) == ("equal", ())
    assert found.planned_image_id == image.image_id != found.image_id
    assert "another layer encoding: built by buildah" in found.reason


def test_what_cannot_be_compared_is_said_in_a_sentence(tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    image = rs.build(program, output=f"oci:{tmp_path}/layout")
    assert "--created TIME" in refusal(lambda: rs.verify(image, program, created="now")).fix
    text = tmp_path / "text"
    text.write_text("x")
    assert "architecture" in refusal(lambda: rs.verify(image, copy=[f"{text}:/text"])).message
    shutil.rmtree(tmp_path / "layout")
    refusal(lambda: rs.verify(image, program), ImageNotFoundError)


def test_words_without_any_program_are_a_usage_error(shared_home: Home, tmp_path: Path) -> None:
    done = shared_home.cli("verify", f"oci:{tmp_path}")
    assert done.returncode == 2
    assert b"as for `build`" in done.stderr


@pytest.mark.buildah
def test_an_image_of_the_backend_buildah_has_the_files_and_config_of_the_plan(
    shared_home: Home, tmp_path: Path, words: list[str]
) -> None:
    built = shared_home.json("build", *words, "-t", "verified", environment={"SOURCE_DATE_EPOCH": "1700000000"})
    kept = os.stat(tmp_path / "program")
    found = shared_home.json("verify", "verified", *words, "--created", "1700000000")
    version = shared_home.run(["buildah", "--version"]).stdout.decode().split()[2]
    old = tuple(int(part) for part in version.split(".")[:2]) < (1, 39)
    assert (found["verdict"], found["differences"]) == ("equal" if old else "identical", [])
    assert found["image_id"] == built["image_id"]
    assert ("buildah" in found["reason"]) == old
    (tmp_path / "program").chmod(0o700)
    assert shared_home.json("verify", "verified", *words, "--created", "1700000000")["verdict"] == found["verdict"]
    assert os.stat(tmp_path / "program").st_mtime == kept.st_mtime
    changed = shared_home.cli("verify", "verified", *swapped(words, user="9"), "--created", "1700000000")
    assert changed.returncode == 1
    assert changed.stdout.decode().splitlines()[1:] == ["  config.User: 7, planned is 9"]


@pytest.mark.buildah
def test_an_image_that_direct_put_into_local_storage_is_identical(shared_home: Home, words: list[str]) -> None:
    shared_home.json("build", *words, "-t", "loaded", "--backend", "direct")
    assert shared_home.json("verify", "loaded", *words)["verdict"] == "identical"


def test_an_image_with_the_id_that_was_planned_and_other_files_differs(tmp_path: Path) -> None:
    """Its config is the planned one, whose sum the ID is; what it says of the layers is not so."""
    program = tinyelf.write(tmp_path / "hello")
    planned = rs.build(str(program), output=f"oci:{tmp_path}/layout").image_id
    layout = hostile_layouts.Layout(tmp_path / "other")
    config = (tmp_path / "layout/blobs/sha256" / planned).read_bytes()
    layer = tars.entry(tinyelf.hello(b"another\n"), name=b"hello") + tars.END
    described = [layout.blob(layer, "application/vnd.oci.image.layer.v1.tar")]
    layout.write([layout.manifest(layout.blob(config, "application/vnd.oci.image.config.v1+json"), described)])
    found = rs.verify(f"oci:{layout.path}", str(program))
    assert (found.image_id, found.verdict) == (planned, "differs")
    assert ("/hello", "content") in {(each.path, each.what) for each in found.differences}


@pytest.mark.parametrize("place", ["layout", pytest.param("storage", marks=pytest.mark.buildah)])
def test_names_of_one_file_and_attributes_of_users_are_compared(
    shared_home: Home, tmp_path: Path, place: str
) -> None:
    program = str(tinyelf.write(tmp_path / "program"))
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_text("x" * 1000)
    os.link(tree / "a", tree / "b")
    os.setxattr(tree / "a", "user.origin", b"here")
    os.setxattr(tree, "user.origin", b"there")
    words = [program, "--copy", f"{tree}:/t:xattrs=keep"]
    name, to = (f"oci:{tmp_path}/layout", "-o") if place == "layout" else ("verified", "-t")
    shared_home.json("build", *words, to, name)
    assert shared_home.json("verify", name, *words)["verdict"] in {"identical", "equal"}
    listed = {file["path"]: file["linked"] for file in shared_home.json("inspect", name)["files"]}
    assert listed == {"/program": None, "/t": None, "/t/a": None, "/t/b": "/t/a"}
    drawn = shared_home.cli("inspect", name).stdout.decode()
    assert "b  hard link to /t/a" in drawn
    assert f"{name} (3 files, 1.2 kB)" in drawn, "bytes count once, and a long name is not cut"
    (tree / "b").unlink()
    (tree / "b").write_text("x" * 1000)
    (tree / "b").chmod(0o644)
    os.setxattr(tree / "b", "user.origin", b"here")
    os.setxattr(tree, "user.origin", b"elsewhere")
    found = json.loads(shared_home.cli("verify", name, *words, "--json").stdout)
    whats = {(each["path"], each["what"]) for each in found["differences"]}
    assert whats == {("/t", "attributes"), ("/t/b", "link")}
