"""Where a Containerfile takes files from that are not made here: stages of buildah's, images, named contexts."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rootless_scratch.containerfile.evaluated import StageConfig
from rootless_scratch.containerfile.origins import EntriesOrigin, HostOrigin
from rootless_scratch.containerfile.others import Base
from rootless_scratch.containerfile.taken import taken_paths
from rootless_scratch.errors import CommandError, HostError, ImageNotFoundError, SourceError
from rootless_scratch.image.references import Reference, is_reference, parse_reference, parse_remote
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.verbs.contexts import named_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from rootless_scratch.backends.recalled import Memory, Recalled
    from rootless_scratch.backends.stages import StageOptions, Stages
    from rootless_scratch.backends.unpacked import UnpackedImage
    from rootless_scratch.containerfile.document import Document, Stage
    from rootless_scratch.containerfile.stages import Other
    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.ship.access import Access


class Origins:
    """The `Others` of a file: each stage and image is made once, and is there until the block ends.

    `target` is the stage that is evaluated here: of images only what it may need is unpacked. Stages of buildah's
    can be read inside its namespace (namespaced.py), and elsewhere where they are known. With `libraries` those of
    programs are there too, below `roots`. `options` are for stages, `contexts` the values of `--build-context`.

    Raises BuildError, HostError, ImageNotFoundError, RegistryError, SourceError.
    """

    def __init__(
        self,
        document: Document,
        target: Stage,
        *,
        options: StageOptions,
        contexts: Mapping[str, str],
        platform: Platform | None = None,
        access: Access | None = None,
        limits: Mapping[str, int] | None = None,
        libraries: bool = False,
        progress: Progress = SILENT,
    ) -> None:
        self._document = document
        self._target = target
        self._options = options
        self._contexts = contexts
        self._platform = platform
        self._access = access
        self._limits = limits
        self._libraries = libraries
        self._progress = progress
        self._stack = ExitStack()
        self._stages: Stages | None = None
        self._images: dict[str, UnpackedImage] = {}
        self._recalled: dict[int, Recalled | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def origin_of(self, other: Other) -> HostOrigin | EntriesOrigin:
        """See `Others`."""
        if other.stage is not None:
            return self._of_stage(other.stage, f"stage {other.name}")
        context = named_context(other.name) if other.kind == "context" else None
        if context is not None and context.kind == "directory":
            return self._stack.enter_context(HostOrigin(context.value, name=f"context {other.name}"))
        image = self._image(other)
        return EntriesOrigin(image.entries, name=f"image {other.name}", mtimes=image.mtimes)

    def base_of(self, other: Other) -> Base:
        """See `Others`."""
        if other.kind == "context" and named_context(other.name).kind == "directory":
            raise SourceError(
                f"FROM names a context that is the directory {other.name!r}, and a stage begins with an image.",
                fix="Begin with `FROM scratch`, and copy from the context by --from.",
            )
        image = self._image(other)
        return Base(entries=image.entries, config=_stage_config(image), mtimes=image.mtimes)

    @property
    def roots(self) -> tuple[str, ...]:
        """See `Others`."""
        stages = () if self._stages is None else self._stages.roots
        return (*stages, *(image.root for image in self._images.values() if image.root is not None))

    def recalls(self, stages: Iterable[Stage]) -> bool:
        """Whether all of these stages are known, have not changed, and can be read by this process."""
        return all(self._recall(stage, readable=True) is not None for stage in stages)

    def _recall(self, stage: Stage, *, readable: bool) -> Recalled | None:
        if stage.number not in self._recalled:
            self._recalled[stage.number] = self._memory().recall(stage)
        found = self._recalled[stage.number]
        if found is None or (readable and not found.is_readable(libraries=self._libraries)):
            return None
        return found

    def _of_stage(self, stage: Stage, name: str) -> HostOrigin | EntriesOrigin:
        recalled = self._recall(stage, readable=True)
        if recalled is not None:
            return EntriesOrigin(recalled.entries or (), name=name, mtimes=recalled.mtimes)
        known = self._recall(stage, readable=False)
        stages = self._of_buildah()
        memory = self._memory()
        before = None if known else memory.surroundings(stage)
        mounted = stages.mounted(stage, None if known is None else known.image_id)
        origin = self._stack.enter_context(HostOrigin(mounted.directory, name=name, is_stage=True))
        if known is None or mounted.image_id != known.image_id:
            memory.note(stage, origin, mounted, before=known.state if known else before)
        return origin

    def _memory(self) -> Memory:
        from rootless_scratch.backends.recalled import Memory
        from rootless_scratch.host.environment import tool_environment

        return Memory(self._document, self._target, self._options, tool_environment().variables)

    def _of_buildah(self) -> Stages:
        if self._stages is None:
            from rootless_scratch.backends.stages import Stages
            from rootless_scratch.host.environment import tool_environment

            stages = Stages(
                self._document,
                self._options,
                environment=tool_environment().variables,
                progress=self._progress,
            )
            self._stages = self._stack.enter_context(stages)
        return self._stages

    def _image(self, other: Other) -> UnpackedImage:
        if other.name not in self._images:
            image = named_context(other.name).value if other.kind == "context" else other.name
            names = {name for name, value in self._contexts.items() if value == other.name}
            taken = taken_paths(self._document, self._target, names if other.kind == "context" else {other.name})
            self._images[other.name] = self._unpacked(image, taken)
        return self._images[other.name]

    def _unpacked(self, image: str, taken: tuple[str, ...]) -> UnpackedImage:
        """An image of local storage where it is there, for the platform of the build, else of its registry."""
        from rootless_scratch.backends.unpacked import unpack_image
        from rootless_scratch.host.environment import private_temporary, tool_environment

        variables = tool_environment().variables
        directory = self._stack.enter_context(private_temporary(variables))

        def unpack(reference: Reference) -> UnpackedImage:
            return unpack_image(
                reference,
                taken,
                directory.path,
                platform=self._platform,
                libraries=self._libraries,
                limits=self._limits,
            )

        if is_reference(image):
            return unpack(parse_reference(image))
        remote = _remote_name(image)
        try:
            return _of_storage(image, variables, unpack)
        except (ImageNotFoundError, HostError, CommandError):
            # Without a namespace nothing of local storage can be read.
            if remote is None:
                raise
        from rootless_scratch.ship.fetch import fetched

        with fetched(
            remote,
            self._access,
            platform=self._platform,
            every=False,
            limits=self._limits,
            progress=self._progress,
        ) as layout:
            return unpack(layout)


def _of_storage(
    image: str, variables: Mapping[str, str], unpack: Callable[[Reference], UnpackedImage]
) -> UnpackedImage:
    from rootless_scratch.backends.session import about_namespaces
    from rootless_scratch.host.environment import private_temporary
    from rootless_scratch.ship.storage import export_image

    with private_temporary(variables) as stored:
        layout = os.path.join(stored.path, "stored")
        try:
            export_image(image, layout, environment=variables)
        except CommandError as error:
            raise about_namespaces(error) from error
        return unpack(Reference(text=image, transport="oci", path=layout, ref=None))


def _remote_name(image: str) -> str | None:
    """How skopeo names an image that FROM names: without a host docker's; None for one of local storage alone."""
    host, slash, _ = image.partition("/")
    if host == "localhost":
        return None
    is_host = bool(slash) and ("." in host or ":" in host)
    name = image if is_host else f"docker.io/{image if slash else f'library/{image}'}"
    return parse_remote(f"docker://{name}").text


def _stage_config(image: UnpackedImage) -> StageConfig:
    """What a stage inherits of its base."""
    config = image.config
    return StageConfig(
        entrypoint=config.entrypoint,
        cmd=config.cmd,
        env=config.env,
        labels=config.labels,
        user=config.user or None,
        workdir=config.working_dir,
        ports=config.ports,
        volumes=config.volumes,
        stop_signal=config.stop_signal,
        healthcheck=config.healthcheck,
        onbuild=image.onbuild,
    )
