"""Many at once over one cache, killed and with no room: every image is right, and all that stays is whole."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
import tinyelf

import rootless_scratch as rs
from rootless_scratch.caching.store import Store

if TYPE_CHECKING:
    from conftest import Home

COUNT = 12
FILE = """
[image.base]
programs = ["program"]

[image.all]
inherits = ["base"]
matrix = { number = [%s] }
copy = ["data${number}:/data"]
output = "oci:%s:i${number}"
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A directory with a file of images whose layers are worth keeping, and differ."""
    tinyelf.write(tmp_path / "program")
    for number in range(COUNT):
        content = random.Random(number).randbytes(2_000_000)  # noqa: S311 - any bytes
        (tmp_path / f"data{number}").write_bytes(content + bytes(200_000))
    return tmp_path


def begin(home: Home, many: Path, *words: str, layout: str = "out") -> subprocess.Popen[bytes]:
    """A bake of all images to a layout, under way."""
    numbers = ", ".join(f'"{number}"' for number in range(COUNT))
    path = many / f"{layout}.toml"
    text = FILE.replace("${number}", "{number}") % (numbers, layout)
    path.write_text(text.replace("{number}", "${number}"))
    argv = [sys.executable, "-m", "rootless_scratch", "bake", "-q", str(path), "--compress", "gzip", *words]
    return subprocess.Popen(argv, cwd=many, env=home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def store_of(home: Home) -> Store:
    return Store(f"{home.path}/.cache/rootless-scratch/blobs")


def names_in(layout: Path) -> dict[str, str]:
    index = json.loads((layout / "index.json").read_text())
    return {
        each["annotations"]["org.opencontainers.image.ref.name"]: each["digest"] for each in index["manifests"]
    }


def finished(child: subprocess.Popen[bytes]) -> None:
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors.decode()


@pytest.mark.slow
def test_two_bakes_at_once_over_one_cache_are_both_right(fresh_home: Home, many: Path) -> None:
    children = [begin(fresh_home, many, layout=name) for name in ("one", "two")]
    for child in children:
        finished(child)
    assert names_in(many / "one") == names_in(many / "two")
    assert len(names_in(many / "one")) == COUNT
    assert len(store_of(fresh_home).files()) == COUNT
    assert fresh_home.json("cache", "verify")["removed"] == []


@pytest.mark.slow
def test_whoever_is_killed_leaves_nothing_that_is_not_whole(fresh_home: Home, many: Path) -> None:
    finished(begin(fresh_home, many, layout="whole"))
    whole = names_in(many / "whole")
    store = store_of(fresh_home)
    for number in range(8):
        fresh_home.cli("cache", "prune")
        child = begin(fresh_home, many, "--jobs", "1", layout=f"killed{number}")
        deadline = time.monotonic() + 20
        while not store.files() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(number * 0.004)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert fresh_home.json("cache", "verify")["removed"] == []
        finished(begin(fresh_home, many, layout=f"killed{number}"))
        assert names_in(many / f"killed{number}") == whole
    assert not list(Path(store.directory).glob(".*"))


@pytest.mark.slow
def test_a_cache_that_is_pruned_all_the_time_serves_those_who_build(fresh_home: Home, many: Path) -> None:
    finished(begin(fresh_home, many, layout="whole"))
    over = Event()
    store = store_of(fresh_home)

    def prune() -> None:
        while not over.wait(0.003):
            store.prune(keep=800_000)

    pruning = Thread(target=prune)
    pruning.start()
    try:
        for number in range(3):
            finished(begin(fresh_home, many, layout=f"beside{number}"))
            assert names_in(many / f"beside{number}") == names_in(many / "whole")
    finally:
        over.set()
        pruning.join()


@pytest.mark.podman
def test_a_cache_on_a_full_disk_keeps_no_image_from_being_built(fresh_home: Home, many: Path) -> None:
    """A small file system in a namespace of the test's own holds the cache."""
    script = (
        'set -e; mkdir -p cache; mount -t tmpfs -o size=1m tmpfs cache; export XDG_CACHE_HOME="$PWD/cache"\n'
        'for each in 0 1 2 3 4 5 0; do "$1" -m rootless_scratch build -q program --copy "data$each:/data" '
        '-o "oci:out$each" --compress gzip >/dev/null; done\n'
        '"$1" -m rootless_scratch cache verify; head -c 1m /dev/zero > cache/full 2>/dev/null || true\n'
        '"$1" -m rootless_scratch build -q program --copy data7:/data -o oci:out7 --compress gzip >/dev/null\n'
        "find cache -name '.rootless-scratch-*'\n"
    )
    done = subprocess.run(
        ["podman", "unshare", "sh", "-c", script, "sh", sys.executable],
        env=fresh_home.environment | {"_CONTAINERS_ROOTLESS_UID": str(os.getuid())},
        cwd=many,
        capture_output=True,
        timeout=120,
        check=False,
    )
    said = [line for line in done.stderr.decode().splitlines() if not line.startswith("time=")]
    assert (done.returncode, said) == (0, [])
    assert done.stdout == b"0 damaged layers\n"
    digest = rs.build(
        many / "program", copy=[f"{many}/data7:/data"], output=f"oci:{many}/plain", compress="gzip"
    ).digest
    assert digest.removeprefix("sha256:") in (many / "out7/index.json").read_text()
