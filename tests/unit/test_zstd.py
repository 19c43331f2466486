"""Layers as zstd: the same bytes each time, and read by us and by others."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import tinyelf

import rootless_scratch as rs
from rootless_scratch.image.write.layer import pack_layer, parse_compression
from rootless_scratch.image.write.packing import CHUNK, packer
from rootless_scratch.image.zstd import opened

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tinyelf.write(tmp_path / "program")
    with path.open("ab") as file:
        file.write(os.urandom(1_000_000) + bytes(9_000_000))
    return path


@pytest.mark.parametrize("size", [0, 1, CHUNK, 3 * CHUNK + 7])
def test_the_bytes_do_not_depend_on_threads_or_pieces_and_unpack_to_what_was_packed(size: int) -> None:
    content = os.urandom(size // 2) + bytes(size - size // 2)
    packed = set()
    for parallel in (True, False):
        for step in (CHUNK, 70_001):
            packing = packer("zstd", 3, parallel=parallel)
            assert packing is not None
            found = b"".join(packing.add(content[at : at + step]) for at in range(0, size, step))
            packed.add(found + packing.end())
    (bytes_packed,) = packed
    assert opened(io.BytesIO(bytes_packed)).read() == content


def test_an_image_is_built_checked_inspected_and_packed_anew(
    tmp_path: Path, program: Path, shared_home: Home
) -> None:
    words = [f"oci:{tmp_path}/one", f"oci-archive:{tmp_path}/two.tar"]
    built = rs.build(program, output=words, compress="zstd")
    plain = rs.build(program, output=f"oci:{tmp_path}/plain")
    assert built.layers[0].media_type == MEDIA_TYPE
    assert (built.image_id, built.diff_ids) == (plain.image_id, plain.diff_ids)
    assert built.size < plain.size / 4
    for word in words:
        assert rs.check(word).verdict == "starts"
    shown = shared_home.json("inspect", words[1])
    assert shown["files"] == shared_home.json("inspect", f"oci:{tmp_path}/plain")["files"]
    assert rs.save(words[0], f"oci:{tmp_path}/back", compress="none").digest == plain.digest
    assert rs.save(f"oci:{tmp_path}/plain", f"oci:{tmp_path}/again", compress="zstd").digest == built.digest
    assert rs.build(program, output=f"oci:{tmp_path}/small", compress="zstd:19").size < built.size


def test_a_damaged_layer_is_named(tmp_path: Path, program: Path) -> None:
    built = rs.build(program, output=f"oci:{tmp_path}/layout", compress="zstd")
    file = tmp_path / "layout/blobs/sha256" / built.layers[0].digest.removeprefix("sha256:")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    judgement = rs.check(f"oci:{tmp_path}/layout")
    assert judgement.verdict == "fails"
    assert {finding.rule for finding in judgement} == {"broken-image"}


def test_what_is_packed_from_a_tar_is_what_a_build_writes(tmp_path: Path, program: Path) -> None:
    plain = rs.build(program, output=f"oci:{tmp_path}/plain")
    built = rs.build(program, output=f"oci:{tmp_path}/packed", compress="zstd:5")
    tar = (tmp_path / "plain/blobs/sha256" / plain.layers[0].digest.removeprefix("sha256:")).read_bytes()
    with (tmp_path / "file").open("wb") as file:
        written = pack_layer([tar], file.fileno(), compression=parse_compression("zstd:5"))
    assert f"sha256:{written.digest}" == built.layers[0].digest
    assert hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest() == written.digest


def test_where_the_module_is_missing_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['zstandard'] = sys.modules['compression.zstd'] = None\n"
        "import rootless_scratch as rs\n"
        "try:\n    rs.build('/none', output='oci:/none', compress='zstd')\n"
        "except rs.HostError as error:\n    print(error.fix)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "rootless-scratch[zstd]" in done.stdout


@pytest.mark.buildah
def test_buildah_reads_it(shared_home: Home, tmp_path: Path, program: Path) -> None:
    built = shared_home.json("build", str(program), "-o", f"oci:{tmp_path}/layout:latest", "--compress", "zstd")
    pulled = shared_home.run(["buildah", "pull", "-q", f"oci:{tmp_path}/layout:latest"]).stdout.decode().strip()
    assert pulled == built["image_id"]
