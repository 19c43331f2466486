"""Config, manifest and index as the JSON of OCI image-spec v1.1, byte for byte as Go's encoding/json writes them.

So a config has the bytes, and hence the image the ID, that buildah 1.39 and later give it.
"""

from __future__ import annotations

import json

from rootless_scratch import sums

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.image.config import ImageConfig

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYERS = {"none": LAYER, "gzip": f"{LAYER}+gzip", "zstd": f"{LAYER}+zstd"}
"""The media type of a layer by its compression."""

REF_NAME = "org.opencontainers.image.ref.name"

_ESCAPED = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def ref_of(entry: object) -> str | None:
    """The name that a descriptor of an index gives its image; None for none, and for what is no text."""
    annotations = entry.get("annotations") if isinstance(entry, dict) else None
    ref = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return ref if isinstance(ref, str) else None


def encode(document: Mapping[str, object]) -> bytes:
    """Compact JSON in the order of the keys; strings escaped as Go escapes them."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    # These characters stand only inside strings; json writes \\b and \\f short, as Go does since 1.22.
    return text.translate(_ESCAPED).encode()


def digest_of(content: bytes) -> str:
    """`sha256:` and the sum in hexadecimal."""
    return f"sha256:{sums.digest(content)}"


def config_document(config: ImageConfig, diff_ids: Sequence[str]) -> bytes:
    """The image's config; without `history`, which no runtime reads, unless the image is to have one."""
    found = config.as_oci()
    if found["created"] is None:
        import time

        found["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    order = ("created", "author", "architecture", "os", "variant", "config")
    document = {key: found[key] for key in order if key in found}
    document["rootfs"] = {"type": "layers", "diff_ids": list(diff_ids)}
    if config.history:
        # The one layer is the last step's: as many steps as there are layers may have one.
        steps = [{"created": found["created"], "created_by": each, "empty_layer": True} for each in config.history]
        del steps[-1]["empty_layer"]
        document["history"] = steps
    return encode(document)


def manifest_document(
    config: bytes, layers: Sequence[Mapping[str, object]], annotations: Sequence[tuple[str, str]]
) -> bytes:
    """The manifest of a config and the descriptors of its layers."""
    described = {"config": descriptor(CONFIG, digest_of(config), len(config)), "layers": list(layers)}
    return _document(MANIFEST, described, annotations)


def index_document(
    manifests: Sequence[tuple[Platform, Mapping[str, object]]], annotations: Sequence[tuple[str, str]]
) -> bytes:
    """The index of several manifests, each with its platform: OCI image-spec v1.1, image-index.md."""
    listed = [{**found, "platform": _platform(platform)} for platform, found in manifests]
    return _document(INDEX, {"manifests": listed}, annotations)


def _document(media_type: str, content: Mapping[str, object], annotations: Sequence[tuple[str, str]]) -> bytes:
    noted = {"annotations": dict(annotations)} if annotations else {}
    return encode({"schemaVersion": 2, "mediaType": media_type, **content, **noted})


def _platform(platform: Platform) -> dict[str, str]:
    found = {"architecture": platform.architecture, "os": platform.os}
    return found if platform.variant is None else {**found, "variant": platform.variant}


def descriptor(media_type: str, digest: str, size: int) -> dict[str, object]:
    """What points to a blob: OCI image-spec v1.1, descriptor.md."""
    return {"mediaType": media_type, "digest": digest, "size": size}
