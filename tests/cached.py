"""What the tests of caches share: an image with a layer worth keeping, and the cache of a user of its own."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tinyelf

import rootless_scratch as rs

if TYPE_CHECKING:
    import pytest

    from rootless_scratch.image.finished import Image

SIZE = 3 << 20


class Works:
    """A directory with a program and a tree of files, and the caches of users who build its image."""

    def __init__(self, above: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.above = above
        self._monkeypatch = monkeypatch
        self.data = above / "tree/data"
        self.data.parent.mkdir()
        self.data.write_bytes(random.Random(1).randbytes(SIZE // 2) + bytes(SIZE // 2))  # noqa: S311 - any bytes
        self.program = tinyelf.write(above / "program")
        self._layouts = 0
        self.user("one")

    def user(self, name: str) -> None:
        """From now on this user builds, whose cache is another."""
        self._monkeypatch.setenv("XDG_CACHE_HOME", str(self.above / name))

    @property
    def kept(self) -> list[Path]:
        """The files of the cache of this user."""
        return sorted(Path(os.environ["XDG_CACHE_HOME"]).glob("rootless-scratch/blobs/*"))

    def build(self, *, tree: Path | None = None, compress: str = "gzip", **options: Any) -> Image:  # noqa: ANN401
        """Build to a layout that nobody has written to, and read there what was written."""
        self._layouts += 1
        layout = self.above / f"layout{self._layouts}"
        copy = [f"{tree or self.data.parent}:/srv", *options.pop("copy", ())]
        image = rs.build(self.program, copy=copy, output=f"oci:{layout}", compress=compress, **options)
        blob = layout / "blobs" / image.layers[0].digest.replace(":", "/")
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
        return image

    def without(self, **options: Any) -> str:  # noqa: ANN401 - those of a build
        """The digest of the image that is built with no cache of any kind."""
        before = os.environ["XDG_CACHE_HOME"]
        self.user("nobody")
        digest = self.build(**options).digest
        shutil.rmtree(self.above / "nobody")
        self._monkeypatch.setenv("XDG_CACHE_HOME", before)
        return digest


def inode(path: Path) -> int:
    return path.stat().st_ino


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def without_its_record(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 512)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def with_a_damaged_record(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(SIZE))


def linked_elsewhere(path: Path) -> None:
    shutil.move(path, path.parent.parent / "moved")
    path.symlink_to(path.parent.parent / "moved")


def unreadable(path: Path) -> None:
    path.chmod(0)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES = (
    *(flipped, truncated, without_its_record, emptied, with_a_damaged_record),
    *(garbage, linked_elsewhere, unreadable, a_pipe),
)
