"""Images read from layouts by Python's own tarfile, so that what others made can be compared with what we made."""

from __future__ import annotations

import hashlib
import json
import tarfile
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TYPES = {
    tarfile.REGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.FIFOTYPE: "fifo",
}
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"


class Node(NamedTuple):
    """One entry as every reader of layers sees it; `content` is a file's sha256 or a link's target."""

    type: str
    mode: int
    uid: int
    gid: int
    content: str
    capabilities: bytes


class Built(NamedTuple):
    """What somebody made of a context. A hard link is here as the file that it is."""

    files: dict[str, Node]
    config: dict[str, Any]
    annotations: dict[str, str]
    layers: int
    mtimes: dict[str, int]


def read_layout(layout: Path) -> Built:
    """The only image of a layout."""

    def blob(descriptor: dict[str, str]) -> Path:
        return layout / "blobs" / descriptor["digest"].replace(":", "/")

    index = json.loads((layout / "index.json").read_bytes())
    (only,) = index["manifests"]
    manifest = json.loads(blob(only).read_bytes())
    files: dict[str, Node] = {}
    mtimes: dict[str, int] = {}
    for layer in manifest["layers"]:
        apply_layer(blob(layer), files, mtimes)
    return Built(
        files=files,
        config=json.loads(blob(manifest["config"]).read_bytes()),
        annotations=manifest.get("annotations", {}),
        layers=len(manifest["layers"]),
        mtimes=mtimes,
    )


def apply_layer(path: Path, files: dict[str, Node], mtimes: dict[str, int]) -> None:
    """Put a layer over those below it, whiteouts included."""
    written = list(read_layer(path))
    for name, _, _ in written:
        parent, _, last = name.rpartition("/")
        if last == OPAQUE:
            forget(parent + "/", files)
        elif last.startswith(WHITEOUT):
            gone = f"{parent}/{last.removeprefix(WHITEOUT)}"
            files.pop(gone, None)
            forget(gone + "/", files)
    for name, node, mtime in written:
        if name.rpartition("/")[2].startswith(WHITEOUT):
            continue
        if node.type == "hardlink":
            files[name], mtimes[name] = files[node.content], mtimes[node.content]
            continue
        if node.type != "directory":
            forget(name + "/", files)
        files[name], mtimes[name] = node, mtime


def forget(below: str, files: dict[str, Node]) -> None:
    for name in [name for name in files if name.startswith(below)]:
        del files[name]


def path_of(name: str) -> str:
    return "/" + name.removeprefix("./").strip("/")


def read_layer(path: Path) -> Iterator[tuple[str, Node, int]]:
    """The members of a layer, in its order, and when each was changed; the root is none of them."""
    with tarfile.open(path, encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            name = path_of(member.name)
            if name in ("/", "/."):
                continue
            content = member.linkname
            if member.islnk():
                kind, content = "hardlink", path_of(content)
            else:
                kind = TYPES[member.type]
            if kind == "file":
                reader = archive.extractfile(member)
                assert reader is not None
                content = hashlib.sha256(reader.read()).hexdigest()
            capabilities = member.pax_headers.get("SCHILY.xattr.security.capability", "")
            node = Node(
                type=kind,
                mode=member.mode & 0o7777,
                uid=member.uid,
                gid=member.gid,
                content=content,
                capabilities=capabilities.encode("utf-8", "surrogateescape"),
            )
            yield name, node, int(member.mtime)
