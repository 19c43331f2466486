"""What a worker does: images of plans, written where their layouts are seen, else sent back as bytes.

It needs Python and this package alone. All sources are compared with their digests, wherever they come from.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from rootless_scratch.backends.direct import build_images
from rootless_scratch.elf.identity import FileIdentity, identity_of, is_identity
from rootless_scratch.errors import ScratchError
from rootless_scratch.host.environment import private_temporary
from rootless_scratch.image.host_files import HostFiles, open_descriptor
from rootless_scratch.image.references import Reference, parse_references
from rootless_scratch.image.rootfs import File, Rootfs
from rootless_scratch.image.write.layout import WrittenImage, descriptor_digest
from rootless_scratch.image.write.temporary import Temporary
from rootless_scratch.troubles import limit_met
from rootless_scratch.verbs.farm.work import ANSWERS, DIFFERS, Lacking, Made, Sent, version_of
from rootless_scratch.verbs.sharing import Naming

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rootless_scratch.image.plan.planner import Planned
    from rootless_scratch.image.write.layout import Blob, WrittenIndex
    from rootless_scratch.verbs.farm.work import Answer, Mark, Order

_PIECE = 8 << 20
_AGE = 3_000_000_000
"""Nanoseconds: what changed so lately may change again at the same time of its file system."""


def make(makers: Mapping[str, str], orders: bytes, parcels: Sequence[bytes]) -> tuple[str, Any]:
    """Make all `orders`, pickled, one after the other; `parcels` have the sources that come along.

    Nothing is read of them where the `makers` of this process are others than the caller's.
    """
    for name, version in makers.items():
        found = version_of(name)
        if found != version:
            return DIFFERS, (name, found)
    with HostFiles() as files:
        return ANSWERS, [_answer(order, parcels, files) for order in pickle.loads(orders)]  # noqa: S301 - the caller's


def _answer(order: Order, parcels: Sequence[bytes], files: HostFiles) -> Answer:
    try:
        found = _Found(order, parcels)
        plans = tuple(msgspec.structs.replace(each, plan=found.located(each)) for each in order.plans)
        if found.lacking:
            return Lacking(frozenset(found.lacking))
        if order.marks and all(map(_is_seen, order.marks)):
            return _written(order, plans, files)
        return _sent(order, plans, files)
    except ScratchError as error:
        return error
    except OSError as error:
        met = limit_met(error)
        if met is None:
            raise
        return met


def _written(order: Order, plans: Sequence[Planned], files: HostFiles) -> Made:
    outputs = parse_references(order.outputs)
    naming = Naming([each.path for each in outputs])
    image = build_images(plans, outputs, files, compression=order.compression, add=naming.add)
    return Made(image, waiting=tuple(naming.waiting))


def _sent(order: Order, plans: Sequence[Planned], files: HostFiles) -> Made:
    parts: list[Made] = []

    def keep(_path: str, made: WrittenImage | WrittenIndex, *_how: object) -> None:
        images = (made,) if isinstance(made, WrittenImage) else made.images
        sent = tuple(
            Sent(each.manifest.content, each.config.content, tuple(map(_pieces, each.layers))) for each in images
        )
        parts.append(Made(image, manifest=made.manifest.content, sent=sent))

    image: Any = None
    with private_temporary(os.environ) as directory:
        path = os.path.join(directory.path, "layout")
        nowhere = Reference(text=path, transport="oci", path=path, ref=None)
        image = build_images(plans, [nowhere], files, compression=order.compression, add=keep)
    return parts[0].but(image=image)


def _pieces(layer: Blob) -> tuple[bytes, ...]:
    """The bytes of a layer that was just written."""
    assert layer.source is not None  # noqa: S101 - nothing is known of a layout that is new
    descriptor = layer.source.descriptor
    return tuple(os.pread(descriptor, _PIECE, at) for at in range(0, layer.size, _PIECE))


def _is_seen(mark: Mark) -> bool:
    """Whether the layout is the caller's, and can be written to."""
    try:
        descriptor, _ = open_descriptor(os.path.join(mark.layout, mark.name), os.O_NOFOLLOW)
        with open(descriptor, "rb") as file:
            if file.read(len(mark.content) + 1) != mark.content:
                return False
        with Temporary(mark.layout):
            return True
    except OSError:
        return False


class _Found:
    """Where the sources of an order are here: at their paths, or in what came along."""

    def __init__(self, order: Order, parcels: Sequence[bytes]) -> None:
        self.lacking: set[str] = set()
        self._order = order
        self._parcels = parcels
        self._contents: dict[str, bytes] = {}

    def located(self, planned: Planned) -> Any:  # noqa: ANN401 - a Plan
        """The plan with its files as they are here."""
        plan = planned.plan
        entries = tuple(
            self._file(each)
            if isinstance(each, File) and each.source is not None and each.linked is None
            else each
            for each in plan.rootfs
        )
        return msgspec.structs.replace(plan, rootfs=Rootfs(entries=entries))

    def _file(self, file: File) -> File:
        assert file.source is not None  # noqa: S101 - see above
        digest = self._order.digests[file.source]
        identity = _here(file.source, file.identity.size, digest)
        if identity is not None:
            return file if identity == file.identity else msgspec.structs.replace(file, identity=identity)
        content = self._content(digest)
        if content is None:
            self.lacking.add(digest)
            return file
        identity = FileIdentity(device=0, inode=0, size=len(content), mtime_ns=0, ctime_ns=0)
        return msgspec.structs.replace(file, source=None, content=content, identity=identity)

    def _content(self, digest: str) -> bytes | None:
        if digest not in self._contents and digest in self._order.spans:
            spans = self._order.spans[digest]
            content = b"".join(self._parcels[number][start : start + size] for number, start, size in spans)
            # What was damaged on the way is asked for again.
            if hashlib.sha256(content).hexdigest() == digest:
                self._contents[digest] = content
        return self._contents.get(digest)


def _here(path: str, size: int, digest: str) -> FileIdentity | None:
    """What the file of that path is, where it has these bytes."""
    try:
        descriptor, status = open_descriptor(path)
        try:
            identity = identity_of(status)
            if status.st_size != size:
                return None
            settled = time.time_ns() - status.st_ctime_ns > _AGE
            found = _remembered_digest(path, identity) if settled else _digest(descriptor, identity)
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return None
    return identity if found == digest else None


@lru_cache(maxsize=8192)
def _remembered_digest(path: str, identity: FileIdentity) -> str:
    """The sha256 of a file that has not changed for a while: read once by each worker. Raises OSError."""
    descriptor, _ = open_descriptor(path)
    try:
        return _digest(descriptor, identity)
    finally:
        os.close(descriptor)


def _digest(descriptor: int, identity: FileIdentity) -> str:
    found = descriptor_digest(descriptor)
    if not is_identity(identity, os.fstat(descriptor)):
        raise OSError("it changed while it was read")
    return found
