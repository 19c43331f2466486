"""A layer whose files are known to be the same is not made again; no change is ever missed."""

from __future__ import annotations

import hashlib
import mmap
import os
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf

import rootless_scratch as rs
from rootless_scratch.elf.identity import FileIdentity
from rootless_scratch.image.rootfs import File, Rootfs
from rootless_scratch.image.write.layer import WrittenLayer
from rootless_scratch.image.write.remembered import Memory, layer_key
from rootless_scratch.image.write.settled import FILE_SYSTEMS, file_system

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Home

    from rootless_scratch.image.finished import Image

SIZE = 9 << 20
SETTLED = 3.2
OTHERS = os.path.realpath("/bin/sh")
"""A file of another user."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/cache")
    return tmp_path / "cache/rootless-scratch/layers"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "tree/data"
    path.parent.mkdir()
    path.write_bytes(os.urandom(SIZE))
    (tmp_path / "tree/page").write_text("page")
    tinyelf.write(tmp_path / "program")
    return path


def image_of(source: Path, layout: str = "layout") -> Path:
    """Build, and return the layer that the image has by now."""
    above = source.parent.parent
    copies = [f"{source.parent}:/srv", f"{OTHERS}:/srv/other"]
    image = rs.build(str(above / "program"), copy=copies, output=f"oci:{above / layout}")
    return above / layout / "blobs" / image.layers[0].digest.replace(":", "/")


def build(source: Path, layout: str = "layout") -> bytes:
    """What the image has of the large file."""
    blob = image_of(source, layout)
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    with tarfile.open(blob) as tar:
        file = tar.extractfile("srv/data")
        assert file is not None
        return file.read()


def settle(source: Path) -> None:
    """Build until all is known that can be known."""
    time.sleep(SETTLED)
    build(source)
    time.sleep(SETTLED)
    build(source)


def bytes_read(call: Callable[[], object]) -> int:
    def count() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before = count()
    call()
    return count() - before


def is_known_file_system(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return file_system(descriptor) in FILE_SYSTEMS
    finally:
        os.close(descriptor)


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_what_is_known_is_not_read_again_and_gives_the_same_image(source: Path, tmp_path: Path) -> None:
    settle(source)
    index = (tmp_path / "layout/index.json").read_bytes()
    (tmp_path / "tree/page").touch()  # a file as small as this one counts by its bytes
    found = bytes_read(lambda: image_of(source))
    assert found < 1 << 20 or not (is_known_file_system(source) and is_known_file_system(Path(OTHERS)))
    assert (tmp_path / "layout/index.json").read_bytes() == index
    assert build(source) == source.read_bytes()
    assert build(source, "other") == source.read_bytes()


def same_tick(source: Path) -> None:
    """The size and the time of the last change of content stay."""
    before = source.stat()
    source.write_bytes(os.urandom(SIZE))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))


def mapped(source: Path) -> None:
    with source.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[SIZE // 2] ^= 1


def exchanged(source: Path) -> None:
    before, new = source.stat(), source.with_name("new")
    new.write_bytes(os.urandom(SIZE))
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(source)


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("change", [same_tick, mapped, exchanged])
def test_a_change_of_what_was_known_is_seen_at_once(source: Path, change: Callable[[Path], None]) -> None:
    settle(source)
    for _ in range(5):
        change(source)
        assert build(source) == source.read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_writes_in_the_tick_of_a_build_are_seen(source: Path) -> None:
    before = source.stat()
    for _ in range(20):
        with source.open("r+b") as file:
            file.write(os.urandom(16))
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert build(source) == source.read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_what_somebody_has_mapped_is_never_known(source: Path) -> None:
    """Later writes through a mapping do not change the times of a file again."""
    with source.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        file.close()
        memory[0] ^= 1
        settle(source)
        for _ in range(5):
            memory[SIZE // 2] = (memory[SIZE // 2] + 1) % 256
            assert build(source)[SIZE // 2] == memory[SIZE // 2]
            time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("damage", ["damaged", "cut off", "removed", "the directory removed"])
def test_a_layout_that_somebody_has_damaged_is_whole_again(source: Path, tmp_path: Path, damage: str) -> None:
    settle(source)
    blob = image_of(source)
    before = blob.stat()
    if damage == "damaged":
        with blob.open("r+b") as file:
            file.seek(5 << 20)
            file.write(bytes(100))
        os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif damage == "cut off":
        os.truncate(blob, 100)
    elif damage == "removed":
        blob.unlink()
    else:
        blob.parent.rename(tmp_path / "elsewhere")
    assert build(source) == source.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut off", "other", "swapped", "pipe", "directory", "link"])
def test_a_damaged_memory_is_no_memory(source: Path, cache: Path, damage: str) -> None:
    settle(source)
    texts = [path.read_bytes() for path in sorted(cache.iterdir())]
    assert len(texts) >= 2 or not (is_known_file_system(source) and is_known_file_system(Path(OTHERS)))
    for path, text in zip(sorted(cache.iterdir()), reversed(texts), strict=True):
        if damage in ("cut off", "other"):
            path.write_bytes(path.read_bytes()[:-2] + b"x" * (damage == "other"))
            continue
        path.unlink()
        if damage == "swapped":
            path.write_bytes(text)
        elif damage == "pipe":
            os.mkfifo(path)
        elif damage == "directory":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero")
    same_tick(source)
    for _ in range(2):
        assert build(source) == source.read_bytes()


@pytest.mark.parametrize("base", ["file", "closed", "relative", "open to others"])
def test_without_a_place_nothing_is_remembered(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    monkeypatch.setenv("HOME", f"{tmp_path}/none")
    monkeypatch.setenv("XDG_CACHE_HOME", "cache" if base == "relative" else f"{tmp_path}/{base}")
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir(mode=0o500)
    (tmp_path / "open to others").mkdir()
    (tmp_path / "open to others").chmod(0o777)
    monkeypatch.chdir(tmp_path)
    assert build(source) == source.read_bytes()
    assert not (tmp_path / "cache").exists()
    assert not list((tmp_path / "open to others").iterdir())


def test_a_file_that_holds_the_numbers_of_another_is_not_that_file() -> None:
    def file(path: str, inode: int, size: int, content: bytes | None = None) -> File:
        identity = FileIdentity(device=1, inode=inode, size=size, mtime_ns=3, ctime_ns=4)
        source = path if content is None else None
        return File(path=path, mode=0o644, uid=0, gid=0, source=source, identity=identity, content=content)

    def key(small: File) -> str | None:
        return layer_key(Rootfs(entries=(small, file("/large", 5, SIZE))), 0, None)

    for text in (b"file (1, 2, 21, 3, 4)", b"(1, 2, 16, 3, 4)"):
        known = key(file("/small", 2, len(text)))
        assert known is not None
        assert known != key(file("/small", 2, len(text), text))


def test_the_oldest_are_forgotten(tmp_path: Path, cache: Path) -> None:
    memory = Memory(dict(os.environ))
    for number in range(4500):
        (cache / f"{number}").touch()
        os.utime(cache / f"{number}", (number, number))
    layer = WrittenLayer("ab", "ab", 1, 1)
    memory.keep_layer("key0", layer)
    assert len(list(cache.iterdir())) <= 4096
    found = Memory({"XDG_CACHE_HOME": f"{tmp_path}/cache"}).layer("key0")
    assert found is not None
    assert (found.diff_id, found.digest, found.size) == ("ab", "ab", 1)
    assert not (cache / "0").exists()
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.buildah
def test_an_image_that_storage_has_is_only_named(python_home: Home, source: Path, tmp_path: Path) -> None:
    """What is not there any more, or is another image by now, is built."""

    def built(name: str, **options: Any) -> Image:  # noqa: ANN401 - passed on
        return rs.build(str(tmp_path / "program"), copy=[f"{source.parent}:/srv"], tag=name, **options)

    def id_of(name: str) -> str:
        found = python_home.run(["buildah", "inspect", "--type", "image", "--format", "{{.FromImageID}}", name])
        return found.stdout.decode().strip()

    time.sleep(SETTLED)
    first = built("one")
    known = f"{python_home.path}/.cache/rootless-scratch/layers"
    assert os.listdir(known) or not is_known_file_system(source)
    again = built("two")
    assert (again.image_id, again.digest, again.layers) == (first.image_id, first.digest, first.layers)
    assert id_of("one") == id_of("two") == first.image_id
    other = built("one", annotations={"a": "b"})
    assert other.image_id == first.image_id
    assert built("one").digest == first.digest
    same_tick(source)
    changed = built("one")
    assert changed.image_id != first.image_id
    assert (id_of("one"), id_of("two")) == (changed.image_id, first.image_id)
    time.sleep(SETTLED)
    assert built("one") == built("one")
    page = tmp_path / "tree/page"
    before = page.stat()
    page.write_text("bage")
    os.utime(page, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert built("three").image_id != changed.image_id
    page.write_text("page")
    assert built("one").image_id == changed.image_id
    python_home.run(["buildah", "rmi", "--force", changed.image_id])
    assert built("one").image_id == id_of("one") == changed.image_id
    left = python_home.run(["buildah", "containers", "--all"]).stdout
    assert b"rootless-scratch-" not in left
    assert python_home.temporary_files() == []
