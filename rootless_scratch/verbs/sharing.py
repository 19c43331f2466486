"""What builds of several images have in common, where they are made by threads of one process."""

from __future__ import annotations

from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any, Self

from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.write.heads import Heads
from rootless_scratch.image.write.layout import add_to_layout, put_blobs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from rootless_scratch.caching.layers import Layers
    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.image.write.layout import WrittenImage, WrittenIndex
    from rootless_scratch.ship.access import Access

    Entry = dict[str, Any]

_COPIED_MAX = 50_000
"""Entries of copied directories that are kept for images that copy the same."""


class Sharing:
    """Files that were opened and libraries that were looked up, for all images; closed when the block ends.

    One image at a time is planned, as that is the work of Python; what is planned is written by all at once.
    """

    def __init__(self) -> None:
        self.files = HostFiles()
        self.files.heads = Heads()
        self._lock = RLock()
        self._roots: dict[str | None, HostRoot] = {}
        self._layers: Layers | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.files.__exit__(*raised)

    @contextmanager
    def planning(self) -> Iterator[None]:
        """While it lasts no other image is planned."""
        with self._lock:
            yield
            if sum(len(each.entries) for each in self.files.copied.values()) > _COPIED_MAX:
                self.files.copied.clear()

    def root(self, sysroot: str | None) -> HostRoot:
        """Where libraries are looked up."""
        from rootless_scratch.elf.roots import HostRoot

        if sysroot not in self._roots:
            self._roots[sysroot] = HostRoot(sysroot or "/", read=self.files.program)
        return self._roots[sysroot]

    def layers(self, cache_from: Sequence[str], access: Access) -> Layers:
        """Compressed layers that were made before, for one image; sources are looked at once for all."""
        from rootless_scratch.caching.layers import Layers
        from rootless_scratch.verbs.caching import open_layers

        with self._lock:
            if self._layers is None:
                self._layers = open_layers(cache_from, access)
            return Layers(self._layers.store, self._layers.sources)


class Naming:
    """Images that were put into layouts, which get their names there later: many by one change of the index.

    Only those of `layouts` wait; all others are named at once.
    """

    def __init__(self, layouts: Collection[str]) -> None:
        self._layouts = layouts
        self.waiting: list[tuple[str, Entry]] = []

    def add(
        self,
        path: str,
        image: WrittenImage | WrittenIndex,
        refs: Sequence[str | None],
        digest: Callable[[int], str],
    ) -> None:
        """As `add_to_layout`."""
        if path not in self._layouts:
            add_to_layout(path, image, refs, digest)
            return
        put_blobs(path, image, digest)
        self.waiting += [(path, image.entry(ref)) for ref in refs]
