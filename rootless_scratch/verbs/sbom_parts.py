"""What `sbom` and a build with `--sbom` share: the files of a plan, the image, a document that is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.errors import SourceError
from rootless_scratch.host.environment import write_whole
from rootless_scratch.inventory.composing import ListedFile
from rootless_scratch.inventory.facts import Component

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.image.plan.planner import Plan


def listed_files(plan: Plan) -> Iterator[ListedFile]:
    """The regular files of a plan; where they come from is known."""
    for file in plan.rootfs.files:
        yield ListedFile(
            path=file.path,
            size=file.identity.size,
            source=file.source,
            content=file.content,
            origin=file.source,
            identity=file.identity if file.source is not None else None,
        )


def image_root(name: str, platform: str | None, image_id: str | None = None) -> Component:
    """The image itself."""
    return Component(
        key="image",
        kind="container",
        name=name,
        version=None if image_id is None else f"sha256:{image_id}",
        found_by="its config",
        more=() if platform is None else (("platform", platform),),
    )


def write_document(path: str, text_: str) -> None:
    """Write a document whole, or not at all. Raises SourceError."""
    try:
        write_whole(path, text_.encode())
    except OSError as error:
        raise SourceError(
            f"The SBOM cannot be written to {path!r}: {error.strerror}.",
            fix="Name a file in a directory that you can write to.",
        ) from error
