"""What lies in a layout beside images and is none: signatures, attestations, lists of parts, anything else.

OCI image-spec v1.1, manifest.md, "Guidelines for Artifact Usage": the media type of the config tells, else those
of the layers, because cosign and buildkit give what they add the config of an image.
"""

from __future__ import annotations

from typing import Any

from rootless_scratch.expressions import expression
from rootless_scratch.image.oci import CONFIG, MANIFEST
from rootless_scratch.image.read.reader import INDEXES, Fault, ImageReader, blob_name

MANIFESTS = (MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
CONFIGS = (CONFIG, "application/vnd.docker.container.image.v1+json")
TAR_TYPES = expression(
    r"application/vnd\.(?:oci\.image\.layer(?:\.nondistributable)?\.v1\.tar(?:\+(?:gzip|zstd))?"
    r"|docker\.image\.rootfs\.diff\.tar(?:\.gzip)?)\Z"
)


def is_odd(item: dict[str, Any]) -> bool:
    """Whether a descriptor says that it leads to neither a manifest nor an index; what that holds is not read."""
    kind = item.get("mediaType")
    return isinstance(kind, str) and kind not in (*MANIFESTS, *INDEXES)


class Artifacts:
    """Tells artifacts from images by what their descriptors lead to; each manifest is read once."""

    def __init__(self, reader: ImageReader) -> None:
        self._reader = reader
        self._known: dict[str, str | None] = {}

    def type_of(self, item: dict[str, Any]) -> str | None:
        """The type of an artifact; None for an image, and for what is too damaged to tell. Raises LimitError."""
        if self._reader.is_docker:
            return None
        if is_odd(item):
            return str(item["mediaType"])
        try:
            name = blob_name(item)
            if name not in self._known:
                self._known[name] = _type_said(self._reader.document(name))
        except Fault:
            return None
        return self._known[name]


def _type_said(manifest: object) -> str | None:
    """What a manifest says that it is, where that is no image."""
    if not isinstance(manifest, dict):
        return None
    config, layers = manifest.get("config"), manifest.get("layers")
    kind = config.get("mediaType") if isinstance(config, dict) else None
    if not isinstance(kind, str):
        return None
    stated = manifest.get("artifactType")
    if kind not in CONFIGS:
        return stated if isinstance(stated, str) else kind
    kinds = (
        [each.get("mediaType") for each in layers if isinstance(each, dict)] if isinstance(layers, list) else []
    )
    texts = [each for each in kinds if isinstance(each, str)]
    if not texts or any(map(TAR_TYPES.match, texts)):
        return None
    return stated if isinstance(stated, str) else texts[0]
