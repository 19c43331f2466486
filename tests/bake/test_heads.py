"""Images that have large files in common: what their layers begin with is hashed once, for all of them."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

import pytest
import tinyelf

import rootless_scratch as rs
from rootless_scratch.verbs.making import Watcher

if TYPE_CHECKING:
    from pathlib import Path

    from rootless_scratch.progress import Progress

COUNT = 4
SIZE = 5 << 20
SETTLED = 3.2

FILE = """
[image.all]
name = "s-${n}"
programs = ["program${n}:/server"]
copy = ["one:/data/one", "two:/data/two", "small:/data/small", "holes:/data/holes"]
matrix = {n = ["0", "1", "2", "3"]}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Programs that differ, and files of a few megabytes that all images have; one of them has a hole."""
    for number in range(COUNT):
        tinyelf.write(tmp_path / f"program{number}", text=b"%d" % number)
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(os.urandom(SIZE - 7))
    (tmp_path / "small").write_bytes(b"small")
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(SIZE)
        file.seek(SIZE // 2)
        file.write(b"x")
    (tmp_path / "scratch.toml").write_text(FILE)
    return tmp_path


class Changing(Watcher):
    """Writes to a file that all images have when the third image is begun."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begun = 0

    def begin(self, name: str) -> Progress:
        self._begun += 1
        if self._begun == 3:
            with self._path.open("r+b") as file:
                file.seek(SIZE // 2)
                file.write(b"changed")
        return super().begin(name)


def require_whole(layout: Path) -> None:
    """Each blob has the digest that it is named by."""
    blobs = list((layout / "blobs/sha256").iterdir())
    assert len(blobs) == 3 * COUNT
    for blob in blobs:
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


@pytest.mark.slow
@pytest.mark.usefixtures("python_home")
@pytest.mark.parametrize("jobs", [1, 3])
def test_all_layers_are_those_of_single_builds(shop: Path, jobs: int) -> None:
    time.sleep(SETTLED)
    baked = rs.bake(shop / "scratch.toml", output=f"oci:{shop}/out", jobs=jobs)
    assert not baked.errors
    require_whole(shop / "out")
    copies = [f"{shop}/{name}:/data/{name}" for name in ("one", "two", "small", "holes")]
    for number in range(COUNT):
        single = rs.build(f"{shop}/program{number}:/server", copy=copies, output=f"oci:{shop}/single")
        assert single.digest == baked.images[f"s-{number}"].digest


@pytest.mark.slow
@pytest.mark.usefixtures("python_home")
def test_a_file_that_changes_on_the_way_is_in_no_layer_under_another_digest(shop: Path) -> None:
    # Not settled: nothing is taken from one layer to the next.
    (shop / "two").write_bytes(os.urandom(SIZE))
    require_all(shop)
    time.sleep(SETTLED)

    baked = rs.bake(shop / "scratch.toml", output=f"oci:{shop}/changing", jobs=1, watcher=Changing(shop / "two"))
    for blob in (shop / "changing/blobs/sha256").iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    # What was copied once is planned as it was for all: those before the change are built, and the others refused.
    assert set(baked.images) == {"s-0", "s-1"}
    assert all("changed since it was planned" in error.message for error in baked.errors.values())


def require_all(shop: Path) -> None:
    baked = rs.bake(shop / "scratch.toml", output=f"oci:{shop}/fresh", jobs=2)
    assert not baked.errors
    require_whole(shop / "fresh")
