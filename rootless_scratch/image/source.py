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
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Self, cast

from rootless_scratch.elf.platforms import Platform, chosen_platform, host_platform
from rootless_scratch.errors import ImageNotFoundError, SourceError
from rootless_scratch.image.oci import INDEX, MANIFEST, ref_of
from rootless_scratch.image.sources import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rootless_scratch.image.outputs import Output

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_DOCUMENT_MAX = 4 << 20
"""Bytes of a manifest that registries take: distribution-spec v1.1, "Pushing Manifests"."""

_LINKS_MAX = 8

INDEXES = (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")


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
        self._file: BinaryIO | None = None
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
        if self._file is not None:
            self._file.close()

    def _open_archive(self, path: str) -> None:
        try:
            self._file = open_regular(path)
            self._archive = tarfile.open(fileobj=self._file, mode="r:")  # noqa: SIM115 - closed by __exit__
            self._members = {os.path.normpath(member.name): member for member in self._archive}
        except (OSError, tarfile.TarError, ValueError) as error:
            if self._file is not None:
                self._file.close()
            raise SourceError(
                f"{path!r} cannot be read as a tar file: {getattr(error, 'strerror', None) or error}.",
                fix="Name an uncompressed archive of an image.",
            ) from error

    def open(self, name: str) -> BinaryIO:
        """Open a regular file of the image by its name; raises Fault."""
        if self._directory is None:
            member = self._member(name)
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

    def _member(self, name: str) -> tarfile.TarInfo | None:
        """A member of the archive; `docker save` has links to layers that it wrote before."""
        member = self._members.get(name)
        for _ in range(_LINKS_MAX):
            if member is None or not (member.issym() or member.islnk()):
                return member
            above = os.path.dirname(member.name) if member.issym() else ""
            member = self._members.get(os.path.normpath(os.path.join(above, member.linkname)))
        return None

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


class _Named(NamedTuple):
    """An image's descriptor (or docker's entry), its name, and the number of what names it: an index is one."""

    number: int
    ref: str | None
    item: Any


def find_image(source: Source, platform: Platform | None = None) -> FoundImage:
    """The image that the source's word names; of an index that for `platform`, by default this host's.

    Raises ImageNotFoundError, SourceError.
    """
    chosen = _chosen(source)
    if platform is None and len(chosen) == 1:
        return _load(source, chosen[0].item)
    wanted = platform or host_platform(os.uname().machine)
    platforms = [_platform_of(source, each.item) for each in chosen]
    number = chosen_platform(platforms, wanted)
    if number is not None and (not wanted.variant or platforms[number].variant in (wanted.variant, None)):
        return _load(source, chosen[number].item)
    raise ImageNotFoundError(
        f"{source.word} has no image for {wanted}; there are: {', '.join(map(str, platforms))}.",
        fix="Choose one of them, where that is wanted: `--platform OS/ARCHITECTURE`.",
    )


def names_in(source: Source) -> tuple[str, ...]:
    """The names that a docker-archive gives its one image; () for others, which say them elsewhere."""
    if not source.is_docker:
        return ()
    try:
        images = list(images_of(source))
    except Fault as fault:
        raise broken(source.word, str(fault)) from fault
    one = len({id(image.item) for image in images}) == 1
    return tuple(image.ref for image in images if image.ref is not None) if one else ()


def find_all(source: Source) -> tuple[tuple[Platform, FoundImage], ...]:
    """Every image of the index that the source's word names, with its platform; what is for none is left out.

    Raises ImageNotFoundError, SourceError.
    """
    return tuple((_platform_of(source, each.item), _load(source, each.item)) for each in _chosen(source))


def platforms_in(source: Source) -> tuple[Platform, ...]:
    """The platforms of the index that the source's word names; () where it names one image.

    Raises ImageNotFoundError, SourceError.
    """
    chosen = _chosen(source)
    return () if len(chosen) == 1 else tuple(_platform_of(source, each.item) for each in chosen)


def index_of(source: Source) -> bytes | None:
    """The index that the source's word names, as it is stored; None where it is not one document of its own."""
    if source.is_docker:
        return None
    try:
        index = as_dict(source.document("index.json"), "index.json")
        named = [
            entry
            for entry in _list(index.get("manifests"), "index.json")
            if isinstance(entry, dict) and source.ref in (None, ref_of(entry))
        ]
        if len(named) != 1 or named[0].get("mediaType") not in INDEXES:
            return None
        return content_of(source, blob_name(named[0]))
    except Fault as fault:
        raise broken(source.word, str(fault)) from fault


def _chosen(source: Source) -> list[_Named]:
    """The image that the word names, or all those of the index."""
    try:
        images = list(images_of(source))
    except Fault as fault:
        raise broken(source.word, str(fault)) from fault
    named = [image for image in images if source.ref is None or image.ref == source.ref]
    # Attestations lie in an index as images for a platform that is unknown.
    chosen = [image for image in named if not is_unknown(image.item)] or named
    count = len({image.number for image in chosen})
    if count == 1:
        return chosen
    names = ", ".join(sorted({image.ref for image in images if image.ref}))
    raise ImageNotFoundError(
        f"{source.word} names {f'{count} images' if count else 'no image'}; "
        + (f"there are: {names}." if names else "none has a name."),
        fix="Name one of them behind another colon.",
    )


def is_unknown(item: dict[str, Any]) -> bool:
    """Whether an index says of an entry that it is for no platform: an attestation, and no image."""
    platform = item.get("platform")
    return isinstance(platform, dict) and platform.get("os") == "unknown"


def _platform_of(source: Source, item: dict[str, Any]) -> Platform:
    """What an index says of an image, else what the image says itself."""
    said = item.get("platform")
    if not isinstance(said, dict):
        said = json.loads(_load(source, item).config)
    os_name, architecture, variant = (str(said.get(key) or "") for key in ("os", "architecture", "variant"))
    return Platform(os=os_name, architecture=architecture, variant=variant or None)


def broken(word: str, what: str) -> SourceError:
    """The error for an image that cannot be read."""
    return SourceError(f"{word} is not a whole image: {what}.", fix="Build or copy it anew.")


def images_of(source: Source, indexes: list[dict[str, Any]] | None = None) -> Iterator[_Named]:
    """Every image; `indexes` gets the descriptors of indexes on the way."""
    if source.is_docker:
        number = 0
        for item in _list(source.document("manifest.json"), "manifest.json"):
            tags = as_dict(item, "manifest.json").get("RepoTags")
            known: list[str | None] = (
                [tag for tag in tags or () if isinstance(tag, str)] if isinstance(tags, list) else []
            )
            for tag in known or [None]:
                number += 1
                yield _Named(number, tag, item)
        return
    index = as_dict(source.document("index.json"), "index.json")
    pending = [_Named(at, None, item) for at, item in enumerate(_list(index.get("manifests"), "index.json"))]
    seen: set[tuple[int, str]] = set()
    while pending:
        number, above, item = pending.pop(0)
        entry = as_dict(item, "index.json")
        ref = ref_of(entry) or above
        if entry.get("mediaType") not in INDEXES:
            yield _Named(number, ref, entry)
            continue
        name = blob_name(entry)
        if (number, name) not in seen:
            seen.add((number, name))
            if indexes is not None:
                indexes.append(entry)
            nested = as_dict(source.document(name), name)
            pending += [_Named(number, ref, each) for each in _list(nested.get("manifests"), name)]


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
        manifest = as_dict(source.document(name), name)
        config_name = blob_name(as_dict(manifest.get("config"), name))
        described = [as_dict(layer, name) for layer in _list(manifest.get("layers"), name)]
        stored = content_of(source, name)
        mismatch = _mismatch(name, stored)
        if item.get("mediaType") != MANIFEST:
            stored = None
    config = as_dict(source.document(config_name), config_name)
    content = content_of(source, config_name)
    diff_ids = _list(as_dict(config.get("rootfs"), config_name).get("diff_ids"), config_name)
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


def content_of(source: Source, name: str) -> bytes:
    """A document of bounded size as it is stored; raises Fault."""
    """The bytes of a document, which was read before and has no more than it may."""
    with source.open(name) as file:
        return file.read(_DOCUMENT_MAX)


def blob_name(descriptor: dict[str, Any]) -> str:
    """The file of a blob; raises Fault for what is no sha256 digest."""
    digest = str(descriptor.get("digest"))
    if not _DIGEST.match(digest):
        raise Fault(f"{digest[:80]!r} is no sha256 digest")
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def as_dict(value: object, where: str) -> dict[str, Any]:
    """The value itself, if it is an object; raises Fault."""
    if not isinstance(value, dict):
        raise Fault(f"{where} is not what the specification asks for")
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise Fault(f"{where} is not what the specification asks for")
    return value
