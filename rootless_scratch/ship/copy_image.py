"""The blobs of an image of a layout or an archive, copied, compared on the way, and ready to be written."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from rootless_scratch.elf.platforms import chosen_platform, host_platform
from rootless_scratch.image.finished import Layer, platform_said
from rootless_scratch.image.host_files import host_trouble
from rootless_scratch.image.oci import LAYERS, MANIFEST, descriptor, encode, index_document, manifest_document
from rootless_scratch.image.read.artifacts import TAR_TYPES, is_odd
from rootless_scratch.image.read.found import FoundLayer, find_all, index_of
from rootless_scratch.image.read.reader import INDEXES, Fault, as_dict, blob_name, broken, content_of, parsed
from rootless_scratch.image.read.tarread import TarFault, TarReader
from rootless_scratch.image.read.unpacking import open_layer
from rootless_scratch.image.write.layer import NONE, pack_layer, parse_compression
from rootless_scratch.image.write.layout import Blob, WrittenImage, WrittenIndex
from rootless_scratch.image.write.packing import CHUNK
from rootless_scratch.image.write.temporary import Temporary
from rootless_scratch.ship.repair import Repair, repairs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack
    from typing import BinaryIO

    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.image.read.found import FoundImage
    from rootless_scratch.image.read.reader import ImageReader
    from rootless_scratch.image.write.layer import Compression
    from rootless_scratch.progress import Progress


class CopiedImage(NamedTuple):
    """An image, or an index of several, that can be written; `image_id` and `platform` are those for this host."""

    image: WrittenImage | WrittenIndex
    image_id: str
    layers: tuple[Layer, ...]
    platform: str | None
    notes: tuple[str, ...] = ()


def copy_image(
    reader: ImageReader,
    directory: str,
    stack: ExitStack,
    *,
    compression: Compression | None,
    repair: bool = False,
    progress: Progress,
) -> CopiedImage:
    """Copy what the reader's reference names, an image or an index, into files in `directory`, removed by `stack`.

    Without a compression layers and manifest stay as they are, byte for byte; with one they are made anew, and the
    image keeps its ID. With `repair` layers that storage refuses are made anew, and the image has another ID,
    which is noted. Raises ImageNotFoundError, SourceError where anything is not what its digest says, OSError.
    """
    reader.budget.restart()
    stored = index_of(reader)
    found = find_all(reader)
    count = _Count(progress)
    try:
        repairs = [repairs_of(reader, image) if repair else () for _, image in found]
        reader.budget.restart()
        needed = any(each.is_needed for layers in repairs for each in layers)
        progress.begin(sum(_size(reader, layer) for _, image in found for layer in image.layers))
        if stored is not None and compression is None and not needed:
            return _whole_index(reader, stored, found, stack, directory=directory, count=count)
    except (Fault, TarFault, EOFError) as fault:
        raise broken(reader.subject, str(fault)) from fault
    copied = [
        _copy_one(reader, image, directory, stack, compression=compression, repairs=layers, count=count)
        for (_, image), layers in zip(found, repairs, strict=True)
    ]
    return copied[0] if stored is None else _index([platform for platform, _ in found], copied, stored)


def copy_single(
    reader: ImageReader, found: FoundImage, directory: str, stack: ExitStack, *, progress: Progress
) -> CopiedImage:
    """Copy one image of the reader, as `copy_image` does; layers stay as they are where there is a manifest."""
    reader.budget.restart()
    compression = NONE if found.manifest is None else None
    return _copy_one(reader, found, directory, stack, compression=compression, repairs=(), count=_Count(progress))


def _index(platforms: Sequence[Platform], images: Sequence[CopiedImage], stored: bytes) -> CopiedImage:
    """Images that were made anew, and an index that names them."""
    written = [each.image for each in images if isinstance(each.image, WrittenImage)]
    described = [
        (platform, descriptor(MANIFEST, image.manifest.digest, image.manifest.size))
        for platform, image in zip(platforms, written, strict=True)
    ]
    here = chosen_platform(platforms, host_platform(os.uname().machine)) or 0
    return CopiedImage(
        image=WrittenIndex(Blob.of(index_document(described, _annotations(stored))), tuple(written)),
        image_id=written[here].config.name,
        layers=tuple(layer for each in images for layer in each.layers),
        platform=str(platforms[here]),
        notes=tuple(note for each in images for note in each.notes),
    )


def _whole_index(
    reader: ImageReader,
    stored: bytes,
    found: Sequence[tuple[Platform, FoundImage]],
    stack: ExitStack,
    *,
    directory: str,
    count: _Count,
) -> CopiedImage:
    """The very index, with all that it leads to, whatever it is: artifacts, indexes, formats of docker."""
    images: list[WrittenImage] = []
    nested: list[Blob] = []
    pending = [stored]
    seen: set[str] = set()
    while pending:
        for entry in _entries(pending.pop(), "manifests", reader.subject):
            blob = _document(reader, entry)
            if blob.digest in seen:
                continue
            seen.add(blob.digest)
            if is_odd(entry):
                nested.append(blob)
            elif entry.get("mediaType") in INDEXES:
                nested.append(blob)
                pending.append(blob.content)
            else:
                images.append(_whole_image(reader, blob, directory, stack, count))
    platforms = [platform for platform, _ in found]
    here = chosen_platform(platforms, host_platform(os.uname().machine)) or 0
    return CopiedImage(
        image=WrittenIndex(Blob.of(stored), tuple(images), tuple(nested)),
        image_id=found[here][1].image_id,
        layers=tuple(_described(layer) for _, image in found for layer in image.layers),
        platform=str(platforms[here]),
    )


def _whole_image(
    reader: ImageReader, manifest: Blob, directory: str, stack: ExitStack, count: _Count
) -> WrittenImage:
    held = as_dict(parsed(manifest.content, manifest.name), manifest.name)
    config = _document(reader, as_dict(held.get("config"), manifest.name))
    layers = []
    for entry in _entries(manifest.content, "layers", manifest.name):
        file = stack.enter_context(Temporary(directory))
        layer = _copy(reader, FoundLayer(blob_name(entry), "", entry), file, count)
        layers.append(Blob(layer.digest, layer.size, source=file))
    return WrittenImage(manifest, config, tuple(layers))


def _document(reader: ImageReader, descriptor: dict[str, Any]) -> Blob:
    """A document that must be what its descriptor says; raises Fault."""
    name = blob_name(descriptor)
    blob = Blob.of(content_of(reader, name))
    if blob.digest != descriptor["digest"]:
        raise Fault(f"{name} has the digest {blob.digest}")
    return blob


def _entries(content: bytes, key: str, where: str) -> Iterator[dict[str, Any]]:
    """The descriptors that a document lists; raises Fault."""
    listed = as_dict(parsed(content, where), where).get(key) or ()
    if not isinstance(listed, (list, tuple)):
        raise Fault(f"{where} does not follow the specification")
    for entry in listed:
        yield as_dict(entry, where)


def _described(layer: FoundLayer) -> Layer:
    """A layer as its descriptor has it."""
    size, kind = layer.descriptor.get("size"), layer.descriptor.get("mediaType")
    return Layer(
        diff_id=layer.diff_id,
        digest=str(layer.descriptor.get("digest")),
        size=size if isinstance(size, int) else 0,
        media_type=str(kind),
    )


def _copy_one(
    reader: ImageReader,
    found: FoundImage,
    directory: str,
    stack: ExitStack,
    *,
    compression: Compression | None,
    repairs: Sequence[Repair],
    count: _Count,
) -> CopiedImage:
    if found.mismatch is not None:
        raise broken(reader.subject, found.mismatch)
    repaired = any(each.is_needed for each in repairs)
    kept = compression is None and found.manifest is not None and not repaired
    if repaired and compression is None:
        compression = _compression_of(found)
    try:
        files = [stack.enter_context(Temporary(directory)) for _ in found.layers]
        copied = [
            _copy(reader, layer, file, count)
            if kept
            else _pack(reader, layer, file, compression=compression or NONE, count=count, repair=mended)
            for layer, file, mended in zip(found.layers, files, repairs or (None,) * len(files), strict=True)
        ]
        is_other = any(each.is_other for each in repairs)
        config = Blob.of(_config(found, copied) if is_other else found.config)
        manifest = found.manifest if kept else None
        if manifest is None:
            described = [descriptor(layer.media_type, layer.digest, layer.size) for layer in copied]
            manifest = manifest_document(config.content, described, _annotations(found.manifest))
    except (Fault, EOFError) as fault:
        raise broken(reader.subject, str(fault)) from fault
    blobs = [Blob(layer.digest, layer.size, source=file) for layer, file in zip(copied, files, strict=True)]
    return CopiedImage(
        image=WrittenImage(Blob.of(manifest), config, tuple(blobs)),
        image_id=config.name,
        layers=tuple(copied),
        platform=_platform(found.config),
        notes=tuple(_notes(found, copied, config.name)) if repaired else (),
    )


class _Count:
    """Bytes of all layers that were read by now."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0

    def blocks(self, file: BinaryIO, name: str) -> Iterator[bytes]:
        """The bytes of a layer; raises Fault and HostError where it is they that cannot be read."""
        while block := _read(file, name):
            yield block
            self._done += len(block)
            self._progress.show(self._done)


def _read(file: BinaryIO, name: str) -> bytes:
    try:
        return file.read(CHUNK)
    except OSError as error:
        raise host_trouble(error, name) or Fault(f"{name} cannot be read: {error}") from error


def _size(reader: ImageReader, layer: FoundLayer) -> int:
    with reader.open(layer.name) as file:
        return file.seek(0, 2)


def _copy(reader: ImageReader, layer: FoundLayer, file: Temporary, count: _Count) -> Layer:
    digest = str(layer.descriptor.get("digest"))
    found = hashlib.sha256()
    size = 0
    with reader.open(layer.name) as opened:
        for block in count.blocks(opened, layer.name):
            found.update(block)
            size += len(block)
            file.write(block)
    if f"sha256:{found.hexdigest()}" != digest or size != layer.descriptor.get("size"):
        raise Fault(f"{layer.name} has the digest sha256:{found.hexdigest()} and {size} bytes")
    media_type = str(layer.descriptor.get("mediaType"))
    if TAR_TYPES.match(media_type):
        _require_tar(reader, layer)
    return Layer(diff_id=layer.diff_id, digest=digest, size=size, media_type=media_type)


def _require_tar(reader: ImageReader, layer: FoundLayer) -> None:
    """Raise Fault for a layer that no engine could unpack: its first header is looked at."""
    try:
        with open_layer(reader, layer.name) as opened:
            next(iter(TarReader(opened, reader.budget)), None)
    except (TarFault, EOFError) as fault:
        raise Fault(f"{layer.name} is not a tar archive: {fault}") from fault
    except OSError as error:
        raise host_trouble(error, layer.name) or Fault(f"{layer.name} cannot be unpacked: {error}") from error


def _pack(
    reader: ImageReader,
    layer: FoundLayer,
    file: Temporary,
    *,
    compression: Compression,
    count: _Count,
    repair: Repair | None,
) -> Layer:
    _require_tar(reader, layer)
    with open_layer(reader, layer.name) as opened:
        blocks = count.blocks(opened, layer.name)
        is_other = repair is not None and repair.is_other
        if repair is not None and is_other:
            blocks = repair.blocks(blocks)
        written = pack_layer(blocks, file.descriptor, compression=compression)
    diff_id = f"sha256:{written.diff_id}"
    if diff_id != layer.diff_id and not is_other:
        raise Fault(f"{layer.name} has the diff_id sha256:{written.diff_id}, and the config says {layer.diff_id}")
    return Layer(
        diff_id=diff_id,
        digest=f"sha256:{written.digest}",
        size=written.size,
        media_type=LAYERS[compression.name],
    )


def _compression_of(found: FoundImage) -> Compression:
    """That of gzip where any layer has it: every tool reads that."""
    packed = any(not str(layer.descriptor.get("mediaType", "tar")).endswith("tar") for layer in found.layers)
    return parse_compression("gzip") if packed else NONE


def _config(found: FoundImage, layers: Sequence[Layer]) -> bytes:
    """The config with the diff_ids of new layers, all else as it was."""
    config = json.loads(found.config)
    config["rootfs"]["diff_ids"] = [layer.diff_id for layer in layers]
    return encode(config)


def _notes(found: FoundImage, layers: Sequence[Layer], image_id: str) -> Iterator[str]:
    for old, new in zip(found.layers, layers, strict=True):
        if new.diff_id != old.diff_id:
            yield f"The layer {old.diff_id} was repaired, and has the diff_id {new.diff_id} now."
        elif new.digest != old.descriptor.get("digest", new.digest):
            yield f"The layer {old.descriptor['digest']} was compressed again, with the digest {new.digest} now."
    if image_id != found.image_id:
        yield f"The image {found.image_id} was repaired, and has the ID {image_id} now."


def _annotations(manifest: bytes | None) -> tuple[tuple[str, str], ...]:
    found = json.loads(manifest).get("annotations") if manifest is not None else None
    return tuple((str(key), str(value)) for key, value in found.items()) if isinstance(found, dict) else ()


def _platform(config: bytes) -> str | None:
    return platform_said(json.loads(config))
