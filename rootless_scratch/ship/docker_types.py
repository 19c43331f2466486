"""An image with the media types of docker's schema 2, for registries that refuse those of OCI.

Config and layers stay as they are, so the image keeps its ID; manifests are other documents with other digests.
They lie in a directory as skopeo's `dir:` has it, for `oci:` knows no other types than OCI's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from rootless_scratch.data import Data
from rootless_scratch.errors import RegistryError
from rootless_scratch.image.oci import CONFIG, INDEX, LAYER, MANIFEST, descriptor, digest_of, encode
from rootless_scratch.image.read.artifacts import is_odd
from rootless_scratch.image.write.layout import BLOBS

MANIFEST_V2 = "application/vnd.docker.distribution.manifest.v2+json"
LIST_V2 = "application/vnd.docker.distribution.manifest.list.v2+json"
_TYPES = {
    MANIFEST: MANIFEST_V2,
    INDEX: LIST_V2,
    CONFIG: "application/vnd.docker.container.image.v1+json",
    LAYER: "application/vnd.docker.image.rootfs.diff.tar",
    f"{LAYER}+gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
"""Docker distribution, "Image Manifest Version 2, Schema 2"; it has none for zstd."""

_VERSION = b"Directory Transport Version: 1.1\n"


class InDockerTypes(Data):
    """What skopeo reads it by, from the directory that has the layout; its digest; what was left out."""

    source: str
    digest: str
    notes: tuple[str, ...]


def in_docker_types(layout: str, digest: str) -> InDockerTypes:
    """Put the image or index of `digest` in `layout` beside it once more, with docker's types.

    Raises RegistryError for what these cannot say, OSError.
    """
    directory = f"{layout}-docker"
    os.makedirs(directory, exist_ok=True)
    changed = _Changed(layout, directory)
    content = changed.document(digest)
    changed.write("manifest.json", content)
    changed.write("version", _VERSION)
    return InDockerTypes(
        f"dir:{os.path.basename(directory)}", digest_of(content), tuple(dict.fromkeys(changed.notes))
    )


class _Changed:
    def __init__(self, layout: str, directory: str) -> None:
        self._layout, self._directory = layout, directory
        self.notes: list[str] = []

    def document(self, digest: str) -> bytes:
        """A manifest or an index of the layout, with docker's types; what it names is put in place."""
        content = self._read(digest)
        held = json.loads(content)
        if held.get("mediaType") in (MANIFEST_V2, LIST_V2):
            # It is one of docker's already.
            for each in self._named(held):
                self._keep(each["digest"])
            return content
        if held.get("annotations"):
            self.notes.append("Docker's manifests have no annotations, so those of the image were left out.")
        if "manifests" in held:
            return self._list(held)
        config, layers = self._described(held["config"]), [self._described(each) for each in held["layers"]]
        return encode({"schemaVersion": 2, "mediaType": MANIFEST_V2, "config": config, "layers": layers})

    def write(self, name: str, content: bytes) -> None:
        with open(os.path.join(self._directory, name), "wb") as file:
            file.write(content)

    def _list(self, index: dict[str, Any]) -> bytes:
        entries = []
        for each in index["manifests"]:
            if is_odd(each):
                self.notes.append(
                    f"Docker's manifest lists have no artifacts, so {each['digest']} of the index was left out."
                )
                continue
            if each.get("mediaType") in (INDEX, LIST_V2):
                raise RegistryError(
                    "The index names another index, which docker's manifest lists cannot.",
                    fix="Push with `--format oci` to a registry that takes OCI's media types.",
                )
            content = self.document(each["digest"])
            found = digest_of(content)
            self.write(f"{found.removeprefix('sha256:')}.manifest.json", content)
            platform = each.get("platform") or self._platform(each["digest"])
            entries.append({**descriptor(MANIFEST_V2, found, len(content)), "platform": platform})
        return encode({"schemaVersion": 2, "mediaType": LIST_V2, "manifests": entries})

    def _platform(self, digest: str) -> dict[str, Any]:
        config = json.loads(self._read(json.loads(self._read(digest))["config"]["digest"]))
        return {key: config[key] for key in ("architecture", "os", "variant") if config.get(key)}

    def _described(self, entry: dict[str, Any]) -> dict[str, object]:
        known = _TYPES.get(entry.get("mediaType", ""), entry.get("mediaType", ""))
        if known not in _TYPES.values():
            raise RegistryError(
                f"Docker's media types have none for {known!r}.",
                fix="Push it with `--compress gzip`, or with `--format oci` to a registry that takes OCI's.",
            )
        self._keep(entry["digest"])
        return descriptor(known, entry["digest"], entry["size"])

    def _keep(self, digest: str) -> None:
        name = digest.removeprefix("sha256:")
        if not os.path.exists(os.path.join(self._directory, name)):
            os.link(os.path.join(self._layout, BLOBS, name), os.path.join(self._directory, name))

    def _named(self, held: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What a document of docker's names; the manifests of a list of its stand beside it by themselves."""
        for each in held.get("manifests", ()):
            content = self._read(each["digest"])
            self.write(f"{each['digest'].removeprefix('sha256:')}.manifest.json", content)
            yield from self._named(json.loads(content))
        if "config" in held:
            yield from (held["config"], *held["layers"])

    def _read(self, digest: str) -> bytes:
        with open(os.path.join(self._layout, BLOBS, digest.removeprefix("sha256:")), "rb") as file:
            return file.read()
