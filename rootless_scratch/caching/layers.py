"""Compressed layers for images that are built: found by the tar that they would come of, or made and kept.

To sum a tar takes a third of the time of compressing it and less, and where its files are known by their status it
need not be read at all (image/write/remembered.py). Layers that are not compressed gain nothing here: to read what
was kept takes as long as to read the files.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rootless_scratch.caching.store import Entry, Store, copy_summed
from rootless_scratch.caching.unpacked import comes_to
from rootless_scratch.data import Data
from rootless_scratch.errors import ScratchError
from rootless_scratch.image.rootfs import File
from rootless_scratch.image.write.layer import WrittenLayer, sum_layer
from rootless_scratch.image.write.packing import packer_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rootless_scratch.caching.source import Source
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.plan.planner import Plan
    from rootless_scratch.image.write.layer import Compression

_LARGE, _HEAD = 64 << 10, 4096
"""Bytes of a file from which on its start counts too, and of that: programs have their build ID there."""


class Layers:
    """What images that are built one after the other take and keep; not for several threads.

    `used` are the layers that they have, `notes` what the user should know of sources that failed.
    """

    def __init__(self, store: Store, sources: Sequence[Source] = ()) -> None:
        self.store = store
        self.sources = sources
        self.used: list[Entry] = []
        self.notes: list[str] = []
        self._made: list[tuple[Entry, int]] = []

    def wanted(self, plan: Plan, files: HostFiles, compression: Compression) -> Wanted | None:
        """What there is to find of a plan; None where that is not worth it."""
        if not compression.is_worth_keeping(plan.rootfs.size):
            return None
        return Wanted(self, plan, files, compression)

    def add(self, entry: Entry, descriptor: int) -> None:
        """A layer at the start of an open file, to be kept when the image is written."""
        self._made.append((entry, descriptor))

    def keep(self) -> None:
        """Keep what was made, while the files are open."""
        for entry, descriptor in self._made:
            self.store.keep(entry, descriptor)
        self.forget()

    def forget(self) -> None:
        """The files are closed, whatever has become of the image."""
        self._made.clear()

    def has_shape(self, shape: str) -> bool:
        """Whether a source has a layer of this shape."""
        for source in self.sources:
            with self._noting(source):
                if any(entry.shape == shape for entry in source.entries().values()):
                    return True
        return False

    def fetch(self, sought: Sought, writing: int) -> Entry | None:
        """Write the layer of the first source that has it to an empty file; raises OSError where that fails.

        What comes from elsewhere is unpacked too, for nothing but the very tar may be in it.
        """
        for source in self.sources:
            with self._noting(source):
                entry = source.entries().get(sought.key)
                if entry is None or not sought.is_met(entry):
                    continue
                with source.blob(entry) as descriptor:
                    if copy_summed(descriptor, writing, entry) and comes_to(writing, entry):
                        self.add(entry, writing)
                        return entry
                source.refuse(entry)
                self.notes.append(
                    f"The layer sha256:{entry.digest} of {source.text} is not what it is said to be, and was made."
                )
            _empty(writing)
        return None

    @contextmanager
    def _noting(self, source: Source) -> Iterator[None]:
        """What fails of a source is noted, once for all images, and the source is asked no more."""
        try:
            yield
        except ScratchError as error:
            if source.give_up():
                self.notes.append(f"Nothing more is taken from {source.text}: {error.message}")


class Sought(Data):
    """What a layer must be."""

    shape: str
    key: str
    tar: WrittenLayer

    def is_met(self, entry: Entry) -> bool:
        """Whether an entry of somebody else says that it is this."""
        tar = self.tar
        return (entry.shape, entry.key, entry.diff_id, entry.tar_size) == (
            self.shape,
            self.key,
            tar.diff_id,
            tar.tar_size,
        )


class Wanted:
    """The compressed layer of one plan: first sought, then either copied, or made and handed over."""

    def __init__(self, layers: Layers, plan: Plan, files: HostFiles, compression: Compression) -> None:
        self._layers = layers
        self._plan = plan
        self._files = files
        self._compression = compression
        self._shape = _shape_of(plan, files, compression)

    def take(
        self, tar: WrittenLayer | None, writing: int, is_there: Callable[[WrittenLayer], bool]
    ) -> tuple[WrittenLayer, bool] | None:
        """The layer, where one is known, and whether it `is_there` already; else it is written to an empty file.

        `tar` is what it was before it was compressed, if that is known without a look. Else the files are read,
        but only where a layer with as many bytes of each is known. Raises SourceError; OSError where nothing can
        be written.
        """
        layers, shape = self._layers, self._shape
        if tar is None:
            if not self._may_be_known():
                return None
            plan = self._plan
            tar = sum_layer(plan.rootfs, mtime=plan.mtime, size=plan.rootfs.size, files=self._files)
        key = _key_of(tar.diff_id, self._compression)
        entry = layers.store.find(shape, key)
        if entry is not None:
            layer = WrittenLayer(entry.diff_id, entry.digest, entry.size, entry.tar_size)
            there = is_there(layer)
            if there:
                layers.store.touch(entry)
            if there or layers.store.copy(entry, writing):
                layers.used.append(entry)
                return layer, there
            _empty(writing)
        entry = layers.fetch(Sought(shape, key, tar), writing)
        if entry is None:
            return None
        layers.used.append(entry)
        return WrittenLayer(entry.diff_id, entry.digest, entry.size, entry.tar_size), False

    def made(self, layer: WrittenLayer, descriptor: int) -> None:
        """The layer that had to be made."""
        compression = self._compression
        entry = Entry(
            shape=self._shape,
            key=_key_of(layer.diff_id, compression),
            diff_id=layer.diff_id,
            digest=layer.digest,
            size=layer.size,
            tar_size=layer.tar_size,
            compression=f"{compression.name}:{compression.level}",
        )
        self._layers.used.append(entry)
        self._layers.add(entry, descriptor)

    def _may_be_known(self) -> bool:
        return self._layers.store.has_shape(self._shape) or self._layers.has_shape(self._shape)


def _empty(writing: int) -> None:
    os.ftruncate(writing, 0)
    os.lseek(writing, 0, os.SEEK_SET)


def _key_of(diff_id: str, compression: Compression) -> str:
    """What decides on the bytes of a compressed layer: those of its tar, and all that compresses it."""
    made_by = f"{compression.name}:{compression.level} {packer_version(compression.name)}"
    return hashlib.sha256(f"layer 1\n{diff_id}\n{made_by}".encode()).hexdigest()


def _shape_of(plan: Plan, files: HostFiles, compression: Compression) -> str:
    """What tells cheaply that a layer is none of those that are known: paths, sizes, and how large files begin."""
    found = hashlib.blake2b(f"{compression.name}:{compression.level}\n".encode(), digest_size=8)
    for entry in plan.rootfs:
        if not isinstance(entry, File) or entry.linked is not None:
            found.update(f"{entry.path}\n".encode("utf-8", "surrogateescape"))
            continue
        size = entry.identity.size
        found.update(f"{entry.path}\0{size}\n".encode("utf-8", "surrogateescape"))
        if size >= _LARGE and entry.source is not None:
            # Where it cannot be read, that is told when it is copied.
            with suppress(OSError):
                found.update(files.head(entry.source, _HEAD))
    return found.hexdigest()
