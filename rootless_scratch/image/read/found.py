"""The images that a layout or an archive holds: found by name and platform, with config, manifest and layers."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from rootless_scratch.elf.platforms import Platform, chosen_platform, host_platform
from rootless_scratch.errors import ImageNotFoundError
from rootless_scratch.image.names import full_names
from rootless_scratch.image.oci import MANIFEST, ref_of
from rootless_scratch.image.read.artifacts import Artifacts, is_odd
from rootless_scratch.image.read.reader import (
    DIGEST,
    INDEXES,
    Fault,
    ImageReader,
    as_dict,
    as_list,
    blob_name,
    broken,
    content_of,
    parsed,
)


class FoundLayer(NamedTuple):
    """A layer: the name of its file, the diff_id that the config gives it, and its descriptor."""

    name: str
    diff_id: str
    descriptor: dict[str, Any]


class FoundImage(NamedTuple):
    """An image's config and manifest as they are stored, and its layers, lowest first.

    `manifest` is None where there is none in the form of OCI's specification. `mismatch` says which of the two is
    not what its digest says, None if both are.
    """

    image_id: str
    config: bytes
    layers: tuple[FoundLayer, ...]
    manifest: bytes | None
    mismatch: str | None


class _Named(NamedTuple):
    """An image's descriptor (or docker's entry), its names, and the number of what names it: an index is one.

    `inner` is the name that an index gives it which is named itself.
    """

    number: int
    names: tuple[str, ...]
    item: Any
    inner: str | None = None


class _Chosen(NamedTuple):
    """The images that the reference names, and all entries among which they lie, in their order."""

    images: list[_Named]
    entries: list[_Named]
    number: int


def find_image(reader: ImageReader, platform: Platform | None = None) -> FoundImage:
    """The image that the reader's reference names; of an index that for `platform`, by default this host's.

    Raises ImageNotFoundError, SourceError.
    """
    chosen = _chosen(reader)
    images = chosen.images
    if platform is None and len(images) == 1:
        _refuse_hidden(reader, chosen, images[0])
        return _load(reader, images[0].item)
    wanted = platform or host_platform(os.uname().machine)
    platforms = [_platform_of(reader, each.item) for each in images]
    number = chosen_platform(platforms, wanted)
    if number is not None and (not wanted.variant or platforms[number].variant in (wanted.variant, None)):
        _refuse_hidden(reader, chosen, images[number])
        return _load(reader, images[number].item)
    raise ImageNotFoundError(
        f"{reader.subject} has no image for {wanted}; there are: {', '.join(map(str, platforms))}.",
        fix="Choose one of them: `--platform OS/ARCHITECTURE`.",
    )


def names_in(reader: ImageReader) -> tuple[str, ...]:
    """The names that a docker-archive gives the one image that the reader's reference names; () for others.

    Others say them elsewhere. Where the reference has a name, that is the only one.
    """
    if not reader.is_docker:
        return ()
    images = _chosen(reader).images
    tags = images[0].names if len(images) == 1 else ()
    if reader.ref is None:
        return tags
    return next((tag,) for name in reader.names for tag in tags if name in full_names(tag))


def find_all(reader: ImageReader) -> tuple[tuple[Platform, FoundImage], ...]:
    """Every image of the index that the reader's reference names, with its platform; what is for none is left out.

    Raises ImageNotFoundError, SourceError.
    """
    images = _chosen(reader).images
    return tuple((_platform_of(reader, each.item), _load(reader, each.item)) for each in images)


def platforms_in(reader: ImageReader) -> tuple[Platform, ...]:
    """The platforms of the index that the reader's reference names; () where it names one image.

    Raises ImageNotFoundError, SourceError.
    """
    images = _chosen(reader).images
    return () if len(images) == 1 else tuple(_platform_of(reader, each.item) for each in images)


def index_of(reader: ImageReader) -> bytes | None:
    """The index that the reader's reference names, as it is stored; None where it is no document of its own."""
    if reader.is_docker:
        return None
    try:
        index = as_dict(reader.document("index.json"), "index.json")
        top = list(_tops(as_list(index.get("manifests"), "index.json")))[_chosen(reader).number]
        named = reader.ref is None or reader.ref in top.names
        return content_of(reader, blob_name(top.item)) if named and top.item.get("mediaType") in INDEXES else None
    except Fault as fault:
        raise broken(reader.subject, str(fault)) from fault


def _chosen(reader: ImageReader) -> _Chosen:
    """The image that the reference names, or all those of the index; what is no image is passed over."""
    try:
        every = list(images_of(reader))
    except Fault as fault:
        raise broken(reader.subject, str(fault)) from fault
    artifacts = Artifacts(reader)
    named = sorted(_named(reader, every), key=lambda image: image.number)
    images = [image for image in named if artifacts.type_of(image.item) is None]
    numbers = {image.number for image in images}
    if reader.ref is not None and not reader.is_docker:
        # Of several manifests with one name podman and skopeo take the first, and pass over what is no manifest.
        manifests = [entry.number for entry in named if not is_odd(entry.item)]
        numbers &= set(manifests[:1])
        named = [entry for entry in named if entry.number in manifests[:1]] or named
    if len(numbers) == 1:
        (number,) = numbers
        images = [image for image in images if image.number == number]
        entries = [entry for entry in named if entry.number == number]
        return _Chosen([image for image in images if not is_unknown(image.item)] or images, entries, number)
    if named and not numbers:
        kind = str(artifacts.type_of(named[0].item))[:80]
        raise ImageNotFoundError(
            f"{reader.subject} names no image, but an artifact of the type {kind!r}.",
            fix="Name an image after another colon: signatures and attestations do not start.",
        )
    names = ", ".join(sorted({name for image in every for name in (*image.names, image.inner) if name}))
    raise ImageNotFoundError(
        f"{reader.subject} names {f'{len(numbers)} images' if numbers else 'no image'}; "
        + (f"there are: {names}." if names else "none has a name."),
        fix="Name one of them after another colon.",
    )


def _refuse_hidden(reader: ImageReader, chosen: _Chosen, image: _Named) -> None:
    """Raise ImageNotFoundError where podman and skopeo, which see platforms alone, come upon an artifact first."""
    artifacts, wanted = Artifacts(reader), image.item.get("platform")
    for entry in chosen.entries[: chosen.entries.index(image)]:
        if entry.item.get("platform") == wanted and (kind := artifacts.type_of(entry.item)) is not None:
            raise ImageNotFoundError(
                f"{reader.subject} has an artifact of the type {kind[:80]!r} before the image for the same "
                "platform, and podman and skopeo choose what comes first.",
                fix="Put the image first in the index, or give the artifact the platform unknown/unknown.",
            )


def _named(reader: ImageReader, images: list[_Named]) -> list[_Named]:
    """Those that have the name of the reference; all where it has none."""
    if reader.ref is None:
        return images
    if not reader.is_docker:
        named = [image for image in images if reader.ref in image.names]
        return named or [image for image in images if image.inner == reader.ref]
    known = [(image, {full for tag in image.names for full in full_names(tag)}) for image in images]
    every = ([image for image, names in known if name in names] for name in reader.names)
    return next((named for named in every if named), [])


def is_unknown(item: dict[str, Any]) -> bool:
    """Whether an index says of an entry that it is for no platform: an attestation, and no image."""
    platform = item.get("platform")
    return isinstance(platform, dict) and platform.get("os") == "unknown"


def _platform_of(reader: ImageReader, item: dict[str, Any]) -> Platform:
    """What an index says of an image, else what the image says itself."""
    stated = item.get("platform")
    if not isinstance(stated, dict):
        stated = json.loads(_load(reader, item).config)
    os_name, architecture, variant = (str(stated.get(key) or "") for key in ("os", "architecture", "variant"))
    return Platform(os=os_name, architecture=architecture, variant=variant or None)


def images_of(reader: ImageReader, indexes: list[dict[str, Any]] | None = None) -> Iterator[_Named]:
    """Every image; `indexes` gets the descriptors of indexes on the way."""
    if reader.is_docker:
        for number, item in enumerate(as_list(reader.document("manifest.json"), "manifest.json")):
            tags = as_dict(item, "manifest.json").get("RepoTags")
            found = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
            reader.budget.add_descriptors(1 + len(found))
            yield _Named(number, found, item)
        return
    index = as_dict(reader.document("index.json"), "index.json")
    listed = as_list(index.get("manifests"), "index.json")
    reader.budget.add_descriptors(len(listed))
    pending = deque((0, each) for each in _tops(listed))
    known: dict[str, list[Any]] = {}
    seen: set[tuple[int, str]] = set()
    while pending:
        depth, image = pending.popleft()
        number, names, entry, inner = image
        if as_dict(entry, "index.json").get("mediaType") not in INDEXES:
            yield image
            continue
        name = blob_name(entry)
        if (number, name) not in seen:
            seen.add((number, name))
            if indexes is not None:
                indexes.append(entry)
            reader.budget.check_depth(depth + 1)
            if name not in known:
                known[name] = as_list(as_dict(reader.document(name), name).get("manifests"), name)
            reader.budget.add_descriptors(len(known[name]))
            pending += [(depth + 1, _Named(number, names, each, ref_of(each) or inner)) for each in known[name]]


def _tops(listed: list[Any]) -> Iterator[_Named]:
    """The entries of index.json; one manifest with several names is one."""
    known: dict[str, list[Any]] = {}
    for at, entry in enumerate(listed):
        same = (entry.get("digest"), entry.get("mediaType")) if isinstance(entry, dict) else None
        known.setdefault(f"{at}" if same is None else f"{same}", []).append(entry)
    for number, entries in enumerate(known.values()):
        yield _Named(number, tuple(ref for ref in map(ref_of, entries) if ref is not None), entries[0])


def _load(reader: ImageReader, item: dict[str, Any]) -> FoundImage:
    try:
        return load(reader, item)
    except Fault as fault:
        raise broken(reader.subject, str(fault)) from fault


def load(reader: ImageReader, item: dict[str, Any]) -> FoundImage:
    """Config and layers of one image; raises Fault."""
    stored = mismatch = None
    if reader.is_docker:
        config_name = str(item.get("Config"))
        named = as_list(item.get("Layers"), "manifest.json")
        reader.budget.check_layers(len(named))
        described = [{"name": str(name)} for name in named]
    else:
        name = blob_name(item)
        stored = content_of(reader, name)
        manifest = as_dict(parsed(stored, name), name)
        config_name = blob_name(as_dict(manifest.get("config"), name))
        described = [as_dict(layer, name) for layer in as_list(manifest.get("layers"), name)]
        reader.budget.check_layers(len(described))
        mismatch = _mismatch(name, stored)
        if item.get("mediaType") != MANIFEST:
            stored = None
    content = content_of(reader, config_name)
    config = as_dict(parsed(content, config_name), config_name)
    diff_ids = as_list(as_dict(config.get("rootfs"), config_name).get("diff_ids"), config_name)
    if len(diff_ids) != len(described):
        raise Fault(f"the config names {len(diff_ids)} layers and the manifest {len(described)}")
    layers = [
        FoundLayer(layer["name"] if reader.is_docker else blob_name(layer), str(diff_id), layer)
        for diff_id, layer in zip(diff_ids, described, strict=True)
    ]
    image_id = hashlib.sha256(content).hexdigest()
    return FoundImage(
        image_id=image_id,
        config=content,
        layers=tuple(layers),
        manifest=stored,
        mismatch=mismatch or _mismatch(config_name, content),
    )


def _mismatch(name: str, content: bytes) -> str | None:
    """What is wrong with a document whose name is its digest; docker lets a config have any name."""
    wanted = os.path.basename(name).removesuffix(".json")
    digest = hashlib.sha256(content).hexdigest()
    if digest == wanted or not DIGEST.match(f"sha256:{wanted}"):
        return None
    return f"{name} has the digest sha256:{digest}"
