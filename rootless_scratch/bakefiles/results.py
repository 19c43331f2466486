"""What became of each target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rootless_scratch.errors import ScratchError
    from rootless_scratch.findings import Judgement
    from rootless_scratch.image.finished import Image


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One target: its `image`, the `judgement` where it was only judged, or the `error` that there is instead."""

    name: str
    image: Image | None = None
    judgement: Judgement | None = None
    error: ScratchError | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no image, or would be none."""
        found = () if self.judgement is None else self.judgement.findings
        return self.error is not None or any(each.severity == "error" for each in found)


class Baked(msgspec.Struct, frozen=True, kw_only=True):
    """All targets in the order of their file; `cache_error` is why `cache_to` could not be written."""

    results: tuple[Result, ...] = ()
    cache_error: ScratchError | None = None

    def __iter__(self) -> Iterator[Result]:
        """Each result."""
        return iter(self.results)

    @property
    def images(self) -> dict[str, Image]:
        """The images that were built, by the names of their targets."""
        return {each.name: each.image for each in self.results if each.image is not None}

    @property
    def errors(self) -> dict[str, ScratchError]:
        """What kept the others from being built, by the names of their targets."""
        return {each.name: each.error for each in self.results if each.error is not None}

    @property
    def failed(self) -> bool:
        """Whether any of them failed, or the cache."""
        return self.cache_error is not None or any(each.failed for each in self.results)
