"""All that is wrong with the images of a layout or an archive: digests, sizes, media types, diff_ids."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO, cast

from rootless_scratch.expressions import expression
from rootless_scratch.image.host_files import host_trouble
from rootless_scratch.image.read.artifacts import CONFIGS, MANIFESTS, TAR_TYPES, Artifacts, is_odd
from rootless_scratch.image.read.found import FoundLayer, images_of, is_unknown, load
from rootless_scratch.image.read.layer_faults import LayerFacts, Refused, Strata, read_entries
from rootless_scratch.image.read.reader import INDEXES, Fault, ImageReader, as_dict, blob_name
from rootless_scratch.image.read.tarread import TarFault, TarReader
from rootless_scratch.image.read.unpacking import Summed, open_layer, zeros_behind

_CHUNK = 1 << 20
_ANY = expression("")


def validate(reader: ImageReader) -> tuple[str, ...]:
    """Name all faults of all images that the reader holds: digests, sizes, media types, diff_ids; () for none.

    A fault of layers that storage refuses is Refused (layer_faults.py).
    """
    # A dict, because many images may have the same fault.
    faults: dict[str, None] = {}
    indexes: list[dict[str, Any]] = []
    reader.budget.restart()
    if not reader.is_docker:
        faults |= dict.fromkeys(_check_version(reader))
    try:
        images = list(images_of(reader, indexes))
    except Fault as fault:
        return (*faults, str(fault))
    checked: set[str] = set()
    for index in indexes:
        faults |= dict.fromkeys(_check_blob(reader, index, INDEXES, checked))
    artifacts = Artifacts(reader)
    layers: dict[str, LayerFacts | None] = {}
    for image in images:
        if is_unknown(image.item) or artifacts.type_of(image.item) is not None:
            found = _check_artifact(reader, image.item, checked)
        else:
            found = _faults(reader, image.item, checked, layers)
        faults |= dict.fromkeys(found)
    return tuple(faults)


def _check_version(reader: ImageReader) -> Iterator[str]:
    try:
        version = as_dict(reader.document("oci-layout"), "oci-layout").get("imageLayoutVersion")
    except Fault as fault:
        yield str(fault)
    else:
        if version != "1.0.0":
            yield f"oci-layout is of version {version!r} and not 1.0.0"


def _faults(
    reader: ImageReader, item: dict[str, Any], checked: set[str], layers: dict[str, LayerFacts | None]
) -> Iterator[str]:
    if not reader.is_docker:
        yield from _check_blob(reader, item, MANIFESTS, checked)
    try:
        image = load(reader, item)
        if reader.is_docker:
            name = os.path.basename(str(item["Config"])).removesuffix(".json")
            if re.fullmatch("[0-9a-f]{64}", name) and name != image.image_id:
                yield f"{item['Config']} has the digest sha256:{image.image_id}"
        else:
            manifest = reader.document(blob_name(item))
            yield from _check_blob(reader, manifest["config"], CONFIGS, checked)
    except Fault as fault:
        yield str(fault)
        return
    strata = Strata()
    for layer in image.layers:
        if not reader.is_docker:
            yield from _check_blob(reader, layer.descriptor, TAR_TYPES, checked)
        key = f"{layer.name} {layer.diff_id}"
        if key not in layers:
            layers[key] = None
            yield from _check_diff(reader, layer, key, layers)
        # What cannot be read is told, and nothing can be said of what lies over it.
        facts = layers[key]
        if facts is not None:
            yield from (Refused(f"{layer.name} {fault}") for fault in strata.add(facts))


def _check_artifact(reader: ImageReader, item: dict[str, Any], checked: set[str]) -> Iterator[str]:
    """What lies beside images, such as attestations: its blobs are whole, and may be of any media type."""
    yield from _check_blob(reader, item, _ANY, checked)
    if is_odd(item):
        return
    try:
        manifest = as_dict(reader.document(blob_name(item)), blob_name(item))
        for blob in (manifest.get("config"), *(manifest.get("layers") or ())):
            yield from _check_blob(reader, as_dict(blob, blob_name(item)), _ANY, checked)
    except (Fault, TypeError) as fault:
        yield str(fault)


def _check_blob(
    reader: ImageReader, descriptor: dict[str, Any], kinds: tuple[str, ...] | re.Pattern[str], checked: set[str]
) -> Iterator[str]:
    name = "a blob"
    try:
        name = blob_name(descriptor)
        if name in checked:
            return
        checked.add(name)
        kind = str(descriptor.get("mediaType"))
        known = kind in kinds if isinstance(kinds, tuple) else kinds.match(kind) is not None
        if not known:
            yield f"{name} has the media type {kind!r}"
        with reader.open(name) as file:
            size, digest = _sum(file)
    except Fault as fault:
        yield str(fault)
        return
    except OSError as error:
        yield described(error, name)
        return
    if size != descriptor.get("size"):
        yield f"{name} has {size} bytes and not {descriptor.get('size')!r}"
    if digest != descriptor["digest"]:
        yield f"{name} has the digest {digest}"


def _check_diff(
    reader: ImageReader, layer: FoundLayer, key: str, layers: dict[str, LayerFacts | None]
) -> Iterator[str]:
    """What is wrong with a layer by itself; `layers` gets what it does to others, where it can be read."""
    try:
        with open_layer(reader, layer.name) as file:
            summed = Summed(file)
            # What is no tar is told where its files are read.
            with suppress(TarFault):
                layers[key] = read_entries(TarReader(cast("BinaryIO", summed), reader.budget), reader.budget)
            while summed.read(_CHUNK):
                pass
            zeros = zeros_behind(file)
    except Fault as fault:
        yield str(fault)
        return
    except (OSError, EOFError) as error:
        yield described(error, f"{layer.name} cannot be unpacked")
        return
    if summed.digest != layer.diff_id:
        yield f"{layer.name} has the diff_id {summed.digest}, and the config says {layer.diff_id}"
    if zeros:
        yield Refused(f"{layer.name} has {zeros} bytes of zero after its gzip stream, which podman refuses")
    facts = layers[key]
    if facts is not None:
        yield from (Refused(f"{layer.name} {fault}") for fault in facts.faults)


def described(error: OSError | EOFError, what: str) -> str:
    """What is wrong with a file; raises HostError where it is this host that cannot read it."""
    trouble = host_trouble(error, what) if isinstance(error, OSError) else None
    if trouble is not None:
        raise trouble from error
    return f"{what}: {error}"


def _sum(file: BinaryIO) -> tuple[int, str]:
    found = hashlib.sha256()
    size = 0
    while block := file.read(_CHUNK):
        found.update(block)
        size += len(block)
    return size, f"sha256:{found.hexdigest()}"
