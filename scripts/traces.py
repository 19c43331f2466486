"""What calls leave behind: processes, containers, layers, images, files."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PR_SET_CHILD_SUBREAPER = 36
_SHARED = ("/tmp", "/var/tmp")  # noqa: S108 - where tools write that do not heed TMPDIR
_TOOLS = (
    *("api", "buildah", "conmon", "container", "crun", "image", "libpod", "oci", "podman"),
    *("rootless-scratch", "runc", "skopeo", "storage"),
)
"""How names begin that we and our tools give in a shared place; others there are not ours to count."""


class Process(NamedTuple):
    """One that was started, however indirectly, from here."""

    pid: int
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it calls itself, without the directory."""
        return os.path.basename(self.words[0]) if self.words else ""

    @property
    def is_pause(self) -> bool:
        """Whether it only keeps podman's namespaces: one of it is meant to stay."""
        return self.name == "catatonit" or (self.name == "podman" and "pause" in self.words)

    def __str__(self) -> str:
        return " ".join(self.words)[:160]


def adopt_orphans() -> None:
    """Become the parent of every orphan below: so none can get out of sight (prctl(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "orphans cannot be adopted")


def descendants() -> dict[int, Process]:
    """All that was started from here and runs."""
    children: dict[int, list[int]] = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] not in (b"Z", b"X"):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, pending = {}, list(children.get(os.getpid(), ()))
    while pending:
        pid = pending.pop()
        pending += children.get(pid, ())
        try:
            content = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if content:
            words = content.rstrip(b"\0").decode("utf-8", "replace").split("\0")
            found[pid] = Process(pid, tuple(words))
    return found


def reap(except_for: int | None = None) -> None:
    """Let go of orphans that have ended."""
    for pid in map(int, Path("/proc/self/task", str(os.getpid()), "children").read_text().split()):
        if pid != except_for:
            os.waitpid(pid, os.WNOHANG)


class Store:
    """An image store, read from its own files; `root` is its directory."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        asked = subprocess.run(["buildah", "info"], env=environment, capture_output=True, check=True)
        told = json.loads(asked.stdout)["store"]
        self.root = Path(told["GraphRoot"])
        self.driver: str = told["GraphDriverName"]
        self._environment = environment

    def traces(self) -> Iterator[str]:
        """What is wrong there, or should not be there for long: as one line each."""
        containers = [*self._read("containers"), *self._read("containers", "volatile-")]
        for container in containers:
            yield f"container in storage: {container['id'][:12]} {container.get('names')}"
        images = self._read("images")
        for image in images:
            if not image.get("names"):
                yield f"image without a name: {image['id'][:12]}"
        layers = {each["id"]: each for each in [*self._read("layers"), *self._read("layers", "volatile-")]}
        used = {image.get("layer") for image in images} | {container.get("layer") for container in containers}
        used |= {number for image in images for number in image.get("mapped-layers") or ()}
        for number in tuple(used):
            while number is not None and (number := layers.get(number, {}).get("parent")):
                used.add(number)
        for number, layer in layers.items():
            if number not in used:
                yield f"layer of nobody: {number[:12]} {layer.get('flags') or ''}"
        for name in _names(self.root / self.driver / "dir" if self.driver == "vfs" else self.root / self.driver):
            if len(name) == len("sha256") * 10 + 4 and name not in layers:
                yield f"files of no layer: {name[:12]}"

    def asked(self) -> Iterator[str]:
        """The containers that the tools tell of."""
        for words in (
            ["podman", "ps", "-aq"],
            ["podman", "ps", "-aq", "--external"],
            ["buildah", "containers", "-aq"],
        ):
            done = subprocess.run(words, env=self._environment, capture_output=True, check=False)
            if done.returncode:
                yield f"{words[0]} does not answer: {done.stderr.decode(errors='replace').strip()[-200:]}"
            for line in done.stdout.decode().split():
                yield f"container by {words[0]}: {line}"

    def _read(self, kind: str, prefix: str = "") -> list[dict[str, Any]]:
        try:
            text = (self.root / f"{self.driver}-{kind}" / f"{prefix}{kind}.json").read_text()
        except FileNotFoundError:
            return []
        read: list[dict[str, Any]] = json.loads(text or "[]") or []
        return read


def files(*places: Path) -> set[str]:
    """Every path below these places."""
    return {str(path) for place in places for path in _walk(place)}


def shared_files() -> set[str]:
    """What this user's tools have in the places of all users."""
    found = set()
    for shared in _SHARED:
        with os.scandir(shared) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    named = entry.name.lstrip(".").startswith(_TOOLS)
                    if named and entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                        found.add(entry.path)
    return found


def store_files(store: Store) -> set[str]:
    """The paths of a store that are not a layer's files."""
    inside = {f"{store.driver}-{kind}" for kind in ("containers", "images", "layers")} | {
        "libpod",
        "volumes",
        "tmp",
    }
    return {
        f"{store.root}/{name}/{below}"
        for name in inside
        for below in _names(store.root / name)
        if not below.endswith((".json", ".lock"))
    }


def _walk(place: Path) -> Iterator[Path]:
    for directory, below, names in os.walk(place):
        for name in (*below, *names):
            yield Path(directory, name)


def _names(place: Path) -> list[str]:
    try:
        return os.listdir(place)
    except OSError:
        return []
