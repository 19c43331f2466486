"""A bake in which nothing has changed does nothing, and whatever has changed is noticed."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest
import tinyelf

import rootless_scratch as rs

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

FILE = '[image.one]\nprograms = ["one:/server"]\nwith = ["tmp"]\n\n[image.two]\nprograms = ["two:/server"]\n'
SETTLED = 3.2


@pytest.fixture
def shop(tmp_path: Path, python_home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two images of files that are known by their status, baked until a record has all that is known of them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    del python_home
    (tmp_path / "cache").mkdir()
    for name in ("one", "two"):
        tinyelf.write(tmp_path / name, text=name.encode())
    (tmp_path / "scratch.toml").write_text(FILE)
    time.sleep(SETTLED)
    baked(tmp_path)
    time.sleep(SETTLED)
    baked(tmp_path)
    assert records(tmp_path) == 1
    return tmp_path


def baked(place: Path) -> dict[str, str]:
    found = rs.bake(place / "scratch.toml", output=f"oci:{place}/out")
    assert not found.errors
    return {name: image.digest for name, image in found.images.items()}


def records(place: Path) -> int:
    return len(list((place / "cache/rootless-scratch/bakes").iterdir()))


def named(place: Path) -> list[str]:
    manifests = json.loads((place / "out/index.json").read_text())["manifests"]
    return sorted(each["digest"] for each in manifests)


@pytest.mark.slow
def test_nothing_is_read_again_and_whatever_changes_is_noticed(shop: Path) -> None:
    before = baked(shop)
    assert sorted(before.values()) == named(shop)
    seen = (shop / "out/index.json").stat().st_mtime_ns
    assert baked(shop) == before
    assert (shop / "out/index.json").stat().st_mtime_ns == seen

    # The same size and the same time of change of its content: another program all the same.
    status = (shop / "one").stat()
    content = (shop / "one").read_bytes()
    (shop / "one").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(shop / "one", ns=(status.st_atime_ns, status.st_mtime_ns))
    after = baked(shop)
    assert after["one"] != before["one"]
    assert after["two"] == before["two"]

    # A layout that lost a blob, a name, or all of it gets it again.
    for lose in (remove_blob, rename, move):
        lose(shop, after["two"])
        assert baked(shop) == after
        assert set(after.values()) <= set(named(shop))
        assert blob(shop, after["two"]).exists()

    # What else decides: options, and the time of all files.
    (shop / "scratch.toml").write_text(FILE.replace('["tmp"]', '["tmp", "nsswitch"]'))
    assert baked(shop)["one"] != after["one"]


@pytest.mark.slow
def test_a_time_from_outside_and_a_damaged_record_count(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = baked(shop)
    (record,) = (shop / "cache/rootless-scratch/bakes").iterdir()
    record.write_bytes(record.read_bytes().replace(b"sha256:", b"sha255:"))
    assert baked(shop) == before
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "5")
    assert baked(shop)["one"] != before["one"]


@pytest.mark.slow
def test_documents_that_are_gone_are_written_again(shop: Path) -> None:
    for name in ("one", "two"):
        text = (shop / "scratch.toml").read_text()
        wanted = f'[image.{name}]\nsbom = ["spdx:{name}.spdx.json"]'
        (shop / "scratch.toml").write_text(text.replace(f"[image.{name}]", wanted))
    before = baked(shop)
    time.sleep(SETTLED)
    assert baked(shop) == before
    documents = [shop / f"{name}.spdx.json" for name in ("one", "two")]
    for document in documents:
        document.unlink()
    assert baked(shop) == before
    assert all(document.exists() for document in documents)


def blob(place: Path, digest: str) -> Path:
    return place / "out/blobs" / digest.replace(":", "/")


def remove_blob(place: Path, digest: str) -> None:
    blob(place, digest).unlink()


def rename(place: Path, _digest: str) -> None:
    text = (place / "out/index.json").read_text()
    (place / "out/index.json").write_text(text.replace('"two"', '"old"'))


def move(place: Path, _digest: str) -> None:
    (place / "out").rename(place / f"out-{time.time_ns()}")
