"""The same image ID whatever storage keeps it, wherever the files lie, and in whatever order they are named."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf

if TYPE_CHECKING:
    from conftest import Home


def tree(place: Path, *, seed: int) -> list[str]:
    """A program and a directory, written in an order and with times of their own; the words that build them."""
    order = random.Random(seed)  # noqa: S311 - an order, no secret
    program = tinyelf.write(place / "server")
    names = [f"page-{number}" for number in range(20)]
    order.shuffle(names)
    (place / "www").mkdir()
    for name in names:
        file = place / "www" / name
        file.write_text(name)
        os.utime(file, (order.randrange(2**31), order.randrange(2**31)))
        file.chmod(order.choice((0o600, 0o644, 0o664)))
    flags = [
        ("--env", "B=1"),
        ("--copy", f"{place / 'www'}:/srv"),
        ("--mkdir", "/data:uid=65532"),
        ("--label", "a=b"),
    ]
    order.shuffle(flags)
    return ["build", str(program), *(word for flag in flags for word in flag)]


@pytest.mark.buildah
def test_the_image_id_is_the_same_whoever_builds_it_wherever_and_whenever(
    shared_home: Home, tmp_path: Path
) -> None:
    program = tinyelf.write(tmp_path / "program")
    tree = tmp_path / "tree"
    for name in ("b", "a", "ü", "sub/x"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    words = [
        "build",
        str(program),
        "-t",
        "same",
        "--copy",
        f"{tree}:/tree",
        "--mkdir",
        "/tmp:mode=1777",
        "--env",
        "B=1",
    ]
    expected = shared_home.json(*words)["image_id"]
    for umask in (0o022, 0o077, 0o000):
        script = f'umask {umask:03o}; exec "$0" -m rootless_scratch "$@"'
        done = shared_home.run(["sh", "-c", script, sys.executable, *words, "--json"])
        assert json.loads(done.stdout)["image_id"] == expected, f"umask {umask:03o}"
    os.utime(program, (1, 1))
    (tree / "a").chmod(0o600)
    for changed in (
        {"TZ": "Asia/Kolkata"},
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "LANG": "de_DE"},
        {"HOME": str(shared_home.path)},
    ):
        assert shared_home.json(*words, environment=changed)["image_id"] == expected, changed
    assert shared_home.json(*words, environment={"SOURCE_DATE_EPOCH": "1700000000"})["image_id"] != expected


@pytest.mark.buildah
def test_another_user_gets_the_same_image_id(shared_home: Home, fresh_home: Home, tmp_path: Path) -> None:
    """Root of a user namespace is another user, with no session to enter."""
    program = tinyelf.write(tmp_path / "program")
    words = ["build", str(program), "-t", "same", "--mkdir", "/data:uid=65532,gid=65532"]
    expected = shared_home.json(*words)["image_id"]
    as_root = ["podman", "unshare", sys.executable, "-m", "rootless_scratch", *words, "--json"]
    done = fresh_home.run(as_root)
    assert json.loads(done.stdout)["image_id"] == expected


@pytest.mark.buildah
def test_another_store_and_another_directory_give_the_same_image_id(
    shared_home: Home, fresh_home: Home, tmp_path: Path
) -> None:
    first, second = tmp_path / "one", tmp_path / "two" / "deep"
    for place in (first, second):
        place.mkdir(parents=True)
        tinyelf.write(place / "program")
    ids = {
        home.json("build", "program", "-t", "x", cwd=place)["image_id"]
        for home, place in ((shared_home, first), (fresh_home, second))
    }
    assert len(ids) == 1


@pytest.mark.buildah
def test_both_storage_drivers_keep_the_same_image(fresh_home: Home, tmp_path: Path) -> None:
    words = [*tree(tmp_path, seed=0), "-t", "same"]
    found = set()
    for driver in ("vfs", "overlay"):
        place = fresh_home.path / driver
        place.mkdir()
        environment = {"STORAGE_DRIVER": driver, "XDG_DATA_HOME": str(place)}
        found.add(fresh_home.json(*words, environment=environment)["image_id"])
        assert (place / "containers/storage" / f"{driver}-images").is_dir()
    assert len(found) == 1


@pytest.mark.parametrize("backend", ["direct", pytest.param("buildah", marks=pytest.mark.buildah)])
def test_neither_file_system_nor_order_nor_times_nor_modes_of_sources_are_seen(
    shared_home: Home, tmp_path: Path, backend: str
) -> None:
    in_memory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    (tmp_path / "other").mkdir()
    try:
        found = set()
        for number, place in enumerate((tmp_path, in_memory, tmp_path / "other")):
            to = ["-o", f"oci:{place}/layout"] if backend == "direct" else ["-t", "anywhere"]
            found.add(shared_home.json(*tree(place, seed=number), *to)["image_id"])
    finally:
        shutil.rmtree(in_memory)
    assert len(found) == 1
