"""One Containerfile built by us and by buildah, and what can be asked of the image."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tarfile
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import tinyelf
import zstandard
from copied import link, tar
from planning import put

import rootless_scratch as rs
from rootless_scratch.errors import ScratchError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

REFUSED = "refused"
BESIDE = "Containerfile.dockerignore"
TIME = 1_700_000_000
EPOCH = 1_000_000
"""SOURCE_DATE_EPOCH of all builds."""

WAYS = (None, "buildah", "docker")
"""The values of --compat."""


class Result(NamedTuple):
    """An image: by path the members of its layers, the later ones in place of the earlier; its config; layers."""

    files: dict[str, tarfile.TarInfo]
    config: dict[str, Any]
    layers: int

    def mode(self, path: str) -> str:
        """Octal digits."""
        return f"{self.files[path].mode & 0o7777:04o}"

    def owner(self, path: str) -> str:
        """UID:GID."""
        return f"{self.files[path].uid}:{self.files[path].gid}"

    def time(self, path: str) -> object:
        """When it was changed; "now" is the time of the build."""
        mtime = int(self.files[path].mtime)
        return "now" if mtime > TIME else mtime

    @property
    def created(self) -> object:
        """The time of the image, likewise."""
        seconds = int(datetime.fromisoformat(self.config["created"][:19] + "+00:00").timestamp())
        return "now" if seconds > TIME else seconds

    @property
    def steps(self) -> list[str]:
        """The last part of each line of the history that has one."""
        lines = [step.get("created_by", "") for step in self.config.get("history", ())]
        return [line.split()[-1] for line in lines if "LABEL" in line]

    def has(self, *keys: str) -> list[str]:
        """Those of the keys that the config has with a value."""
        return [key for key in keys if self.of(key)]

    def of(self, key: str) -> Any:  # noqa: ANN401 - whatever JSON has
        """What the config has, of objects the keys in order; None for what is not there or empty."""
        value = self.config["config"].get(key) or None
        return sorted(value) if isinstance(value, dict) else value


def make_context(directory: Path) -> None:
    """A file of every kind to copy, all of one time."""
    put(directory, "app", tinyelf.hello())
    put(directory, "arm64", tinyelf.elf(machine="aarch64"))
    for name in (
        "a.txt",
        "b.txt",
        "private/inner/f",
        "set/file",
        "set/directory/f",
        "pipes/f",
        "hard/one",
        "links/to",
    ):
        put(directory, name, name.encode())
    modes = {"app": 0o755, "private/inner": 0o700, "private": 0o700, "set/file": 0o4755, "set/directory": 0o3770}
    for name, mode in modes.items():
        (directory / name).chmod(mode)
    os.mkfifo(directory / "pipes/pipe")
    os.link(directory / "hard/one", directory / "hard/two")
    link(directory, "links/inner", "to")
    link(directory, "to-private", "private")
    link(directory, "linked", "one.tar")
    archive = tar(("in/one", {"data": b"1", "mode": 0o640, "uid": 7, "gid": 8}))
    for name in ("one.tar", "one.bin"):
        put(directory, name, archive)
    put(directory, "one.tar.zst", zstandard.ZstdCompressor().compress(archive))
    put(directory, "plain.gz", gzip.compress(b"plain", mtime=0))
    put(directory, "marked", b"m")
    os.setxattr(directory / "marked", "user.origin", b"here")
    for path in (directory, *directory.rglob("*")):
        os.utime(path, (TIME, TIME), follow_symlinks=False)


def write(at: Path, text: str, context: Path) -> None:
    """A Containerfile in a directory of its own, with the ignore file that the context has for it."""
    at.mkdir()
    (at / "Containerfile").write_text(text)
    if (context / BESIDE).exists():
        shutil.copy(context / BESIDE, at)


def by_us(text: str, context: Path, at: Path, *, compat: str | None) -> Result | None:
    """What `build -f` makes of it, judged or not; None where it is refused."""
    write(at, text, context)
    options: dict[str, Any] = {"check": False, "network": "host"} | ({"compat": compat} if compat else {})
    try:
        rs.build_file(at / "Containerfile", context, output=f"oci:{at / 'image'}", **options)
    except ScratchError:
        return None
    return read(at / "image")


def by_buildah(home: Home, text: str, context: Path, at: Path) -> Result | None:
    """What `buildah build` makes of it; None where it fails."""
    write(at, text, context)
    build = ["buildah", "build", "-q", "--format", "oci", "-f", str(at / "Containerfile")]
    command = ["env", f"SOURCE_DATE_EPOCH={EPOCH}", *build, "-t", f"oci:{at / 'image'}", str(context)]
    done = home.run(command, check=False)
    return None if done.returncode else read(at / "image")


def read(layout: Path) -> Result:
    """The only image of a layout."""
    blobs = layout / "blobs/sha256"
    (only,) = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads((blobs / only["digest"].partition(":")[2]).read_text())
    config = json.loads((blobs / manifest["config"]["digest"].partition(":")[2]).read_text())
    files: dict[str, tarfile.TarInfo] = {}
    for layer in manifest["layers"]:
        with tarfile.open(blobs / layer["digest"].partition(":")[2]) as archive:
            files.update((f"/{member.name.rstrip('/')}", member) for member in archive)
    return Result(files, config, len(manifest["layers"]))
