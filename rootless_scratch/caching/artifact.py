"""Layers of others as an artifact: a manifest of OCI image-spec v1.1 whose layers tell what they come of.

The type of the artifact is our own, its config the empty one (manifest.md, "Guidelines for Artifact Usage"), and
the annotations of each layer are the fields of an Entry. To a registry it is a manifest like any other.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rootless_scratch.caching.store import Entry
from rootless_scratch.data import Data
from rootless_scratch.errors import UsageError
from rootless_scratch.image.oci import MANIFEST, descriptor, digest_of, encode
from rootless_scratch.image.references import REGISTRY, Reference, parse_reference
from rootless_scratch.image.write.layout import Blob

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TYPE = "application/vnd.rootless-scratch.cache.v1"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = Blob.of(b"{}")
TAG = "cache"
"""Where a reference names none; `latest` is an image's."""

DOCUMENT_LIMIT = 4 << 20
"""Bytes of a manifest, as distribution-spec v1.1 has it."""

LAYERS_MAX = 1000
"""Of an artifact; those that were not used for longest go. A thousand take half of the bytes of a manifest."""

_NOTE = "io.rootless-scratch.layer."
_NOTED = ("key", "shape", "diff-id", "tar-size", "compression")


class Artifact(Data):
    """What a reference holds: its layers by their keys, and the digest of its manifest."""

    entries: Mapping[str, Entry]
    digest: str


def parse_cache(text: str) -> Reference:
    """Read `docker://HOST/NAME[:TAG]` or `oci:DIR[:REF]`, by default with the tag `cache`; raises UsageError."""
    transport, _, path = text.partition(":")
    name = text.rpartition("/")[2] if transport == REGISTRY else path
    if transport not in (REGISTRY, "oci"):
        raise UsageError(
            f"{text!r} cannot hold a cache.", fix="Write `docker://HOST/NAME:TAG` or `oci:DIR`, with a name."
        )
    return parse_reference(text if ":" in name else f"{text}:{TAG}").but(text=text)


def manifest_of(entries: Iterable[Entry]) -> bytes:
    """The manifest of an artifact with these layers."""
    described = [
        {
            **descriptor(entry.media_type, f"sha256:{entry.digest}", entry.size),
            "annotations": dict(zip((_NOTE + name for name in _NOTED), _notes(entry), strict=True)),
        }
        for entry in entries
    ]
    config = descriptor(_EMPTY_TYPE, EMPTY.digest, EMPTY.size)
    return encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": TYPE,
            "config": config,
            # An empty list is what some registries refuse.
            "layers": described or [config],
        }
    )


def read_artifact(content: bytes) -> Artifact | None:
    """What a manifest holds, whoever wrote it; None where it is of something else."""
    try:
        document = json.loads(content)
        if document["artifactType"] != TYPE:
            return None
        found = list(_entries(document["layers"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Artifact({entry.key: entry for entry in found}, digest_of(content))


def merged(new: Iterable[Entry], old: Iterable[Entry]) -> list[Entry]:
    """What an artifact is to have: the new ones, then the old ones, as many as there may be."""
    found = {entry.key: entry for entry in new}
    for entry in old:
        found.setdefault(entry.key, entry)
    return list(found.values())[:LAYERS_MAX]


def _notes(entry: Entry) -> tuple[str, ...]:
    return (entry.key, entry.shape, f"sha256:{entry.diff_id}", str(entry.tar_size), entry.compression)


def _entries(layers: Iterable[Mapping[str, Any]]) -> Iterator[Entry]:
    for layer in layers:
        notes = layer.get("annotations")
        if not isinstance(notes, dict):
            continue
        key, shape, diff_id, tar_size, compression = (notes.get(_NOTE + name, "") for name in _NOTED)
        entry = Entry(
            shape=shape,
            key=key,
            diff_id=str(diff_id).removeprefix("sha256:"),
            digest=str(layer["digest"]).removeprefix("sha256:"),
            size=layer["size"],
            tar_size=int(tar_size) if str(tar_size).isdecimal() else -1,
            compression=compression,
        )
        # What is packed is never much larger.
        if entry.is_sound() and entry.size <= entry.tar_size + entry.tar_size // 8 + (1 << 20):
            yield entry
