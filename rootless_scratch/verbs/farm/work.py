"""What goes to a worker and what comes back, and which programs decide on the bytes that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch import __version__
from rootless_scratch.data import Data

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rootless_scratch.errors import ScratchError
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.plan.planner import Planned
    from rootless_scratch.image.write.layer import Compression
    from rootless_scratch.verbs.sharing import Entry

    Spans = tuple[tuple[int, int, int], ...]

PACKAGE = "rootless-scratch"
DIFFERS, ANSWERS = "differs", "answers"
"""What `make` of a worker says: that its programs are others, or what became of each order."""


class Mark(Data):
    """A file in a layout by which a worker sees that its directory of that path is the caller's."""

    layout: str
    name: str
    content: bytes


class Order(Data):
    """One image to be made: its plans, and the sha256 of each of their sources by its path.

    With `marks`, one for each layout of its `outputs`, it is written there by whoever finds them; anybody else
    sends it back. `spans` tell of sources that come along where they are: parcel, start, and length.
    """

    plans: tuple[Planned, ...]
    digests: Mapping[str, str]
    compression: Compression
    outputs: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    spans: Mapping[str, Spans] = {}


class Sent(Data):
    """One image as bytes: its manifest, its config, and its layers, each in pieces."""

    manifest: bytes
    config: bytes
    layers: tuple[tuple[bytes, ...], ...]


class Made(Data):
    """An image that was made: written, with the names that it is to have in layouts, or `sent` along.

    `manifest` is that of what was sent, and names the others where they are several.
    """

    image: Image
    waiting: tuple[tuple[str, Entry], ...] = ()
    manifest: bytes = b""
    sent: tuple[Sent, ...] = ()


class Lacking(Data):
    """Sources that the worker does not have at their paths, by their digests."""

    digests: frozenset[str]


if TYPE_CHECKING:
    Answer = Made | Lacking | ScratchError


def makers(compressions: Iterable[str]) -> dict[str, str]:
    """The programs of this process that decide on the bytes of an image, and their versions."""
    return {name: version_of(name) for name in (PACKAGE, *sorted({_MAKERS[each] for each in compressions} - {""}))}


_MAKERS = {"none": "", "gzip": "isal", "zstd": "zstd"}


def version_of(name: str) -> str:
    """The version of a program that decides on bytes; empty where it is not there."""
    import platform

    from rootless_scratch.errors import HostError

    if name == PACKAGE:
        return __version__
    if name == "isal":
        import isal

        # Its code, and with it what it finds to be repeated, is another on other machines.
        return f"{isal.__version__} on {platform.machine()}"
    from rootless_scratch.image.zstd import library_version

    try:
        return library_version()
    except HostError:
        return ""
