"""An image by its word, wherever it lies: local storage, a layout or an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.image.outputs import is_output, parse_output

if TYPE_CHECKING:
    from rootless_scratch.backends.stored import StoredImage


def read_any(word: str) -> StoredImage:
    """Read config, layers and files of the image that a word names.

    Raises ImageNotFoundError, SourceError, UsageError, HostError, BuildError.
    """
    if is_output(word):
        from rootless_scratch.backends.layouts import LayoutImage
        from rootless_scratch.image.source import Source

        with Source(parse_output(word)) as source:
            return LayoutImage(source).stored
    from rootless_scratch.backends.session import Session
    from rootless_scratch.backends.stored import read_image

    with Session("read") as session:
        return read_image(word, session)
