"""The files of an image while its layers are applied one over the other, in time that the entries alone decide."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.backends.stored import StoredFile


class Overlay:
    """What the layers below have (`find` sees it), and what the one that is applied has added so far.

    Whiteouts hide only what lies below. Each file is hidden once, whatever the number and the order of whiteouts:
    the paths below are sorted once for a layer that hides anything, and what is hidden is stepped over.
    """

    def __init__(self) -> None:
        self._below: dict[str, StoredFile] = {}
        self._added: dict[str, StoredFile] = {}
        self._sorted: list[str] | None = None
        self._next = array("q")

    def __iter__(self) -> Iterator[StoredFile]:
        yield from self._below.values()

    def find(self, path: str) -> StoredFile | None:
        """The file of this path, of this layer or one below."""
        return self._added.get(path) or self._below.get(path)

    def add(self, file: StoredFile) -> None:
        """An entry of this layer; it takes the place of one below."""
        self._added[file.path] = file

    def missing_above(self, directory: str) -> list[str]:
        """The directories that are not there on the way to `directory`, itself included, from the outside in."""
        missing = []
        while directory and self.find(directory) is None:
            missing.append(directory)
            directory = directory.rpartition("/")[0]
        return missing[::-1]

    def hide(self, path: str) -> None:
        """Remove a path of the layers below, with all that is below it."""
        there = self._below.get(path)
        if there is not None and there.type == "directory":
            self.hide_below(path)
        self._below.pop(path, None)

    def hide_below(self, directory: str) -> None:
        """Remove what the layers below have in a directory, and leave that itself."""
        if not self._below:
            return
        if self._sorted is None:
            self._sorted = sorted(self._below)
            self._next = array("q", range(len(self._sorted) + 1))
        # Whatever lies below has the directory and a slash before it, and `0` comes after the slash.
        at = self._visible(bisect_left(self._sorted, f"{directory}/"))
        end = bisect_left(self._sorted, f"{directory}0")
        while at < end:
            self._below.pop(self._sorted[at], None)
            self._next[at] = at + 1
            at = self._visible(at + 1)

    def settle(self) -> None:
        """The layer is complete: what it has added lies below the next one."""
        self._below.update(self._added)
        self._added = {}
        self._sorted = None

    def _visible(self, at: int) -> int:
        """The first position from `at` on that was not stepped over; the way to it is made shorter."""
        found = at
        while self._next[found] != found:
            found = self._next[found]
        while self._next[at] != found:
            self._next[at], at = found, self._next[at]
        return found
