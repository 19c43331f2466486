"""An index of a layout as a manifest list of local storage, by skopeo and buildah.

Local storage holds one image under one ID. So the images come first, without names, then a list of them under a
name that nobody else has; the user's names go to it when it is whole, and the other one goes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rootless_scratch import command
from rootless_scratch.backends.session import ask_storage
from rootless_scratch.errors import BuildError
from rootless_scratch.host.environment import policy_options
from rootless_scratch.image.write.layout import name_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rootless_scratch.backends.record import Record
    from rootless_scratch.image.finished import Image

_PATIENCE = 3600.0


def load_index(layout: str, image: Image, record: Record, environment: Mapping[str, str]) -> None:
    """Load every image of the only index of `layout`, and give the image's names to a list of them.

    The layout lies in a private directory. Where that fails, nothing of it stays; what a kill leaves behind
    stands in the record. Raises ToolMissingError, HostError, CommandError, BuildError.
    """
    command.require("buildah")
    ids = [each.image_id for each in image.images]
    if len(set(ids)) != len(ids):
        raise BuildError(
            "Two platforms have the very same image, which local storage holds once.",
            fix="Write the index to a layout or an archive: `-o oci:DIR`.",
        )
    known = _images(environment)
    name = f"localhost/{record.name}:list"
    added = [each for each in ids if each not in known]
    record.lists(name, added)
    try:
        for each in image.images:
            # By a name of its own: what skopeo would choose by a platform goes to any ID that is asked for.
            name_manifest(layout, each.digest, each.image_id)
            where = (f"oci:{os.path.basename(layout)}:{each.image_id}", f"containers-storage:@{each.image_id}")
            ask_storage(
                [*command.SKOPEO, *policy_options(environment, "--policy"), "copy", "--quiet", *where],
                environment,
                directory=os.path.dirname(layout),
            )
        ask_storage(["buildah", "manifest", "create", name, *ids], environment)
        for tag in image.names:
            ask_storage(["buildah", "tag", name, tag], environment)
            # They belong to a list of the user's now.
            added.clear()
            record.lists(name, ())
    except BaseException:
        _remove(["buildah", "manifest", "rm", name], environment)
        for each_id in added:
            _remove(["buildah", "rmi", each_id], environment)
        raise
    _remove(["buildah", "manifest", "rm", name], environment)


def _images(environment: Mapping[str, str]) -> frozenset[str]:
    """The IDs of all images in storage."""
    argv = ["buildah", "images", "--all", "--quiet", "--no-trunc"]
    listed = ask_storage(argv, environment).stdout.decode("utf-8", "replace")
    return frozenset(line.removeprefix("sha256:") for line in listed.split())


def _remove(argv: Iterable[str], environment: Mapping[str, str]) -> None:
    """Take something back; what is in use meanwhile stays, and no error hides the one that led here."""
    command.ask(list(argv), environment=environment, timeout=_PATIENCE, check=False)
