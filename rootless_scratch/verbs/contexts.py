"""The values of `--build-context`, and what buildah is told of a build."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rootless_scratch.containerfile.stages import SCRATCH_IMAGE
from rootless_scratch.data import Value
from rootless_scratch.errors import UsageError

if TYPE_CHECKING:
    from typing import Literal

    from rootless_scratch.backends.stages import StageOptions
    from rootless_scratch.containerfile.request import FileRequest
    from rootless_scratch.ship.access import Access

_IMAGES = ("docker-image://", "container-image://", "container-image:", "docker://")
_LAYOUT = "oci-layout://"
_FETCHED = ("https://", "http://", "git://", "git@", "ssh://", "github.com/")


class NamedContext(Value):
    """What `--build-context NAME=VALUE` stands for: an absolute path, or the name or reference of an image."""

    kind: Literal["directory", "image"]
    value: str


def named_context(text: str) -> NamedContext:
    """Read a DIR, `docker-image://IMAGE` or `oci-layout://DIR[:TAG]`; raises UsageError."""
    for prefix in _IMAGES:
        if text.startswith(prefix) and len(text) > len(prefix):
            return NamedContext(kind="image", value=text.removeprefix(prefix))
    layout = next((each for each in (_LAYOUT, SCRATCH_IMAGE) if text.startswith(each)), None)
    if layout is not None:
        directory, colon, tag = text.removeprefix(layout).partition(":")
        return NamedContext(kind="image", value=f"oci:{os.path.abspath(directory)}{colon}{tag}")
    if text.startswith(_FETCHED):
        raise UsageError(
            f"A named context is {text!r}: a build here fetches images from the network, and no other files.",
            fix="Fetch it first, and pass its directory: `--build-context NAME=DIR`.",
        )
    if not os.path.isdir(text):
        raise UsageError(
            f"There is no directory {text!r} for a named context.",
            fix="Name one that is there; an image is written as docker-image://IMAGE.",
        )
    return NamedContext(kind="directory", value=os.path.abspath(text))


def stage_options(
    request: FileRequest, *, ignore_file: str | None, platform: str | None, access: Access | None
) -> StageOptions:
    """What buildah is told besides the file; `platform` is None for that of this host. Raises UsageError."""
    from rootless_scratch.backends.stages import StageOptions

    return StageOptions(
        context=os.path.abspath(request.context),
        ignore_file=None if ignore_file is None else os.path.abspath(ignore_file),
        build_args=request.build_args,
        build_contexts=tuple((name, _for_buildah(value)) for name, value in request.build_contexts),
        secrets=tuple(_absolute_secret(each) for each in request.secrets),
        ssh=request.ssh,
        network=request.network,
        platform=platform,
        pull="always" if request.pull else None,
        no_cache=request.no_cache,
        registry=() if access is None else access.flags(prefix=""),
    )


def _for_buildah(text: str) -> str:
    """A named context as buildah takes it: 1.28 knows layouts only as images of their transport."""
    context = named_context(text)
    return context.value if context.kind == "directory" else f"docker-image://{context.value}"


def _absolute_secret(text: str) -> str:
    """The file of a secret by its absolute path; raises UsageError where it cannot be read."""
    parts = []
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key in ("src", "source"):
            if not os.access(value, os.R_OK):
                raise UsageError(
                    f"The file {value!r} of a secret cannot be read.", fix="Name one after src= that you can read."
                )
            parts.append(f"src={os.path.abspath(value)}")
        elif key == "env" and value not in os.environ:
            raise UsageError(
                f"The environment variable {value!r} of a secret is not set.", fix="Export it before the build."
            )
        else:
            parts.append(part)
    return ",".join(parts)
