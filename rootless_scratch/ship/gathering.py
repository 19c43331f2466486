"""The blobs of an image of a layout or an archive, copied, compared on the way, and ready to be written."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from rootless_scratch.image.finished import Layer
from rootless_scratch.image.layer import NONE, pack_layer
from rootless_scratch.image.layout import Blob, WrittenImage
from rootless_scratch.image.oci import LAYERS, descriptor, manifest_document
from rootless_scratch.image.packing import CHUNK
from rootless_scratch.image.source import Fault, broken, find_image, open_layer
from rootless_scratch.image.temporary import Temporary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from typing import BinaryIO

    from rootless_scratch.image.layer import Compression
    from rootless_scratch.image.source import FoundLayer, Source


class Gathered:
    """An image that can be written, and what there is to say of it."""

    __slots__ = ("image", "layers", "platform")

    def __init__(self, *, image: WrittenImage, layers: tuple[Layer, ...], platform: str | None) -> None:
        self.image = image
        self.layers = layers
        self.platform = platform


def gather(
    source: Source,
    place: str,
    stack: ExitStack,
    *,
    compression: Compression | None,
    begun: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Gathered:
    """Copy the image that the source's word names into unnamed files in `place`, which `stack` removes.

    Without a compression layers and manifest stay as they are, byte for byte; with one they are made anew, and the
    image keeps its ID. Raises ImageNotFoundError, SourceError where anything is not what its digest says, OSError.
    """
    found = find_image(source)
    if found.mismatch is not None:
        raise broken(source.word, found.mismatch)
    kept = compression is None and found.manifest is not None
    count = _Count(progress)
    try:
        if begun is not None:
            begun(sum(_size(source, layer) for layer in found.layers))
        files = [stack.enter_context(Temporary(place)) for _ in found.layers]
        copied = [
            _copy(source, layer, file, count) if kept else _pack(source, layer, file, compression or NONE, count)
            for layer, file in zip(found.layers, files, strict=True)
        ]
        config = Blob.of(found.config)
        manifest = found.manifest if kept else None
        if manifest is None:
            described = [descriptor(layer.media_type, layer.digest, layer.size) for layer in copied]
            manifest = manifest_document(found.config, described, _annotations(found.manifest))
    except (Fault, EOFError) as fault:
        raise broken(source.word, str(fault)) from fault
    blobs = [Blob(layer.digest, layer.size, source=file) for layer, file in zip(copied, files, strict=True)]
    return Gathered(
        image=WrittenImage(manifest=Blob.of(manifest), config=config, layers=blobs),
        layers=tuple(copied),
        platform=_platform(found.config),
    )


class _Count:
    """Bytes of all layers that were read by now."""

    def __init__(self, progress: Callable[[int], None] | None) -> None:
        self._progress = progress
        self._done = 0

    def blocks(self, file: BinaryIO) -> Iterator[bytes]:
        while block := file.read(CHUNK):
            yield block
            self._done += len(block)
            if self._progress is not None:
                self._progress(self._done)


def _size(source: Source, layer: FoundLayer) -> int:
    with source.open(layer.name) as file:
        return file.seek(0, 2)


def _copy(source: Source, layer: FoundLayer, file: Temporary, count: _Count) -> Layer:
    digest = str(layer.descriptor.get("digest"))
    found = hashlib.sha256()
    size = 0
    with source.open(layer.name) as opened:
        for block in count.blocks(opened):
            found.update(block)
            size += len(block)
            file.write(block)
    if f"sha256:{found.hexdigest()}" != digest or size != layer.descriptor.get("size"):
        raise Fault(f"{layer.name} has the digest sha256:{found.hexdigest()} and {size} bytes")
    media_type = str(layer.descriptor.get("mediaType"))
    return Layer(diff_id=layer.diff_id, digest=digest, size=size, media_type=media_type)


def _pack(source: Source, layer: FoundLayer, file: Temporary, compression: Compression, count: _Count) -> Layer:
    with open_layer(source, layer.name) as opened:
        written = pack_layer(count.blocks(opened), file.descriptor, compression=compression)
    if f"sha256:{written.diff_id}" != layer.diff_id:
        raise Fault(f"{layer.name} has the diff_id sha256:{written.diff_id}, and the config says {layer.diff_id}")
    return Layer(
        diff_id=layer.diff_id,
        digest=f"sha256:{written.digest}",
        size=written.size,
        media_type=LAYERS[compression.name],
    )


def _annotations(manifest: bytes | None) -> tuple[tuple[str, str], ...]:
    found = (json.loads(manifest).get("annotations") if manifest is not None else None) or {}
    return tuple((str(key), str(value)) for key, value in found.items())


def _platform(config: bytes) -> str | None:
    document = json.loads(config)
    if not document.get("os") or not document.get("architecture"):
        return None
    return "/".join(filter(None, (document["os"], document["architecture"], document.get("variant"))))
