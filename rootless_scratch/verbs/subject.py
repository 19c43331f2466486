"""What a verb is asked about."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from rootless_scratch.errors import HostError, UsageError
from rootless_scratch.image.arguments import image_id
from rootless_scratch.image.references import is_reference

if TYPE_CHECKING:
    from rootless_scratch.image.finished import Image


def subject_of(image: str | Image) -> str:
    """The name or reference of an image that `build` returned, or that is named; raises UsageError."""
    if isinstance(image, str):
        return image
    found = image_id(image)
    # One that was only written to outputs is not in storage.
    outputs = () if image.names else image.outputs
    files = [output.ref for output in outputs if is_reference(output.ref)]
    if outputs and not files:
        raise UsageError(
            "The image exists only in a registry.", fix="Build it with `output=[...]` for all its outputs at once."
        )
    return files[0] if files else found


def is_program(name: str) -> bool:
    """Whether a name is the path of a file; a directory is none, so its name alone is that of an image."""
    return name.startswith(("/", ".")) or name.endswith("/") or (os.path.lexists(name) and not os.path.isdir(name))


def require_utf8() -> None:
    """Names in images are bytes; Python must read those of this host as they are. Raises HostError."""
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("-", "") != "utf8":
        raise HostError(
            f"Python reads file names as {encoding} here, and would change those of the image.",
            fix="Start Python with PYTHONUTF8=1, or in a UTF-8 locale such as C.UTF-8.",
        )
