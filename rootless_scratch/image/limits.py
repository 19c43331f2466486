"""What reading an image of anybody's may cost, and the account that is kept of it.

A few kilobytes can claim to hold petabytes, or a million files. The defaults let every image pass that is known to
be in public use (docs/limits.md says how that was judged); each can be raised for an image that is trusted. The
worker reads by them too, so only what loads fast is imported.
"""

from __future__ import annotations

import re
import time

from rootless_scratch.errors import LimitError, UsageError
from rootless_scratch.expressions import expression

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULTS = {
    "entries": 4_000_000,
    "entries-per-megabyte": 10_000,
    "path": 4096,
    "path-ratio": 3,
    "name": 255,
    "depth": 256,
    "header": 1 << 20,
    "document": 4 << 20,
    "documents": 256 << 20,
    "descriptors": 50_000,
    "index-depth": 8,
    "layers": 512,
    "expanded": 1 << 40,
    "ratio": 100,
    "download": 64 << 30,
    "seconds": 3600,
}
"""Name -> default; sizes are bytes. docs/limits.md has a line for each."""

_FREE_ENTRIES = 25_000
_FREE_BYTES = 64 << 20
_FREE_PATHS = 8 << 20
"""What every image may have, however little is stored of it."""

_KEPT_PATHS = expression(
    r"/etc/(ld\.so\.(cache|preload)|passwd|group)|(/.+)?/(etc/ld-musl-[^/]+\.path|pyvenv\.cfg|nginx\.conf)"
)
KEPT_LIMIT = 1 << 20
"""More than any cache that ldconfig(8) has written for real, and than lists of users have."""

_KEPT = 4 << 20
"""Bytes of such lists that are kept of one image; more than real ones have together."""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_VALUE = expression(r"(\d{1,18})([kmgt]?)b?\Z", re.IGNORECASE)
_MEGABYTE = 1 << 20


def parse_limits(values: Iterable[str]) -> dict[str, int]:
    """All limits, those of `NAME=VALUE` (with k, m, g or t behind the number) in place of their defaults.

    Raises UsageError.
    """
    found = dict(DEFAULTS)
    for text in values:
        name, _, value = text.partition("=")
        match = _VALUE.match(value)
        if name not in DEFAULTS or match is None:
            raise UsageError(
                f"{text!r} is not a limit.",
                fix=f"Write NAME=VALUE, e.g. `expanded=2t`; the names are {', '.join(DEFAULTS)}.",
            )
        found[name] = int(match[1]) * _UNITS[match[2].lower()]
    return found


def parse_size(option: str, text: str) -> int:
    """Bytes, with k, m, g or t behind the number, as `--limit` has them; raises UsageError."""
    match = _VALUE.match(text)
    if match is None:
        raise UsageError(f"--{option} {text!r} is not a size.", fix=f"Write bytes, or e.g. `--{option} 10g`.")
    return int(match[1]) * _UNITS[match[2].lower()]


class Budget:
    """The account of one image that is read, `subject` by name: what it has used of its limits.

    Each method raises LimitError, which names the limit, once that is exceeded.
    """

    def __init__(self, subject: str, limits: Mapping[str, int]) -> None:
        self._subject = subject
        self._limits = limits
        self._layers: set[str] = set()
        self._stored = 0
        self._expanded = 0
        self._entries = self._paths = self._kept = 0
        self._documents = 0
        self._descriptors = 0
        self._deadline = time.monotonic() + limits["seconds"]

    def restart(self) -> None:
        """What follows reads layers anew; time, documents and descriptors go on."""
        self._stored = self._expanded = self._entries = self._paths = self._kept = 0
        self._layers.clear()

    def allow(self, size: int) -> None:
        """So many bytes more are really there."""
        self._stored += size

    def store(self, name: str, size: int) -> None:
        """A layer of so many bytes is there, which allows for what it holds; once, however often it is read."""
        if name not in self._layers:
            self._layers.add(name)
            self.allow(size)

    def expand(self, size: int) -> None:
        """So many bytes came out of a layer, or are claimed by a hole in a file."""
        self._expanded += size
        if self._expanded > self._limits["expanded"]:
            raise self._exceeded("expanded", f"holds more than {self._limits['expanded']} bytes")
        if self._expanded > _FREE_BYTES + self._limits["ratio"] * self._stored:
            raise self._exceeded(
                "ratio", f"holds more than {self._limits['ratio']} times the {self._stored} bytes that are stored"
            )
        self.spend_time()

    def add_entry(self, path: str) -> None:
        """An entry of this path in a layer, or a directory above one that the layer does not name."""
        self._entries += 1
        allowed = _FREE_ENTRIES + self._limits["entries-per-megabyte"] * self._stored // _MEGABYTE
        if self._entries > self._limits["entries"]:
            raise self._exceeded("entries", f"has more than {self._limits['entries']} entries")
        if self._entries > allowed:
            raise self._exceeded(
                "entries-per-megabyte", f"has more than {allowed} entries in {self._stored} stored bytes"
            )
        size = self.check_path(path)
        self._paths += size
        if self._paths > _FREE_PATHS + self._limits["path-ratio"] * self._stored:
            raise self._exceeded("path-ratio", f"has {self._paths} bytes of paths in {self._stored} stored bytes")
        if path.count("/") > self._limits["depth"]:
            raise self._exceeded("depth", f"has a path with more than {self._limits['depth']} directories")
        # The whole is within bounds, so the longest part is looked for only where one can be too long.
        if size > self._limits["name"] and self._longest(path) > self._limits["name"]:
            raise self._exceeded("name", f"has a file name of more than {self._limits['name']} bytes")

    def check_path(self, path: str) -> int:
        """The bytes of a path, or of the target of a link."""
        size = len(path.encode("utf-8", "surrogateescape"))
        if size > self._limits["path"]:
            raise self._exceeded("path", f"has a path of {size} bytes")
        return size

    def may_keep(self, path: str, size: int) -> bool:
        """Whether the bytes of this file are kept for the rules; what is not kept is unknown to them.

        Search lists of loaders, users, groups what venvs of Python and nginx are told are.
        """
        if size > KEPT_LIMIT or _KEPT_PATHS.fullmatch(path) is None or self._kept + size > _KEPT:
            return False
        self._kept += size
        return True

    def _longest(self, path: str) -> int:
        return max(len(part) for part in path.encode("utf-8", "surrogateescape").split(b"/"))

    def check_header(self, size: int) -> None:
        """A header of so many bytes is to be read."""
        if size > self._limits["header"]:
            raise self._exceeded("header", f"has a tar header of {size} bytes")

    def add_document(self, name: str, size: int) -> None:
        """A document of JSON of so many bytes is to be read."""
        if size > self._limits["document"]:
            raise self._exceeded("document", f"has more than {self._limits['document']} bytes in {name}")
        self._documents += size
        if self._documents > self._limits["documents"]:
            raise self._exceeded("documents", f"has more than {self._limits['documents']} bytes of documents")
        self.spend_time()

    @property
    def document_size(self) -> int:
        """Bytes of a document that are worth reading: one more than are allowed."""
        return self._limits["document"] + 1

    def add_descriptors(self, count: int) -> None:
        """So many descriptors were found in an index, or parts in a document."""
        self._descriptors += count
        if self._descriptors > self._limits["descriptors"]:
            raise self._exceeded("descriptors", f"names more than {self._limits['descriptors']} images or parts")

    def check_depth(self, depth: int) -> None:
        """An index lies so deep in others."""
        if depth > self._limits["index-depth"]:
            raise self._exceeded("index-depth", f"has {depth} indexes in each other")

    def check_download(self, size: int) -> None:
        """A registry has sent so many bytes."""
        if size > self._limits["download"]:
            raise self._exceeded("download", f"sends more than {self._limits['download']} bytes")
        self.spend_time()

    def check_layers(self, count: int) -> None:
        """An image has so many layers."""
        if count > self._limits["layers"]:
            raise self._exceeded("layers", f"has {count} layers")

    def spend_time(self) -> None:
        """Reading has gone on until now."""
        if time.monotonic() > self._deadline:
            raise self._exceeded("seconds", f"was read for more than {self._limits['seconds']} s")

    def _exceeded(self, name: str, what: str) -> LimitError:
        return LimitError(
            f"{self._subject} {what}: the limit {name!r} is exceeded.",
            fix=f"Where you trust the image, raise it: `--limit {name}=VALUE` (now {self._limits[name]}).",
        )
