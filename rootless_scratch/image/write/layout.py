"""OCI image layouts on disk, and archives of images: written whole or not at all.

A layout may hold several images, and several writers may add to it at once: blobs come first, and the index, which
names them, is replaced under a lock of the directory (OCI image-spec v1.1, image-layout.md).
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager, suppress

from rootless_scratch import sums
from rootless_scratch.data import Data
from rootless_scratch.errors import BuildError
from rootless_scratch.image.host_files import open_regular
from rootless_scratch.image.oci import INDEX, MANIFEST, REF_NAME, descriptor, digest_of, encode, ref_of
from rootless_scratch.image.write.tarheader import DIRECTORY, END, header, padding
from rootless_scratch.image.write.temporary import PREFIX, Temporary, sync_directory
from rootless_scratch.locks import lock
from rootless_scratch.private import foreign_link
from rootless_scratch.sparse import append_sparse

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rootless_scratch.image.write.temporary import Sync

VERSION_FILE, INDEX_FILE, BLOBS = "oci-layout", "index.json", "blobs/sha256"
VERSION = b'{"imageLayoutVersion":"1.0.0"}'
_CHUNK = 16 << 20
_LOCK_PATIENCE = 60.0
"""Seconds; a writer holds it for as long as it takes to write one small file."""


class Blob(Data):
    """Bytes with their digest: either `content`, or what the file `source` holds, from its start.

    `is_there` is what was found whole in every layout that it goes to.
    """

    digest: str
    size: int
    content: bytes = b""
    source: Temporary | None = None
    is_there: bool = False

    @classmethod
    def of(cls, content: bytes) -> Blob:
        """The blob of some bytes."""
        return cls(digest_of(content), len(content), content=content)

    @property
    def name(self) -> str:
        """The digest without its algorithm: the file's name."""
        return self.digest.removeprefix("sha256:")


class WrittenImage(Data):
    """All blobs of an image: the manifest, the config, the layers."""

    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """What is pointed to before what points to it, each once."""
        every = (*self.layers, self.config, self.manifest)
        return tuple({blob.digest: blob for blob in every}.values())

    def entry(self, ref: str | None) -> dict[str, object]:
        """The descriptor by which an index names the image."""
        return _named(MANIFEST, self.manifest, ref)


class WrittenIndex(Data):
    """All blobs of several images, and the index that names them by platform; `manifest` is the index itself.

    `nested` are indexes and other documents that it names.
    """

    manifest: Blob
    images: tuple[WrittenImage, ...]
    nested: tuple[Blob, ...] = ()

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """What is pointed to before what points to it, each once."""
        every = [*(blob for image in self.images for blob in image.blobs), *self.nested, self.manifest]
        return tuple({blob.digest: blob for blob in every}.values())

    def entry(self, ref: str | None) -> dict[str, object]:
        """The descriptor by which a layout names the index."""
        return _named(INDEX, self.manifest, ref)


def _named(media_type: str, blob: Blob, ref: str | None) -> dict[str, object]:
    found = descriptor(media_type, blob.digest, blob.size)
    return found if ref is None else {**found, "annotations": {REF_NAME: ref}}


@contextmanager
def layout_directory(path: str) -> Iterator[str]:
    """A directory that may take images: a layout, or nothing yet; what was made is removed where nothing came in.

    Raises BuildError for a directory of anything else, and for one that cannot be made or read.
    """
    refuse_foreign_link(path)
    made = not os.path.isdir(path)
    try:
        os.makedirs(path, exist_ok=True)
        foreign = _foreign(path)
    except OSError as error:
        raise BuildError(
            f"{path!r} cannot be made or read: {error.strerror}.", fix="Name a directory that you can write to."
        ) from error
    if foreign is not None:
        raise BuildError(
            f"{path!r} is not an image layout: it holds {foreign!r} and no {VERSION_FILE} of version 1.",
            fix="Name a new directory, or one that an image was written to before.",
        )
    try:
        yield path
    finally:
        if made:
            with suppress(OSError):  # the image is in it
                os.rmdir(path)


def refuse_foreign_link(path: str) -> None:
    """Raise BuildError where another user decides, by a link in a shared directory, what is written to."""
    link = foreign_link(path)
    if link is not None:
        raise BuildError(
            f"{link!r} is a symbolic link of another user, who thus chooses the file that is written to.",
            fix="Write to a directory of your own, or name the intended file.",
        )


def _foreign(path: str) -> str | None:
    """What in a directory belongs to no layout, nor to one whose first writer was killed; None if all does."""
    names = os.listdir(path)
    if VERSION_FILE in names:
        try:
            with open_regular(os.path.join(path, VERSION_FILE)) as file:
                version = json.loads(file.read(1 << 16))["imageLayoutVersion"]
        except (OSError, ValueError, KeyError, TypeError):
            version = ""
        return None if str(version).startswith("1.") else VERSION_FILE
    others = (name for name in sorted(names) if name != "blobs" and not name.startswith(PREFIX))
    return next(others, None)


def descriptor_digest(descriptor: int) -> str:
    """The sha256 of a file that is open for reading, in hexadecimal. Raises OSError."""
    with open(descriptor, "rb", closefd=False) as file:
        return sums.file_digest(file)


def add_to_layout(
    path: str,
    image: WrittenImage | WrittenIndex,
    refs: Sequence[str | None],
    digest: Callable[[int], str] = descriptor_digest,
    *,
    passing: bool = False,
) -> None:
    """Put an image into a layout under each of `refs`; what had such a name before loses it, all else stays.

    None is the image without a name, of which a layout has one. `digest` is how the sha256 of a file that is open
    is found. A `passing` layout is as Reference has it; blobs that are said to be there need not be in it. Raises
    BuildError, OSError.
    """
    put_blobs(path, image, digest, passing=passing)
    name_images(path, [image.entry(ref) for ref in refs], passing=passing)


def put_blobs(
    path: str,
    image: WrittenImage | WrittenIndex,
    digest: Callable[[int], str] = descriptor_digest,
    *,
    passing: bool = False,
) -> None:
    """Put all of an image into a layout but its names; on disk afterwards, unless it is `passing`.

    Raises BuildError, OSError.
    """
    blobs = os.path.join(path, BLOBS)
    os.makedirs(blobs, exist_ok=True)
    wanted = [blob for blob in image.blobs if not (passing and blob.is_there)]
    missing = [blob for blob in wanted if put_blob(path, blob, digest, passing=passing)]
    if missing and not passing:
        sync_directory(blobs)


def put_blob(path: str, blob: Blob, digest: Callable[[int], str], *, passing: bool = False) -> bool:
    """Put one blob into a layout, whose directory of blobs is there, unless it has it; whether it had not.

    Its name is on disk only after `sync_directory`. Raises BuildError, OSError.
    """
    if has_blob(path, blob, digest):
        return False
    _give_name(path, blob, os.path.join(path, BLOBS, blob.name), "nothing" if passing else "file")
    return True


def name_images(path: str, entries: Sequence[dict[str, object]], *, passing: bool = False) -> None:
    """Have the index of a layout name these images, whose blobs are there, as `add_to_layout` does.

    An index that names all of them already stays as it is. Raises BuildError, OSError.
    """
    sync: Sync = "nothing" if passing else "all"
    with locked(path):
        if not os.path.exists(os.path.join(path, VERSION_FILE)):
            _replace(path, VERSION_FILE, VERSION, sync)
        index = _read_index(path)
        before = index["manifests"]
        unnamed = sum(ref_of(entry) is None for entry in before)
        # Of several without a name none is the one that ours replaces.
        replaced = {ref for ref in map(ref_of, entries) if ref is not None or unnamed == 1}
        nameless = [entry for entry in entries if ref_of(entry) is None]
        kept = [each for each in before if ref_of(each) not in replaced and each not in nameless]
        there = {ref_of(each): each for each in before}
        if len(kept) + len(entries) != len(before) or any(there.get(ref_of(each)) != each for each in entries):
            _replace(path, INDEX_FILE, encode({**index, "manifests": [*kept, *entries]}), sync)


def name_manifest(path: str, digest: str, ref: str) -> None:
    """Name a manifest of a passing layout that only an index there names. Raises BuildError, OSError."""
    size = os.stat(os.path.join(path, BLOBS, digest.removeprefix("sha256:"))).st_size
    with locked(path):
        index = _read_index(path)
        entry = _named(MANIFEST, Blob(digest, size), ref)
        _replace(path, INDEX_FILE, encode({**index, "manifests": [*index["manifests"], entry]}), "nothing")


def has_blob(path: str, blob: Blob, digest: Callable[[int], str]) -> bool:
    """Whether a blob is in a layout and whole: of the right size is also what somebody damaged."""
    try:
        with open_regular(os.path.join(path, BLOBS, blob.name)) as file:
            return os.fstat(file.fileno()).st_size == blob.size and digest(file.fileno()) == blob.name
    except OSError:
        return False


def _give_name(path: str, blob: Blob, blob_path: str, sync: Sync) -> None:
    """Give a blob its name; a file that lies in this layout already is only renamed."""
    if blob.is_there:
        raise BuildError(
            f"The layer {blob.name} of {path!r} was removed or changed while the image was written.",
            fix="Do not change the output while it is written.",
        )
    if blob.source is not None and blob.source.is_in(path):
        blob.source.rename(blob_path, sync=sync)
        return
    with Temporary(path) as file:
        _append(file, blob)
        file.rename(blob_path, sync=sync)


def _replace(path: str, name: str, content: bytes, sync: Sync) -> None:
    with Temporary(path) as file:
        file.write(content)
        file.rename(os.path.join(path, name), sync=sync)


def _append(file: Temporary, blob: Blob) -> None:
    """Write a blob at the end of a file, inside the kernel where it can."""
    if blob.source is None:
        file.write(blob.content)
        return
    reading, writing = blob.source.descriptor, file.descriptor
    if sum(append_sparse(reading, writing, blob.size, chunk=_CHUNK)) < blob.size:
        raise BuildError(
            "A layer shrank while it was copied.", fix="Do not change the output while it is written."
        )


def _read_index(path: str) -> dict[str, list[object]]:
    try:
        with open_regular(os.path.join(path, INDEX_FILE)) as file:
            index = json.load(file)
    except FileNotFoundError:
        return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}  # type: ignore[dict-item]
    except (OSError, ValueError, RecursionError):
        index = None
    if not isinstance(index, dict) or not isinstance(index.get("manifests"), list):
        raise BuildError(
            f"The {INDEX_FILE} of {path!r} is not readable, and names the images that are there.",
            fix="Write to another directory, or remove this one.",
        )
    return index


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Alone among writers of this directory; nothing is left of the lock, however its holder ends (flock(2)).

    Whoever may read the directory can hold the lock, so it is not waited for without end: raises BuildError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + _LOCK_PATIENCE

    def again(_descriptor: int) -> bool:
        time.sleep(0.005)
        return time.monotonic() <= deadline

    try:
        if not lock(descriptor, again=again):
            raise BuildError(
                f"Another process has held the lock of {path!r} for {_LOCK_PATIENCE:g} s.",
                fix="See which one by `lslocks`, or write to a directory that others cannot read.",
            )
        yield
    finally:
        os.close(descriptor)


def write_oci_archive(path: str, image: WrittenImage | WrittenIndex, ref: str | None) -> None:
    """Write a layout with one image as a tar file, replacing what is there. Raises OSError."""
    index = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [image.entry(ref)]})
    with Temporary(os.path.dirname(path)) as file:
        file.write(header(b"blobs/", kind=DIRECTORY, mode=0o755))
        file.write(header(f"{BLOBS}/".encode(), kind=DIRECTORY, mode=0o755))
        for blob in image.blobs:
            _member(file, f"{BLOBS}/{blob.name}", blob)
        _member(file, INDEX_FILE, Blob.of(index))
        _member(file, VERSION_FILE, Blob.of(VERSION))
        file.write(END)
        file.rename(path)


def write_docker_archive(path: str, image: WrittenImage, names: Sequence[str]) -> None:
    """Write what `docker load` and `podman load` read, replacing what is there; the image keeps its ID.

    Docker image-spec v1.2, "Combined Image JSON + Filesystem Changeset Format". Raises OSError.
    """
    layers = [f"{blob.name}/layer.tar" for blob in image.layers]
    manifest = [{"Config": f"{image.config.name}.json", "RepoTags": list(names) or None, "Layers": layers}]
    content = json.dumps(manifest, separators=(",", ":")).encode()
    with Temporary(os.path.dirname(path)) as file:
        for name, blob in zip(layers, image.layers, strict=True):
            file.write(header(name.rpartition("/")[0].encode() + b"/", kind=DIRECTORY, mode=0o755))
            _member(file, name, blob)
        _member(file, f"{image.config.name}.json", image.config)
        _member(file, "manifest.json", Blob.of(content))
        file.write(END)
        file.rename(path)


def _member(file: Temporary, name: str, blob: Blob) -> None:
    file.write(header(name.encode(), size=blob.size))
    _append(file, blob)
    file.write(padding(blob.size))
