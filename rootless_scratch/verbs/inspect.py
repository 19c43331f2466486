"""`inspect`: what an image says and holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.backends.open_image import read_any
from rootless_scratch.elf.platforms import parse_platform
from rootless_scratch.verbs.subject import require_utf8

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.backends.stored import StoredImage


def inspect_image(image: str, platform: str | None, *, limits: Mapping[str, int] | None = None) -> StoredImage:
    """Read the image that a word names, of an index that for `platform` (`linux/arm64`); see `read_any`."""
    require_utf8()
    return read_any(image, None if platform is None else parse_platform(platform), limits=limits)
