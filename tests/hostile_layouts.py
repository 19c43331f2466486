"""Layouts and archives made to cost more than they are, by kind of trouble."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
from typing import TYPE_CHECKING, Any

from hostile_layers import links
from tars import END, MEGABYTE, entry, header, many, number, packed, pax, program, zeros

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OCI = "application/vnd.oci.image"


class Layout:
    """An image layout that says what it is told to, with right digests of all that is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, content: bytes, kind: str) -> dict[str, Any]:
        """Add a blob, and give its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        (self.path / "blobs/sha256" / digest).write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    def image(self, *layers: bytes, diff_ids: list[str] | None = None, **config: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
        """Add an image of these layers as they are stored; `config` is put into that of a working image."""
        settings = {"Entrypoint": ["/hello"], "User": "65532:65532", **config}
        known = {layer: diff_id(layer) for layer in set(layers)} if diff_ids is None else {}
        ids = diff_ids or [known[layer] for layer in layers]
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": ids},
        }
        described = [self.blob(layer, layer_type(layer)) for layer in layers]
        return self.manifest(self.blob(json.dumps(document).encode(), f"{OCI}.config.v1+json"), described)

    def manifest(self, config: dict[str, Any], layers: list[dict[str, Any]]) -> dict[str, Any]:
        kind = f"{OCI}.manifest.v1+json"
        document = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}
        return self.blob(json.dumps(document).encode(), kind)

    def index(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        """Add an index below the outermost one."""
        kind = f"{OCI}.index.v1+json"
        return self.blob(json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode(), kind)

    def write(self, entries: list[dict[str, Any]]) -> None:
        """Write the outermost index."""
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))


def diff_id(layer: bytes) -> str:
    """The digest of what a layer holds, if that is small enough to say; else one that is wrong."""
    found = hashlib.sha256()
    opened = io.BytesIO(layer) if layer[:2] != b"\x1f\x8b" else gzip.GzipFile(fileobj=io.BytesIO(layer))
    try:
        for _ in range(256):
            block = opened.read(MEGABYTE)
            found.update(block)
            if not block:
                break
        else:
            return "sha256:" + "0" * 64
    except (OSError, EOFError):
        return "sha256:" + "1" * 64
    return f"sha256:{found.hexdigest()}"


def layer_type(layer: bytes) -> str:
    return f"{OCI}.layer.v1.tar" + {b"\x1f\x8b": "+gzip", b"\x28\xb5": "+zstd"}.get(layer[:2], "")


def wide(layout: Layout) -> None:
    inner = layout.index(
        [
            {"mediaType": f"{OCI}.manifest.v1+json", "digest": f"sha256:{at:064x}", "size": 1}
            for at in range(20_000)
        ]
    )
    layout.write([inner] * 20_000)


def nested(depth: int) -> Callable[[Layout], object]:
    def build(layout: Layout) -> None:
        item = layout.image(packed(program() + END))
        for _ in range(depth):
            item = layout.index([item])
        layout.write([item])

    return build


def numbered(count: int) -> Callable[[Layout], object]:
    def build(layout: Layout) -> None:
        kind = f"{OCI}.index.v1+json"
        layout.write([{"mediaType": kind, "digest": f"sha256:{at:064x}", "size": 1} for at in range(count)])

    return build


def raw_index(content: bytes) -> Callable[[Layout], object]:
    return lambda layout: (layout.path / "index.json").write_bytes(content)


def configured(**config: Any) -> Callable[[Layout], object]:  # noqa: ANN401 - any JSON
    return lambda layout: layout.write([layout.image(packed(program() + END), **config)])


def layered(count: int) -> Callable[[Layout], object]:
    def build(layout: Layout) -> None:
        layout.write([layout.image(*[packed(program() + END)] * count)])

    return build


def many_images(layout: Layout) -> None:
    """Many images of one large layer, which is unpacked once."""
    layer = packed(program() + header(b"zeros", size=64 * MEGABYTE)) + zeros(64 * MEGABYTE) + packed(END)
    layout.write([layout.image(layer, diff_ids=["sha256:" + "0" * 64], Labels={"n": str(at)}) for at in range(40)])


LAYOUTS: dict[str, dict[str, Callable[[Layout], object]]] = {
    "index-wide": {
        "20000-by-20000": wide,
        "60000": numbered(60_000),
        "20000-missing": numbered(20_000),
    },
    "index-deep": {"9": nested(9), "400": nested(400), "7": nested(7)},
    "documents": {
        "large": raw_index(b" " * (5 * MEGABYTE)),
        "brackets": raw_index(b"[" * (3 * MEGABYTE)),
        "objects": raw_index(b'{"manifests":[' + b"{}," * MEGABYTE + b"{}]}"),
        "numbers": raw_index(b'{"manifests":[' + b"1," * MEGABYTE + b"1]}"),
        "digits": raw_index(b'{"manifests":' + b"9" * (3 * MEGABYTE) + b"}"),
        "deep": raw_index(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "half-characters": lambda layout: layout.write(
            [
                layout.index(
                    [{**layout.image(packed(program() + END)), "platform": {"os": "\ud800", "architecture": "x"}}]
                )
            ]
        ),
        "not-utf-8": raw_index(b'{"manifests":[{"mediaType":"\xed\xa0\x80"}]}'),
        "strings": raw_index(b'{"manifests":["' + b"\\u0000" * 600_000 + b'"]}'),
    },
    "config": {
        "path": configured(Env=["PATH=" + "a:" * MEGABYTE], Entrypoint=["hello"]),
        "path-short": configured(Env=["PATH=" + "a:" * 60_000], Entrypoint=["hello"]),
        "path-of-links": lambda layout: layout.write(
            [
                layout.image(
                    links([f"{'a/../' * 800}s{at + 1}" for at in range(40)]),
                    Env=["PATH=" + ":".join(f"s0/{'./' * at}" for at in range(400))],
                    Entrypoint=["hello"],
                )
            ]
        ),
        "slashes": configured(Entrypoint=["/" * MEGABYTE + "hello"]),
        "parts": configured(Entrypoint=["/a/.." * 400_000 + "/hello"]),
        "variables": configured(Env=[f"A{at}=b" for at in range(100_000)]),
        "volumes": configured(Volumes={f"/v{at}": {} for at in range(50_000)}),
        "user": configured(User="9" * MEGABYTE),
        "directory": configured(WorkingDir="/w" * 400_000),
        "types": configured(Entrypoint=7, Env={"a": 1}, User=[1], Volumes=[2]),
    },
    "layers": {"600": layered(600), "200": layered(200)},
    "images": {"40": many_images},
}


def archive(*members: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(b"".join(members) + END)


def docker(manifest: Any) -> bytes:  # noqa: ANN401 - whatever JSON can say
    return entry(json.dumps(manifest).encode(), name=b"manifest.json")


def holes(size: int, start: bytes) -> Callable[[Path], object]:
    """A file that is large and takes no room on disk."""

    def write(path: Path) -> None:
        path.write_bytes(start)
        os.truncate(path, size)

    return write


ARCHIVES: dict[str, dict[str, Callable[[Path], object]]] = {
    "archive-header": {
        "2-gigabytes": holes(3 << 30, header(b"h", kind=b"x", size=1 << 31)),
        "long-name": holes(3 << 30, header(b"h", kind=b"L", size=1 << 31)),
    },
    "archive": {
        "tags": archive(
            docker([{"Config": "c.json", "RepoTags": [f"a:{at}" for at in range(100_000)], "Layers": []}])
        ),
        "layers": archive(entry(b"{}", name=b"c.json"), docker([{"Config": "c.json", "Layers": ["l"] * 5000}])),
        "links": archive(
            header(b"manifest.json", kind=b"2", link=b"b"), header(b"b", kind=b"2", link=b"manifest.json")
        ),
        "deep-name": archive(pax({"path": "a/" * 60_000}) + header()),
        "sparse": archive(header(b"manifest.json", kind=b"S", real=number(1 << 60))),
        "size": archive(header(b"manifest.json", size=1 << 60)),
        "members": lambda path: path.write_bytes(gzip.decompress(many(100_000))),
        "zeros": holes(1 << 40, b""),
    },
}
