"""Sparse sources: a hole takes no room in the container or the context, and reads as the zeros that it is."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf

from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, Spec
from rootless_scratch.image.write.layer import parse_compression, write_layer
from rootless_scratch.sparse import copy_sparse

if TYPE_CHECKING:
    from conftest import Home

SOURCE = Path(__file__).resolve().parents[2]
HOLE = 4 << 30
WRITE = """
import os, sys
sys.path.insert(0, sys.argv[3])
from rootless_scratch.backends.jobs import JobEntry
from rootless_scratch.backends.worker.entries import Writer
status = os.stat(sys.argv[1])
identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
mine = {"mode": 0o755, "uid": os.getuid(), "gid": os.getgid()}
entry = JobEntry(type="file", path="/copy", source=sys.argv[1], identity=identity, **mine)
writer = Writer(sys.argv[2], 0, {})
writer.write([entry])
assert writer.written == status.st_size
"""


def stretches(*pieces: tuple[int, bytes], size: int) -> dict[int, bytes]:
    return {**dict(pieces), size: b""}


SHAPES = {
    "no hole": stretches((0, b"x" * 200_000), size=200_000),
    "a hole in front": stretches((1 << 20, b"end"), size=(1 << 20) + 3),
    "a hole at the end": stretches((0, b"begin"), size=1 << 20),
    "nothing but a hole": stretches(size=1 << 20),
    "holes between": stretches((0, b"a" * 5000), (300_000, b"b" * 70_000), (1 << 21, b"c"), size=3 << 20),
    "empty": stretches(size=0),
    "small": stretches((0, b"small"), size=5),
    "data that is zeros": stretches((0, bytes(200_000)), size=200_000),
}


def made(path: Path, shape: dict[int, bytes]) -> Path:
    with path.open("wb") as file:
        for at, content in shape.items():
            file.seek(at)
            file.write(content)
        file.truncate(max(shape))
    return path


@pytest.mark.parametrize("shape", SHAPES)
def test_a_copy_is_the_same_file_with_no_more_blocks(tmp_path: Path, shape: str) -> None:
    source = made(tmp_path / "source", SHAPES[shape])
    with source.open("rb") as reading, (tmp_path / "copy").open("xb") as writing:
        size = source.stat().st_size
        # Wherever the reader stands.
        reading.seek(1)
        done = list(copy_sparse(reading.fileno(), writing.fileno(), size, chunk=64 << 10))
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert sum(done) == size
    assert (tmp_path / "copy").stat().st_blocks <= source.stat().st_blocks + 64


def test_a_copy_by_hand_keeps_holes_too(tmp_path: Path) -> None:
    source = made(tmp_path / "source", SHAPES["holes between"])
    reading = os.open(source, os.O_RDONLY)
    writing = os.open(tmp_path / "copy", os.O_RDWR | os.O_CREAT)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "copy_file_range", _refused)
            assert sum(copy_sparse(reading, writing, source.stat().st_size, chunk=4096)) == source.stat().st_size
    finally:
        os.close(reading)
        os.close(writing)
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert (tmp_path / "copy").stat().st_blocks <= source.stat().st_blocks + 64


def _refused(*_: object) -> int:
    raise OSError(38, "the kernel has no copy_file_range(2)")


def test_a_container_gets_a_sparse_program_without_its_holes_written(tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "sparse")
    os.truncate(program, HOLE)
    (tmp_path / "root").mkdir()
    words = [sys.executable, "-I", "-S", "-c", WRITE, str(program), str(tmp_path / "root"), str(SOURCE)]
    # A worker whose stdin is closed has lost its caller.
    ours, theirs = os.pipe()
    try:
        subprocess.run(words, check=True, timeout=30, stdin=ours, stdout=subprocess.DEVNULL)
    finally:
        os.close(ours)
        os.close(theirs)
    copy = (tmp_path / "root/copy").stat()
    assert copy.st_size == HOLE
    assert copy.st_blocks * 512 <= program.stat().st_blocks * 512 + (1 << 20)
    with (tmp_path / "root/copy").open("rb") as written, program.open("rb") as source:
        assert written.read(4096) == source.read(4096)


def test_a_context_of_a_containerfile_keeps_holes(shared_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "sparse")
    os.truncate(program, HOLE)
    done = shared_home.cli("containerfile", str(program), "-o", str(tmp_path / "context"))
    assert done.returncode == 0, done.stderr
    (copy,) = [
        path for path in (tmp_path / "context").rglob("*") if path.is_file() and path.stat().st_size == HOLE
    ]
    assert copy.stat().st_blocks * 512 <= 1 << 20


@pytest.mark.parametrize("how", ["none", "gzip"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_layer_of_a_sparse_file_has_the_bytes_of_a_full_one(tmp_path: Path, shape: str, how: str) -> None:
    sparse = made(tmp_path / "sparse", SHAPES[shape])
    (tmp_path / "full").write_bytes(sparse.read_bytes())
    layers = []
    for source in (sparse, tmp_path / "full"):
        image = plan(Spec(copies=(Copy(source=str(source), destination="/f"),)), environ={})
        with (tmp_path / f"{source.name}.tar").open("xb") as file:
            # The size decides between one thread and several.
            for size in (0, 1 << 30):
                file.seek(0)
                file.truncate(0)
                compression = parse_compression(how)
                layers.append(
                    write_layer(image.rootfs, file.fileno(), mtime=0, size=size, compression=compression)
                )
    assert len({(layer.diff_id, layer.digest, layer.size) for layer in layers}) == 1
    assert (tmp_path / "sparse.tar").read_bytes() == (tmp_path / "full.tar").read_bytes()


@pytest.mark.slow
def test_a_layout_and_archives_of_a_sparse_file_take_no_more_room_than_it(
    shared_home: Home, tmp_path: Path
) -> None:
    program = tinyelf.write(tmp_path / "sparse")
    os.truncate(program, 256 << 20)
    outputs = ["oci:layout", "oci-archive:oci.tar", "docker-archive:docker.tar"]
    words = [word for output in outputs for word in ("-o", output)]
    shared_home.json("build", str(program), *words, cwd=tmp_path)
    found = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size >= 256 << 20]
    assert len(found) == 4
    assert sum(path.stat().st_blocks * 512 for path in found) < 4 << 20
    for output in outputs:
        assert shared_home.json("check", output, cwd=tmp_path)["verdict"] == "starts"
    with tarfile.open(tmp_path / "oci.tar") as archive:
        blob = max(archive.getmembers(), key=lambda member: member.size)
        assert blob.name.endswith(hashlib.sha256(archive.extractfile(blob).read()).hexdigest())  # type: ignore[union-attr]


def test_what_can_have_no_hole_gets_zeros(tmp_path: Path) -> None:
    source = made(tmp_path / "source", SHAPES["holes between"])
    words = [sys.executable, "-c", PIPE, str(source), str(SOURCE)]
    done = subprocess.run(words, check=True, capture_output=True, timeout=30)
    assert done.stdout == source.read_bytes()


PIPE = """
import os, sys
sys.path.insert(0, sys.argv[2])
from rootless_scratch.sparse import append_sparse
reading = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(reading).st_size
assert sum(append_sparse(reading, 1, size, chunk=1 << 20)) == size
"""
