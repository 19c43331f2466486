"""`save`, and what `push` does without a registry: an image to files, whole or not at all, with the same ID."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import refusal

import rootless_scratch as rs
from rootless_scratch.command import follow
from rootless_scratch.errors import CommandTimeoutError, ImageNotFoundError, SourceError, UsageError
from rootless_scratch.image.read.faults import validate
from rootless_scratch.image.read.reader import ImageReader
from rootless_scratch.image.references import parse_reference

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tinyelf.write(tmp_path / "program")


def faults(word: str) -> tuple[str, ...]:
    with ImageReader(parse_reference(word)) as source:
        return validate(source)


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
@pytest.mark.parametrize("compress", ["none", "gzip"])
def test_every_kind_becomes_every_other_and_stays_the_same_image(
    tmp_path: Path, program: Path, kind: str, compress: str
) -> None:
    word = f"{kind}:{tmp_path}/image"
    built = rs.build(program, output=word, compress=compress, annotations={"k": "v"})
    places = [f"{other}:{tmp_path}/{other}" for other in ("oci", "oci-archive", "docker-archive")]
    saved = rs.save(word, [*places, str(tmp_path / "plain.tar")])
    assert saved.image_id == built.image_id
    assert saved.platform == built.platform
    assert (saved.digest == built.digest) == (kind != "docker-archive")
    for place in (*places, f"docker-archive:{tmp_path}/plain.tar"):
        assert faults(place) == (), place
        assert rs.check(place).verdict == "starts"
    packed = rs.save(word, f"oci:{tmp_path}/packed", compress="gzip")
    # An archive for docker has no place for annotations.
    kept = {} if kind == "docker-archive" else {"k": "v"}
    direct = rs.build(program, output=f"oci:{tmp_path}/direct", compress="gzip", annotations=kept)
    assert packed.digest == direct.digest
    assert faults(f"oci:{tmp_path}/packed") == ()


def test_an_image_is_taken_as_well_as_its_word(tmp_path: Path, program: Path) -> None:
    built = rs.build(program, output=[f"oci:{tmp_path}/layout:a", f"oci-archive:{tmp_path}/image.tar"])
    assert rs.save(built, f"oci:{tmp_path}/copy:b").digest == built.digest
    assert rs.push(f"oci:{tmp_path}/copy:b", f"oci-archive:{tmp_path}/copy.tar").digest == built.digest
    refusal(lambda: rs.save(f"oci:{tmp_path}/copy:c", str(tmp_path / "c.tar")), ImageNotFoundError)
    refusal(lambda: rs.save(f"oci:{tmp_path}/none", str(tmp_path / "c.tar")), ImageNotFoundError)
    refusal(lambda: rs.save(built, ()), UsageError)
    assert not (tmp_path / "c.tar").exists()


@pytest.mark.parametrize("compress", [None, "gzip"])
@pytest.mark.parametrize("blob", ["layer", "config", "manifest"])
def test_a_damaged_image_is_not_copied_and_an_old_file_stays(
    tmp_path: Path, program: Path, blob: str, compress: str | None
) -> None:
    place, archive = tmp_path / "layout", tmp_path / "image.tar"
    image = rs.build(program, output=f"oci:{place}")
    archive.write_bytes(b"old")
    digests = {"layer": image.layers[0].digest, "config": f"sha256:{image.image_id}", "manifest": image.digest}
    file = place / "blobs/sha256" / digests[blob].removeprefix("sha256:")
    content = file.read_bytes()
    changed = {"layer": (b"program", b"progrxm"), "config": (b"65532", b"65533"), "manifest": (b"2,", b"2 ,")}
    assert changed[blob][0] in content
    file.write_bytes(content.replace(*changed[blob], 1))
    error = refusal(lambda: rs.save(f"oci:{place}", str(archive), compress=compress), SourceError)
    assert "is not a whole image" in error.message
    assert archive.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tar", "layout", "program"]


@pytest.mark.slow
def test_killed_at_any_moment_a_save_leaves_the_old_archive_or_the_new(tmp_path: Path, program: Path) -> None:
    with program.open("ab") as file:
        file.truncate(30_000_000)
    rs.build(program, output=f"oci:{tmp_path}/layout")
    archive = tmp_path / "out/image.tar"
    archive.parent.mkdir()
    argv = [
        sys.executable,
        "-m",
        "rootless_scratch",
        "save",
        f"oci:{tmp_path}/layout",
        "-o",
        f"oci-archive:{archive}",
    ]
    for number in range(8):
        killed = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        time.sleep(0.1 + number * 0.05)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert not archive.exists() or faults(f"oci-archive:{archive}") == ()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    assert [path.name for path in archive.parent.iterdir()] == ["image.tar"]
    assert faults(f"oci-archive:{archive}") == ()


@pytest.mark.slow
def test_a_program_that_does_nothing_is_ended_and_one_that_works_is_not() -> None:
    lines: list[str] = []
    work = "for i in 1 2 3 4 5 6 7 8; do echo $i; head -c 4000 /dev/zero >/dev/null; sleep 0.1; done; exit 3"
    done = follow(["bash", "-c", work], environment=os.environ, idle=60, on_stdout=lines.append)
    assert (done.exit_code, lines) == (3, list("12345678"))
    error = refusal(lambda: follow(["sleep", "100"], environment=os.environ, idle=0.3), CommandTimeoutError)
    assert "did nothing for 0.3 s" in error.message


@pytest.mark.buildah
@pytest.mark.podman
def test_an_image_of_local_storage_is_saved_and_loaded_under_its_name(
    fresh_home: Home, shared_home: Home, tmp_path: Path, program: Path
) -> None:
    built = fresh_home.json("build", str(program), "-t", "shop/server:2")
    saved = fresh_home.json(
        "save", "shop/server:2", "-o", f"{tmp_path}/server.tar", "-o", f"oci:{tmp_path}/layout"
    )
    assert saved["image_id"] == built["image_id"]
    assert [output["ref"] for output in saved["outputs"]] == [
        f"docker-archive:{tmp_path}/server.tar",
        f"oci:{tmp_path}/layout",
    ]
    assert {output["digest"] for output in saved["outputs"]} == {saved["digest"]}
    shared_home.run(["podman", "load", "-i", f"{tmp_path}/server.tar"])
    assert shared_home.cli("run", "shop/server:2").stdout == b"Hello World\n"
    by_id = fresh_home.json("save", built["image_id"][:12], "-o", f"oci-archive:{tmp_path}/by-id.tar")
    assert by_id["digest"] == saved["digest"]
    missing = fresh_home.cli("save", "shop/serve:2", "-o", f"{tmp_path}/none.tar")
    assert missing.returncode == 1
    assert b"Did you mean localhost/shop/server:2?" in missing.stderr
    assert not (tmp_path / "none.tar").exists()
    assert fresh_home.temporary_files() == []


@pytest.mark.buildah
def test_the_backend_buildah_writes_outputs_beside_local_storage(
    fresh_home: Home, tmp_path: Path, program: Path
) -> None:
    words = ["build", str(program), "--backend", "buildah", "-o", f"oci:{tmp_path}/layout"]
    built = fresh_home.json(
        *words, "-t", "both", "-o", f"docker-archive:{tmp_path}/both.tar", "--compress", "gzip"
    )
    assert built["backend"] == "buildah"
    stored = fresh_home.run(["buildah", "images", "--no-trunc", "--quiet", "both"]).stdout.decode().strip()
    assert stored == f"sha256:{built['image_id']}"
    for output in built["outputs"]:
        assert fresh_home.json("inspect", output["ref"])["image_id"] == built["image_id"]
        assert faults(output["ref"]) == ()
    alone = fresh_home.cli(*words)
    assert alone.returncode == 2
    assert b"Add `-t NAME`" in alone.stderr
