"""An image in a layout or an archive, read without tools: documents, layers, and all that is wrong with it.

What is read was written by anybody: sizes are bounded, no path of it is ever opened, and nothing is unpacked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tarfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

from rootless_scratch.errors import ImageNotFoundError, SourceError
from rootless_scratch.image.oci import CONFIG, INDEX, MANIFEST, REF_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from types import TracebackType

    from rootless_scratch.image.outputs import Output

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_DOCUMENT_MAX = 4 << 20
"""Bytes of a manifest that registries take: distribution-spec v1.1, "Pushing Manifests"."""

_CHUNK = 1 << 20
_LAYERS = re.compile(
    r"application/vnd\.(?:oci\.image\.layer(?:\.nondistributable)?\.v1\.tar(?:\+(?:gzip|zstd))?"
    r"|docker\.image\.rootfs\.diff\.tar(?:\.gzip)?)\Z"
)
_MANIFESTS = (MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
_INDEXES = (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
_CONFIGS = (CONFIG, "application/vnd.docker.container.image.v1+json")


class Fault(Exception):  # noqa: N818 - one of many that are told together
    """What keeps a document from being read."""


class Source:
    """An image layout, or an archive of either kind, by the names of the files in it.

    Raises ImageNotFoundError where nothing is there, SourceError for what cannot be read.
    """

    def __init__(self, output: Output) -> None:
        self.word = output.word
        self.ref = output.ref
        self.is_docker = output.transport == "docker-archive"
        self._directory = output.path if output.transport == "oci" else None
        self._archive: tarfile.TarFile | None = None
        self._members: dict[str, tarfile.TarInfo] = {}
        if not os.path.exists(output.path):
            raise ImageNotFoundError(
                f"There is no {output.path!r}.",
                fix=f"Build it with `rootless-scratch build PROGRAM -o {output.word}`.",
            )
        if self._directory is None:
            self._open_archive(output.path)
        elif not os.path.isdir(self._directory):
            raise SourceError(f"{output.path!r} is not a directory.", fix="Name an archive as oci-archive:FILE.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._archive is not None:
            self._archive.close()

    def _open_archive(self, path: str) -> None:
        try:
            self._archive = tarfile.open(path, "r:")  # noqa: SIM115 - closed by __exit__
            self._members = {os.path.normpath(member.name): member for member in self._archive}
        except (OSError, tarfile.TarError, ValueError) as error:
            raise SourceError(
                f"{path!r} cannot be read as a tar file: {error}.", fix="Name an uncompressed archive of an image."
            ) from error

    def open(self, name: str) -> BinaryIO:
        """Open a regular file of the image by its name; raises Fault."""
        if self._directory is None:
            member = self._members.get(name)
            opened = self._archive.extractfile(member) if self._archive and member and member.isreg() else None
            if opened is None:
                raise Fault(f"{name} is missing")
            return cast("BinaryIO", opened)
        try:
            path = os.path.join(self._directory, name)
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise Fault(f"{name} is missing" if error.errno == 2 else f"{name}: {error.strerror}") from error  # noqa: PLR2004 - ENOENT
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Fault(f"{name} is no regular file")
        return open(descriptor, "rb")

    def document(self, name: str) -> Any:  # noqa: ANN401 - JSON of anybody's
        """A JSON document of bounded size; raises Fault."""
        with self.open(name) as file:
            content = file.read(_DOCUMENT_MAX + 1)
        if len(content) > _DOCUMENT_MAX:
            raise Fault(f"{name} has more than {_DOCUMENT_MAX} bytes")
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Fault(f"{name} is not JSON") from error


class FoundLayer:
    """A layer: the name of its file, the diff_id that the config gives it, and its descriptor."""

    __slots__ = ("descriptor", "diff_id", "name")

    def __init__(self, name: str, diff_id: str, descriptor: dict[str, Any]) -> None:
        self.name = name
        self.diff_id = diff_id
        self.descriptor = descriptor


class FoundImage:
    """An image's config and manifest as they are stored, and its layers, lowest first.

    `manifest` is None where there is none in the form of OCI's specification. `mismatch` says which of the two is
    not what its digest says, None if both are.
    """

    __slots__ = ("config", "image_id", "layers", "manifest", "mismatch")

    def __init__(
        self,
        *,
        image_id: str,
        config: bytes,
        layers: tuple[FoundLayer, ...],
        manifest: bytes | None,
        mismatch: str | None,
    ) -> None:
        self.mismatch = mismatch
        self.image_id = image_id
        self.config = config
        self.layers = layers
        self.manifest = manifest


def find_image(source: Source) -> FoundImage:
    """The image that the source's word names; raises ImageNotFoundError, SourceError."""
    try:
        images = dict(_images(source))
    except Fault as fault:
        raise broken(source.word, str(fault)) from fault
    chosen = [image for (ref, _), image in images.items() if source.ref is None or ref == source.ref]
    if len(chosen) == 1:
        return _load(source, chosen[0])
    names = ", ".join(sorted({ref for ref, _ in images if ref})) or "none has a name"
    raise ImageNotFoundError(
        f"{source.word} names {'no image' if not chosen else f'{len(chosen)} images'}; there are: {names}.",
        fix="Name one of them behind another colon.",
    )


def broken(word: str, what: str) -> SourceError:
    """The error for an image that cannot be read."""
    return SourceError(f"{word} is not a whole image: {what}.", fix="Build or copy it anew.")


def _images(source: Source) -> Iterator[tuple[tuple[str | None, int], Any]]:
    """Reference and number of each image, with its descriptor (or docker's entry)."""
    if source.is_docker:
        for number, item in enumerate(_list(source.document("manifest.json"), "manifest.json")):
            for tag in _dict(item, "manifest.json").get("RepoTags") or [None]:
                yield (tag, number), item
        return
    index = _dict(source.document("index.json"), "index.json")
    pending = [(None, item) for item in _list(index.get("manifests"), "index.json")]
    number = 0
    seen: set[str] = set()
    while pending:
        above, item = pending.pop(0)
        entry = _dict(item, "index.json")
        ref = (entry.get("annotations") or {}).get(REF_NAME, above)
        number += 1
        if entry.get("mediaType") not in _INDEXES:
            yield (ref, number), entry
            continue
        name = blob_name(entry)
        if name not in seen:
            seen.add(name)
            nested = _dict(source.document(name), name)
            pending += [(ref, each) for each in _list(nested.get("manifests"), name)]


def _load(source: Source, item: dict[str, Any]) -> FoundImage:
    try:
        return load(source, item)
    except Fault as fault:
        raise broken(source.word, str(fault)) from fault


def load(source: Source, item: dict[str, Any]) -> FoundImage:
    """Config and layers of one image; raises Fault."""
    stored = mismatch = None
    if source.is_docker:
        config_name = str(item.get("Config"))
        described = [{"name": str(name)} for name in _list(item.get("Layers"), "manifest.json")]
    else:
        name = blob_name(item)
        manifest = _dict(source.document(name), name)
        config_name = blob_name(_dict(manifest.get("config"), name))
        described = [_dict(layer, name) for layer in _list(manifest.get("layers"), name)]
        stored = _content(source, name)
        mismatch = _mismatch(name, stored)
        if item.get("mediaType") != MANIFEST:
            stored = None
    config = _dict(source.document(config_name), config_name)
    content = _content(source, config_name)
    diff_ids = _list(_dict(config.get("rootfs"), config_name).get("diff_ids"), config_name)
    if len(diff_ids) != len(described):
        raise Fault(f"the config names {len(diff_ids)} layers and the manifest {len(described)}")
    layers = [
        FoundLayer(layer["name"] if source.is_docker else blob_name(layer), str(diff_id), layer)
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
    if digest == wanted or not _DIGEST.match(f"sha256:{wanted}"):
        return None
    return f"{name} has the digest sha256:{digest}"


def _content(source: Source, name: str) -> bytes:
    """The bytes of a document, which was read before and has no more than it may."""
    with source.open(name) as file:
        return file.read(_DOCUMENT_MAX)


@contextmanager
def open_layer(source: Source, name: str) -> Iterator[BinaryIO]:
    """The uncompressed bytes of a layer; raises Fault, and HostError where nothing here reads its compression."""
    with source.open(name) as file:
        start = cast("BufferedReader", file).peek(4)[:4]
        if start == b"\x28\xb5\x2f\xfd":
            from rootless_scratch.image.zstd import opened

            yield opened(file)
            return
        if start[:2] != b"\x1f\x8b":
            yield file
            return
        from isal import igzip

        with igzip.IGzipFile(fileobj=file, mode="rb") as unpacked:  # type: ignore[no-untyped-call]
            yield cast("BinaryIO", unpacked)


def validate(source: Source) -> tuple[str, ...]:
    """Name all faults of all images that the source holds: digests, sizes, media types, diff_ids; () for none."""
    faults: list[str] = []
    if not source.is_docker:
        faults += _check_version(source)
    try:
        images = list(_images(source))
    except Fault as fault:
        return (*faults, str(fault))
    checked: set[str] = set()
    for _, item in images:
        faults += [fault for fault in _faults(source, item, checked) if fault not in faults]
    return tuple(faults)


def _check_version(source: Source) -> Iterator[str]:
    try:
        version = _dict(source.document("oci-layout"), "oci-layout").get("imageLayoutVersion")
    except Fault as fault:
        yield str(fault)
    else:
        if version != "1.0.0":
            yield f"oci-layout is of version {version!r} and not 1.0.0"


def _faults(source: Source, item: dict[str, Any], checked: set[str]) -> Iterator[str]:
    if not source.is_docker:
        yield from _check_blob(source, item, _MANIFESTS, checked)
    try:
        image = load(source, item)
        if source.is_docker:
            if image.mismatch is not None:
                yield image.mismatch
        else:
            manifest = source.document(blob_name(item))
            yield from _check_blob(source, manifest["config"], _CONFIGS, checked)
    except Fault as fault:
        yield str(fault)
        return
    for layer in image.layers:
        if not source.is_docker:
            yield from _check_blob(source, layer.descriptor, _LAYERS, checked)
        yield from _check_diff(source, layer)


def _check_blob(
    source: Source, descriptor: dict[str, Any], kinds: tuple[str, ...] | re.Pattern[str], checked: set[str]
) -> Iterator[str]:
    try:
        name = blob_name(descriptor)
        if name in checked:
            return
        checked.add(name)
        kind = str(descriptor.get("mediaType"))
        known = kinds.match(kind) is not None if isinstance(kinds, re.Pattern) else kind in kinds
        if not known:
            yield f"{name} has the media type {kind!r}"
        with source.open(name) as file:
            size, digest = _sum(file)
    except (Fault, OSError) as fault:
        yield str(fault)
        return
    if size != descriptor.get("size"):
        yield f"{name} has {size} bytes and not {descriptor.get('size')!r}"
    if digest != descriptor["digest"]:
        yield f"{name} has the digest {digest}"


def _check_diff(source: Source, layer: FoundLayer) -> Iterator[str]:
    try:
        with open_layer(source, layer.name) as file:
            _, digest = _sum(file)
    except (Fault, OSError, EOFError) as fault:
        yield str(fault) if isinstance(fault, Fault) else f"{layer.name} cannot be unpacked: {fault}"
        return
    if digest != layer.diff_id:
        yield f"{layer.name} has the diff_id {digest}, and the config says {layer.diff_id}"


def _sum(file: BinaryIO) -> tuple[int, str]:
    found = hashlib.sha256()
    size = 0
    while block := file.read(_CHUNK):
        found.update(block)
        size += len(block)
    return size, f"sha256:{found.hexdigest()}"


def blob_name(descriptor: dict[str, Any]) -> str:
    """The file of a blob; raises Fault for what is no sha256 digest."""
    digest = str(descriptor.get("digest"))
    if not _DIGEST.match(digest):
        raise Fault(f"{digest[:80]!r} is no sha256 digest")
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _dict(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Fault(f"{where} is not what the specification asks for")
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise Fault(f"{where} is not what the specification asks for")
    return value
