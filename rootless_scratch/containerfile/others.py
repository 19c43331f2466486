"""What a Containerfile needs and what is not made here: stages of buildah, images, named contexts.

Whoever evaluates a file is handed an `Others`. `NoOthers` refuses all of them, so that a build of COPY and
metadata alone needs no other program.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from rootless_scratch.containerfile.expanded import InstructionError
from rootless_scratch.containerfile.origins import HostOrigin
from rootless_scratch.data import Value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

    from rootless_scratch.containerfile.evaluated import StageConfig
    from rootless_scratch.containerfile.origins import Origin
    from rootless_scratch.containerfile.stages import Other
    from rootless_scratch.image.rootfs import Entry


class Base(Value):
    """An image that a stage begins with: its files, as StageFiles takes them, and its config."""

    entries: tuple[Entry, ...]
    config: StageConfig
    mtimes: Mapping[str, int]


class Others(Protocol):
    """Where the files of stages and images come from that are not made here; each may raise ScratchError.

    `roots` are the directories that have whole systems of them by now: libraries of programs lie there too.
    """

    @property
    def roots(self) -> tuple[str, ...]:
        """See above."""

    def origin_of(self, other: Other) -> Origin:
        """What `COPY --from` reads: a stage or an image with the owners that its files have, or a context."""

    def base_of(self, other: Other) -> Base:
        """An image, or a context that is one, that a stage without RUN begins with."""


class LocalOthers:
    """Contexts that are directories of this host; all else is asked of others."""

    def __init__(self, others: Others, kept: ExitStack) -> None:
        self._others = others
        self._kept = kept

    @property
    def roots(self) -> tuple[str, ...]:
        """See Others."""
        return self._others.roots

    def origin_of(self, other: Other) -> Origin:
        """What is copied from; raises ScratchError."""
        if other.kind == "context" and os.path.isdir(other.name):
            return self._kept.enter_context(HostOrigin(other.name, name=f"the context {other.name!r}"))
        return self._others.origin_of(other)

    def base_of(self, other: Other) -> Base:
        """What a stage begins with; raises ScratchError."""
        return self._others.base_of(other)


class NoOthers:
    """Refuses whatever is not made here."""

    roots: tuple[str, ...] = ()

    def origin_of(self, other: Other) -> Origin:
        """Raise InstructionError."""
        raise _refusal(other)

    def base_of(self, other: Other) -> Base:
        """Raise InstructionError."""
        raise _refusal(other)


def _refusal(other: Other) -> InstructionError:
    what = {
        "stage": f"The stage {other.name!r} has a RUN, or begins with an image that has one added",
        "image": f"{other.name!r} is an image",
        "context": f"The context {other.name!r} is not a directory of this build",
    }[other.kind]
    return InstructionError(
        f"{what}, which needs buildah or skopeo, and this build uses neither.",
        fix="Leave `--backend direct` out, or build that part before and copy it from the context.",
        span=other.span,
    )
