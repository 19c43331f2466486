"""Images as other tools write them, document by document: layouts, archives for docker, layers of any entries."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import tinyelf

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    Entry = tuple[str, bytes | None]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
REF_NAME = "org.opencontainers.image.ref.name"


class Layout:
    """A layout that is written document by document."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, content: bytes | dict[str, Any], media_type: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = hashlib.sha256(data).hexdigest()
        (self.place / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}

    def index(self, *entries: dict[str, Any]) -> str:
        (self.place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": list(entries)}))
        return f"oci:{self.place}"

    def image(self, *layers: bytes, architecture: str = "amd64", **more: Any) -> dict[str, Any]:  # noqa: ANN401
        """The descriptor of an image that starts /hello."""
        described = [self.blob(layer, LAYER) for layer in layers or (hello_layer(),)]
        config = self.blob(config_of(layers or (hello_layer(),), architecture), CONFIG)
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": described}
        return self.blob(document, MANIFEST, **more)


def named(entry: dict[str, Any], ref: str) -> dict[str, Any]:
    """The descriptor with a name."""
    return {**entry, "annotations": {REF_NAME: ref}}


def hello_layer() -> bytes:
    return layer_of(("hello", tinyelf.hello()))


def layer_of(*entries: Entry) -> bytes:
    """A layer of files of mode 0755, and of directories (None for content), in this order."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.mode, info.size = 0o755, len(content or b"")
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            tar.addfile(info, io.BytesIO(content or b""))
    return packed.getvalue()


def config_of(layers: Iterable[bytes], architecture: str = "amd64") -> dict[str, Any]:
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = {"Entrypoint": ["/hello"], "User": "65532:65532"}
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    return {"architecture": architecture, "os": "linux", "config": config, "rootfs": rootfs}


def docker_archive(path: Path, *images: tuple[Sequence[str] | None, Sequence[bytes]]) -> str:
    """What `docker save` writes of images, each with its names and its layers, lowest first."""
    manifest = []
    members: dict[str, bytes] = {}
    for names, layers in images:
        config = json.dumps(config_of(layers)).encode()
        config_name = f"{hashlib.sha256(config).hexdigest()}.json"
        members[config_name] = config
        placed = []
        for layer in layers:
            placed.append(f"{hashlib.sha256(layer).hexdigest()}/layer.tar")
            members[placed[-1]] = layer
        manifest.append({"Config": config_name, "RepoTags": names, "Layers": placed})
    members["manifest.json"] = json.dumps(manifest).encode()
    path.write_bytes(layer_of(*members.items()))
    return f"docker-archive:{path}"
