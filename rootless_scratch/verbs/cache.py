"""`cache`: the compressed layers that are kept on this host, listed, bounded and verified."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.errors import HostError, UsageError
from rootless_scratch.image.limits import parse_size
from rootless_scratch.verbs.caching import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.caching.store import Entry, Kept

_SPAN = re.compile(r"(\d{1,9})([smhdw])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


class CachedLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that is kept: its digests as in an image, the bytes that it takes, when it was used last.

    `used` is in seconds since 1970. Of a damaged one only its file's `name` and bytes are known.
    """

    name: str
    size: int
    used: float
    digest: str | None = None
    diff_id: str | None = None
    compression: str | None = None


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """How many layers were removed, their bytes, and the bytes of those that are left."""

    removed: int
    freed: int
    size: int


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """The layers that are kept in `directory`, what was used last first, and how many bytes they have at most.

    The directory is empty where none can be: HOME and XDG_CACHE_HOME name none of this user's.
    """

    directory: str
    limit: int
    layers: tuple[CachedLayer, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(each.size for each in self.layers)

    def prune(self, *, keep: str | int | None = None, older_than: str | float | None = None) -> Pruned:
        """Remove what was not used for `older_than` (seconds, or `7d`), and down to `keep` (bytes, or `10g`).

        Those that were used longest ago go first; without either, all. Raises UsageError, HostError.
        """
        return prune(keep=keep, older_than=older_than)

    def verify(self) -> tuple[CachedLayer, ...]:
        """Read and unpack all; those that were not what they should be, and are removed. Raises HostError."""
        return verify()


def cache() -> Cache:
    """The compressed layers that builds of this user have kept on this host (docs/cache.md); raises HostError."""
    store = open_store()
    with _readable():
        limit = store.limit if store.directory else 0
        return Cache(directory=store.directory, limit=limit, layers=_layers(store.files()))


def prune(*, keep: str | int | None = None, older_than: str | float | None = None) -> Pruned:
    """See Cache.prune."""
    kept = parse_size("keep", keep) if isinstance(keep, str) else keep
    seconds = _parse_span(older_than) if isinstance(older_than, str) else older_than
    for name, value in (("keep", kept), ("older_than", seconds)):
        if value is not None and value < 0:
            raise UsageError(f"{name} is {value}, less than nothing.", fix="Give 0 to remove all.")
    with _readable():
        found = open_store().prune(keep=kept, older_than=seconds)
    return Pruned(removed=found.layers, freed=found.bytes, size=found.left)


def verify() -> tuple[CachedLayer, ...]:
    """See Cache.verify."""
    with _readable():
        return _layers(open_store().verify(_unpacks))


def _unpacks(descriptor: int, entry: Entry) -> bool:
    from rootless_scratch.caching.unpacked import comes_to

    try:
        return comes_to(descriptor, entry)
    except HostError:
        # Nothing here unpacks it; its digest is right.
        return True


def _layers(files: Sequence[Kept]) -> tuple[CachedLayer, ...]:
    return tuple(
        CachedLayer(name=each.name, size=each.bytes, used=each.used)
        if each.entry is None
        else CachedLayer(
            name=each.name,
            size=each.bytes,
            used=each.used,
            digest=f"sha256:{each.entry.digest}",
            diff_id=f"sha256:{each.entry.diff_id}",
            compression=each.entry.compression,
        )
        for each in files
    )


def _parse_span(text: str) -> int:
    match = _SPAN.match(text)
    if match is None:
        raise UsageError(f"{text!r} is not a span of time.", fix="Write a number with s, m, h, d or w, e.g. 7d.")
    return int(match[1]) * _SECONDS[match[2]]


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostError(
            f"The cache cannot be read: {error.strerror or error}.",
            fix="Check the directory that XDG_CACHE_HOME names, by default ~/.cache.",
        ) from error
