"""`inspect`: what an image says and holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.backends.open_image import read_any, read_reference
from rootless_scratch.elf.platforms import parse_platform
from rootless_scratch.image.references import is_remote
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.verbs.subject import require_utf8

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.backends.stored import StoredImage
    from rootless_scratch.ship.access import Access


def inspect_image(
    image: str,
    platform: str | None,
    *,
    access: Access | None = None,
    limits: Mapping[str, int] | None = None,
    progress: Progress = SILENT,
) -> StoredImage:
    """Read the image that a name stands for, of an index that for `platform` (`linux/arm64`); see `read_any`.

    One in a registry is fetched first, by `access`.
    """
    require_utf8()
    wanted = None if platform is None else parse_platform(platform)
    if not is_remote(image):
        return read_any(image, wanted, limits=limits)
    from rootless_scratch.ship.fetch import fetched

    with fetched(image, access, platform=wanted, every=False, limits=limits, progress=progress) as layout:
        return read_reference(layout, wanted, limits=limits)
