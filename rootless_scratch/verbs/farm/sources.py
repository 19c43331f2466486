"""The sources of plans: their digests, and parcels of bytes for workers that do not see the files."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from rootless_scratch.image.host_files import changed
from rootless_scratch.image.write.layer import file_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rootless_scratch.elf.identity import FileIdentity
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.plan.planner import Planned
    from rootless_scratch.image.rootfs import File
    from rootless_scratch.verbs.farm.work import Spans

    Keep = Callable[[bytes], object]

PARCEL = 8 << 20
"""Bytes of a parcel: small files share one, large ones have several."""

_KEPT = 1 << 30
"""Bytes that the engine keeps for us; beyond that it is told to forget the oldest."""

_SMALL = 64 << 10


class Sources:
    """What was read of the files of this host, each once; `keep` gives bytes to the engine, for a handle."""

    def __init__(self, files: HostFiles, keep: Keep) -> None:
        self._files = files
        self._keep = keep
        self._digests: dict[FileIdentity, str] = {}
        self._spans: dict[str, tuple[tuple[int, int, int], ...]] = {}
        self._parcels: dict[int, object] = {}
        self._count = 0

    def digests(self, plans: Iterable[Planned]) -> dict[str, str]:
        """The sha256 of each source by its path; raises SourceError."""
        found = {}
        for file in _files(plans):
            if file.identity not in self._digests:
                self._digests[file.identity] = self._digest(file)
            found[str(file.source)] = self._digests[file.identity]
        return found

    def send(
        self, plans: Iterable[Planned], digests: Mapping[str, str], wanted: Iterable[str]
    ) -> tuple[dict[str, Spans], list[object]]:
        """Where the wanted ones of the sources lie, and the parcels that have them; raises SourceError."""
        wanted = set(wanted)
        files = {digest: file for file in _files(plans) if (digest := digests[str(file.source)]) in wanted}
        self._pack({digest: file for digest, file in files.items() if not self._is_kept(digest)})
        numbers = sorted({number for digest in files for number, _, _ in self._spans[digest]})
        at = {number: position for position, number in enumerate(numbers)}
        spans = {
            digest: tuple((at[number], start, size) for number, start, size in self._spans[digest])
            for digest in files
        }
        parcels = [self._parcels[number] for number in numbers]
        self._forget(numbers)
        return spans, parcels

    def _is_kept(self, digest: str) -> bool:
        return digest in self._spans and all(number in self._parcels for number, _, _ in self._spans[digest])

    def _digest(self, file: File) -> str:
        if file.identity.size < _SMALL:
            return hashlib.sha256(self._files.planned_content(file)).hexdigest()
        return file_digest(file, self._files)

    def _pack(self, files: Mapping[str, File]) -> None:
        """Put files into new parcels."""
        parcel = bytearray()
        for digest, file in files.items():
            spans = []
            found = hashlib.sha256()
            for content in self._contents(file):
                found.update(content)
                if parcel and len(parcel) + len(content) > PARCEL:
                    self._hand_over(parcel)
                spans.append((self._count, len(parcel), len(content)))
                parcel += content
            if found.hexdigest() != digest:
                raise changed(file)
            self._spans[digest] = tuple(spans)
        if parcel:
            self._hand_over(parcel)

    def _contents(self, file: File) -> Iterator[bytes]:
        with self._files.planned(file) as descriptor:
            for at in range(0, file.identity.size, PARCEL):
                yield os.pread(descriptor, PARCEL, at)

    def _hand_over(self, parcel: bytearray) -> None:
        self._parcels[self._count] = self._keep(bytes(parcel))
        self._count += 1
        parcel.clear()

    def _forget(self, used: Iterable[int]) -> None:
        for number in used:
            self._parcels[number] = self._parcels.pop(number)
        while len(self._parcels) > _KEPT // PARCEL:
            del self._parcels[next(iter(self._parcels))]


def _files(plans: Iterable[Planned]) -> Iterator[File]:
    """The files of this host whose bytes go into images."""
    for each in plans:
        yield from (file for file in each.plan.rootfs.files if file.source is not None and file.linked is None)
