"""What a Containerfile needs that is not made here, for each platform, and whether it can be read here at all."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rootless_scratch.containerfile.expanded import InstructionError
from rootless_scratch.containerfile.others import NoOthers
from rootless_scratch.containerfile.surroundings import Surroundings, stages_of
from rootless_scratch.elf.platforms import host_platform, parse_platform
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.verbs.file_parts import build_arguments, ignore_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rootless_scratch.containerfile.document import Document, Stage
    from rootless_scratch.containerfile.request import FileRequest
    from rootless_scratch.containerfile.stages import Other
    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.ship.access import Access
    from rootless_scratch.verbs.origins import Origins


class Elsewhere:
    """Stages and images that are not made here; `kept` has what was opened until the image is written.

    With `libraries` those of its programs are wanted too. A file that needs nothing of all this loads none of it.
    """

    def __init__(
        self,
        document: Document,
        request: FileRequest,
        kept: ExitStack,
        *,
        libraries: bool,
        access: Access | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self._document = document
        self._request = request
        self._kept = kept
        self._libraries = libraries
        self._access = access
        self._progress = progress
        self._origins: dict[str, Origins] = {}

    def origins(self, platform: Platform | None) -> Origins:
        """Those for a platform, None for that of this host."""
        name = "" if platform is None else str(platform)
        if name not in self._origins:
            from rootless_scratch.containerfile.reducing import stage_named
            from rootless_scratch.verbs.contexts import stage_options
            from rootless_scratch.verbs.origins import Origins

            request = self._request
            ignore = ignore_file(request)
            origins = Origins(
                self._document,
                # A name that is none is told later.
                stage_named(self._document.stages, request.target or "") or self._document.stages[-1],
                options=stage_options(
                    request,
                    ignore_file=ignore.path if ignore else None,
                    platform=name or None,
                    access=self._access,
                ),
                contexts=dict(request.build_contexts),
                platform=platform,
                access=self._access,
                libraries=self._libraries,
                progress=self._progress,
            )
            self._origins[name] = self._kept.enter_context(origins)
        return self._origins[name]

    @property
    def is_needed(self) -> bool:
        """Whether there is any of them."""
        return any(self._needed(platform) for platform in self._platforms())

    def unreadable(self) -> Stage | None:
        """The first stage of buildah's, where they cannot be read here; None where all can, or there is none."""
        for platform in self._platforms():
            stages = [each.stage for each in self._needed(platform) if each.stage is not None]
            if stages and not self.origins(platform).recalls(stages):
                return stages[0]
        return None

    def _platforms(self) -> Sequence[Platform | None]:
        return tuple(map(parse_platform, self._request.platforms)) or (None,)

    def _needed(self, platform: Platform | None) -> tuple[Other, ...]:
        """What is not made here; nothing where that cannot be told, which is a fault of the file."""
        build = host_platform(os.uname().machine)
        with ExitStack() as kept:
            surroundings = Surroundings(
                context=None,
                others=NoOthers(),
                kept=kept,
                platform=platform or build,
                build_platform=build,
                build_args=build_arguments(self._request),
                contexts=dict(self._request.build_contexts),
                compat=self._request.compat,
            )
            try:
                stages = stages_of(self._document, surroundings, [])
                return stages.others(stages.target(self._request.target)) if self._document.stages else ()
            except InstructionError:
                return ()

    def call(self, function: str, arguments: Mapping[str, object], stage: Stage) -> Any:  # noqa: ANN401 - its own
        """What `module:name` returns for these and the `document` where stages of buildah can be read."""
        from rootless_scratch.verbs.namespaced import call_inside, enter_namespace

        with enter_namespace(self._document, stage) as within:
            return call_inside(
                within,
                function,
                {**arguments, "document": self._document},
                document=self._document,
                stage=stage,
                progress=self._progress,
            )
