"""A finished image: what a build gives back, and what storage tells of one."""

from __future__ import annotations

import msgspec

from rootless_scratch.findings import Finding  # noqa: TC001 - msgspec resolves it for JSON


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer: `diff_id` is the sha256 of its tar, `digest` that of the blob as stored, `size` the blob's."""

    diff_id: str
    digest: str
    size: int
    media_type: str


class WrittenOutput(msgspec.Struct, frozen=True, kw_only=True):
    """An output that was written: its reference, `TRANSPORT:PATH[:REF]`, and the digest of the manifest there.

    Of one in a registry `pull` is the name that is this very image for ever: HOST/NAME@DIGEST.
    """

    ref: str
    digest: str
    pull: str | None = None


class WrittenSbom(msgspec.Struct, frozen=True, kw_only=True):
    """An SBOM that was written: its format, its file, the sha256 of that, and the platform of its image."""

    format: str
    file: str
    sha256: str
    platform: str | None = None


class PlatformImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image of an index: its platform as the index names it, its ID, and its manifest's digest."""

    platform: str
    image_id: str
    digest: str


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image that was built: its ID (sha256 of its config, in hexadecimal), its names, where it lies.

    `digest` is that of the manifest as stored, `size` the bytes of all layers, `files` the number of regular
    files, `findings` what the rules said that did not forbid the build.

    Of an index `digest` is the index's, `images` are all that it names, and everything else is told of that for
    this host's platform, else of the first.
    """

    image_id: str
    names: tuple[str, ...]
    platform: str
    layers: tuple[Layer, ...]
    digest: str
    files: int
    backend: str
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    outputs: tuple[WrittenOutput, ...] = ()
    images: tuple[PlatformImage, ...] = ()
    sboms: tuple[WrittenSbom, ...] = ()

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The sha256 of each layer's uncompressed tar."""
        return tuple(layer.diff_id for layer in self.layers)

    @property
    def size(self) -> int:
        """Bytes of all layers as stored."""
        return sum(layer.size for layer in self.layers)


class Shipped(msgspec.Struct, frozen=True, kw_only=True):
    """An image that was sent or saved: its ID, its layers as they lie there, and where it lies now.

    `digest` is that of its manifest at the first output; a registry that refuses OCI's media types has another one
    (`format`). `notes` tells what was tried more than once, and why.
    """

    image_id: str
    platform: str | None
    layers: tuple[Layer, ...]
    digest: str
    outputs: tuple[WrittenOutput, ...]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all layers as stored."""
        return sum(layer.size for layer in self.layers)


def layers_of(config: dict[str, object], manifest: dict[str, object]) -> tuple[Layer, ...]:
    """The layers that a config and a manifest speak of (OCI image-spec v1.1, or docker's schema 2)."""
    rootfs, described = config["rootfs"], manifest["layers"]
    assert isinstance(rootfs, dict)  # noqa: S101 - so the specification has it
    assert isinstance(described, list)  # noqa: S101 - likewise
    return tuple(
        Layer(
            diff_id=diff_id,
            digest=layer["digest"],
            size=layer["size"],
            media_type=layer["mediaType"],
        )
        for diff_id, layer in zip(rootfs["diff_ids"], described, strict=True)
    )


def platform_said(config: dict[str, object]) -> str | None:
    """The platform of a config, as in `linux/arm64/v8`; None where it says none in texts."""
    parts = (config.get("os"), config.get("architecture"), config.get("variant") or "")
    if not all(isinstance(part, str) for part in parts) or not all(parts[:2]):
        return None
    return "/".join(str(part) for part in parts if part)
