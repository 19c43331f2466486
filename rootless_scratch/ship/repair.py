"""Layers that storage takes, made of those that it refuses: each path once, as its last entry has it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from rootless_scratch.image.host_files import host_trouble
from rootless_scratch.image.read.layer_faults import Strata, dropped, read_entries
from rootless_scratch.image.read.reader import Fault, ImageReader
from rootless_scratch.image.read.tarread import BLOCK, Member, TarReader
from rootless_scratch.image.read.unpacking import Summed, open_layer, zeros_behind
from rootless_scratch.image.write.tarheader import DIRECTORY, END, header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootless_scratch.image.read.found import FoundImage, FoundLayer


class Repair(NamedTuple):
    """How a layer is made sound: the parts of its tar that stay, and what comes before them.

    `is_other` says that it has other entries then, `is_needed` also where only what it is packed in is at fault.
    """

    parts: tuple[tuple[int, int], ...]
    before: bytes
    is_other: bool
    is_needed: bool

    def blocks(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The new tar, of the blocks of the old one."""
        yield self.before
        parts = iter((*self.parts, (-1, -1)))
        start, end = next(parts)
        at = size = 0
        for block in blocks:
            while 0 <= start < at + len(block):
                piece = block[max(start - at, 0) : end - at]
                yield piece
                size += len(piece)
                if end > at + len(block):
                    break
                start, end = next(parts)
            at += len(block)
        yield bytes(-size % BLOCK) + END


def repairs_of(reader: ImageReader, image: FoundImage) -> tuple[Repair, ...]:
    """What each layer of an image needs; raises Fault for one that is not what its diff_id says, TarFault."""
    strata = Strata()
    found = []
    for layer in image.layers:
        try:
            found.append(_repair(reader, layer, strata))
        except OSError as error:
            raise host_trouble(error, layer.name) or Fault(f"{layer.name} cannot be unpacked: {error}") from error
    return tuple(found)


def _repair(reader: ImageReader, layer: FoundLayer, strata: Strata) -> Repair:
    members: list[Member] = []
    starts: list[int] = []
    with open_layer(reader, layer.name) as file:
        summed = Summed(file)
        tar = TarReader(cast("BinaryIO", summed), reader.budget)
        for member in tar:
            reader.budget.add_entry(member.name)
            member.records = {}
            members.append(member)
            starts.append(tar.start)
        while summed.read(1 << 20):
            pass
        zeros = zeros_behind(file)
    if summed.digest != layer.diff_id:
        raise Fault(f"{layer.name} has the diff_id {summed.digest}, and the config says {layer.diff_id}")
    gone = dropped(members)
    kept = [member for number, member in enumerate(members) if number not in gone]
    facts = read_entries(kept, reader.budget, are_counted=True)
    directories = strata.needed(facts)
    made = [Member(name=path.lstrip("/"), kind=DIRECTORY[0], link="", size=0, records={}) for path in directories]
    for _ in strata.add(read_entries([*made, *kept], reader.budget, are_counted=True) if made else facts):
        raise Fault(f"{layer.name} cannot be made sound")
    parts = [
        (starts[number], member.offset + member.stored + -member.stored % BLOCK)
        for number, member in enumerate(members)
        if number not in gone
    ]
    before = b"".join(header(os.fsencode(f"{each.name}/"), kind=DIRECTORY, mode=0o755) for each in made)
    is_other = bool(gone or made)
    return Repair(parts=tuple(parts), before=before, is_other=is_other, is_needed=is_other or zeros > 0)
