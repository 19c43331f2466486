"""An image by its name or reference, wherever it lies: local storage, a layout or an archive."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rootless_scratch import private
from rootless_scratch.errors import ImageNotFoundError, UsageError
from rootless_scratch.host.environment import temporary_directory
from rootless_scratch.image.references import Reference, is_reference, parse_reference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from rootless_scratch.backends.stored import StoredImage
    from rootless_scratch.elf.platforms import Platform


def read_any(
    name: str, platform: Platform | None = None, *, limits: Mapping[str, int] | None = None
) -> StoredImage:
    """Read config, layers and files of a named image; of an index, of the image for `platform`.

    By default that is this host's. `limits` are those of limits.py, by default the usual ones. Raises
    ImageNotFoundError, SourceError, LimitError, UsageError, HostError, BuildError.
    """
    if is_reference(name):
        return read_reference(parse_reference(name), platform, limits=limits)
    if platform is not None:
        refuse_local_choice(name)
    from rootless_scratch.backends.session import Session
    from rootless_scratch.backends.stored import read_image

    try:
        with Session("read") as session:
            return read_image(name, session, limits=limits)
    except ImageNotFoundError as error:
        if "/" in name and os.path.isfile(name):
            raise ImageNotFoundError(
                f"{name!r} is a file, and no image of local storage.",
                fix=f"`rootless-scratch check {name}` judges programs; an archive is named as oci-archive:{name}.",
            ) from error
        raise


def read_reference(
    reference: Reference, platform: Platform | None = None, *, limits: Mapping[str, int] | None = None
) -> StoredImage:
    """The same of a layout or an archive."""
    from rootless_scratch.backends.layouts import LayoutImage
    from rootless_scratch.image.read.reader import ImageReader

    private.sweep(temporary_directory(os.environ))
    with ImageReader(reference, limits) as reader:
        return LayoutImage(reader, platform).stored


def refuse_local_choice(name: str) -> NoReturn:
    """Refuse other platforms for a name of local storage, which stands for this host's image: UsageError."""
    raise UsageError(
        f"{name!r} lies in local storage, where a name stands for this host's image.",
        fix="Name the image ID of the other platform, or a layout or an archive.",
    )


def platforms_at(name: str, *, limits: Mapping[str, int] | None = None) -> tuple[Platform, ...]:
    """The platforms of a named index; () for an image, and in local storage. Raises as read_any."""
    if not is_reference(name):
        return ()
    from rootless_scratch.image.read.found import platforms_in
    from rootless_scratch.image.read.reader import ImageReader

    with ImageReader(parse_reference(name), limits) as reader:
        return platforms_in(reader)
