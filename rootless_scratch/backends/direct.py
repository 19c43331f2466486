"""From a Plan to an image in a layout or an archive, by this process alone: no namespace, no daemon, no tool.

The layer is written once, beside its first destination; every other destination is made from that.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, _GeneratorContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from rootless_scratch import private
from rootless_scratch.elf.platforms import Platform, chosen_platform, host_platform, parse_platform
from rootless_scratch.errors import BuildError, SpecError, UsageError
from rootless_scratch.host.environment import temporary_directory
from rootless_scratch.image.finished import Image, Layer, PlatformImage, WrittenOutput
from rootless_scratch.image.oci import (
    LAYERS,
    MANIFEST,
    config_document,
    descriptor,
    index_document,
    manifest_document,
)
from rootless_scratch.image.write.layer import NONE, WORTH, Compression, sum_layer, write_layer
from rootless_scratch.image.write.layout import (
    Blob,
    WrittenImage,
    WrittenIndex,
    add_to_layout,
    descriptor_digest,
    has_blob,
    layout_directory,
    refuse_foreign_link,
    write_docker_archive,
    write_oci_archive,
)
from rootless_scratch.image.write.temporary import Temporary
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.troubles import trouble_met

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rootless_scratch.caching.layers import Layers, Wanted
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.plan.planner import Plan, Planned
    from rootless_scratch.image.references import Reference
    from rootless_scratch.image.write.layer import WrittenLayer
    from rootless_scratch.image.write.remembered import Memory

    Adding = Callable[[str, WrittenImage | WrittenIndex, Sequence[str | None], Callable[[int], str]], None]


def build_images(
    plans: Sequence[Planned],
    outputs: Sequence[Reference],
    files: HostFiles,
    *,
    compression: Compression = NONE,
    findings: Sequence[Finding] = (),
    progress: Progress = SILENT,
    lacking: bool = False,
    add: Adding | None = None,
    layers: Layers | None = None,
) -> Image:
    """Write what was planned to every output, of several plans an index in this order; `files` are theirs.

    `progress` is told the bytes of sources that were read, `add` puts an image into a layout another way than
    `add_to_layout`, `layers` has compressed ones that were made before. An output is there whole or as it was
    before; with `lacking` a passing one may be without layers that are known. Raises UsageError, SpecError,
    SourceError, BuildError.
    """
    platforms = [parse_platform(each.platform) for each in plans if each.platform is not None]
    several = len(plans) > 1
    if several:
        require_single(None, outputs)
    spare_sources([each.plan for each in plans], outputs)
    memory = _memory(plans, outputs, compression, layers)
    whole = {output.path for output in outputs if not (lacking and output.passing)}
    is_plain = compression.name == "none"
    # Where a compressed layer may be left out, because it is there: everywhere or not at all.
    there = {output.path for output in outputs} if all(output.transport == "oci" for output in outputs) else None
    done = 0
    written: list[tuple[WrittenImage, Layer]] = []
    with _writing(outputs) as (stack, directory):
        if layers is not None:
            stack.callback(layers.forget)
        for each in plans:
            rest = Progress(lambda count, before=done: progress.show(before + count))  # type: ignore[misc]
            one = _remembered(each.plan, files, whole, memory) if is_plain and memory is not None else None
            if one is None:
                wanted = None if layers is None else layers.wanted(each.plan, files, compression)
                one = _write(
                    each.plan,
                    files,
                    stack,
                    directory,
                    compression=compression,
                    progress=rest,
                    memory=memory,
                    wanted=wanted,
                    layouts=there,
                )
            rest.show(each.plan.rootfs.size)
            written.append(one)
            done += each.plan.rootfs.size
        images = tuple(image for image, _ in written)
        made = _index(plans, platforms, images) if several else images[0]
        summed = descriptor_digest if memory is None else memory.digest
        write_outputs(made, outputs, () if several else plans[0].plan.names, summed, add or add_to_layout)
        if layers is not None:
            layers.keep()
    number = chosen_platform(platforms, host_platform(os.uname().machine)) or 0
    plan, (image, layer), digest = plans[number].plan, written[number], made.manifest.digest
    named = zip(platforms, images, strict=True) if several else ()
    return Image(
        image_id=image.config.name,
        names=plan.names,
        platform=plan.platform or "",
        layers=(layer,),
        digest=digest,
        files=len(plan.rootfs.files),
        backend="direct",
        findings=tuple(findings),
        outputs=tuple(WrittenOutput(ref=output.text, digest=digest) for output in outputs),
        images=tuple(
            PlatformImage(platform=str(platform), image_id=each.config.name, digest=each.manifest.digest)
            for platform, each in named
        ),
    )


def write_made(
    image: Image, made: WrittenImage | WrittenIndex, outputs: Sequence[Reference], add: Adding
) -> Image:
    """Write an image that was made elsewhere, as `build_images` writes its own. Raises BuildError."""
    with _writing(outputs):
        write_outputs(made, outputs, image.names, add=add)
    written = tuple(WrittenOutput(ref=output.text, digest=image.digest) for output in outputs)
    return replace(image, outputs=written)


def _index(
    plans: Sequence[Planned], platforms: Sequence[Platform], images: tuple[WrittenImage, ...]
) -> WrittenIndex:
    """What names the images of several plans, each by its platform."""
    described = [
        (platform, descriptor(MANIFEST, image.manifest.digest, image.manifest.size))
        for platform, image in zip(platforms, images, strict=True)
    ]
    return WrittenIndex(Blob.of(index_document(described, plans[0].plan.annotations)), images)


def spare_sources(plans: Sequence[Plan], outputs: Sequence[Reference]) -> None:
    """Raise UsageError where an archive would take the place of a file that goes into the image."""
    if all(output.transport == "oci" for output in outputs):
        return
    sources = {
        (file.identity.device, file.identity.inode): file.source
        for plan in plans
        for file in plan.rootfs.files
        if file.source is not None
    }
    for output in outputs:
        if output.transport == "oci":
            continue
        try:
            status = os.stat(output.path)
        except (OSError, ValueError):
            continue
        source = sources.get((status.st_dev, status.st_ino))
        if source is not None:
            raise UsageError(
                f"{output.text!r} would be written over {source!r}, which goes into the image.",
                fix="Name another file.",
            )


def require_single(image: WrittenImage | WrittenIndex | None, outputs: Sequence[Reference]) -> None:
    """Raise UsageError where an index (or what is not made yet) is to go to what holds one image."""
    if isinstance(image, WrittenImage):
        return
    for output in outputs:
        if output.transport == "docker-archive":
            raise UsageError(
                f"{output.text!r} cannot hold images for several platforms.",
                fix="Write them to `oci-archive:FILE` or `oci:DIR`, or build one image per platform.",
            )


@contextmanager
def _writing(outputs: Sequence[Reference]) -> Iterator[tuple[ExitStack, str]]:
    """While it lasts the directories of all outputs are there; layers are written beside the first."""
    private.sweep(temporary_directory(os.environ))
    try:
        with ExitStack() as stack:
            directories = [stack.enter_context(directory_of(output)) for output in outputs]
            yield stack, directories[0]
    except OSError as error:
        raise unwritable(error, outputs) from error


def _memory(
    plans: Sequence[Planned], outputs: Sequence[Reference], compression: Compression, layers: Layers | None
) -> Memory | None:
    """What is known of files and layers; None where there is no use for it."""
    is_compressed = compression.name != "none"
    if (is_compressed and layers is None) or (
        not is_compressed and any(output.transport != "oci" for output in outputs)
    ):
        return None
    if sum(each.plan.rootfs.size for each in plans) < WORTH:
        return None
    from rootless_scratch.image.write.remembered import Memory

    return Memory(os.environ)


def _remembered(
    plan: Plan, files: HostFiles, layouts: Iterable[str], memory: Memory
) -> tuple[WrittenImage, Layer] | None:
    """The image whose layer is known and lies whole in all `layouts`; None where there is something to write."""
    from rootless_scratch.image.write.remembered import layer_key

    key = layer_key(plan.rootfs, plan.mtime, files) if plan.platform is not None else None
    known = None if key is None else memory.layer(key)
    if known is None:
        return None
    blob = Blob(f"sha256:{known.digest}", known.size, is_there=True)
    if not all(has_blob(path, blob, memory.digest) for path in layouts):
        return None
    stored = Layer(diff_id=blob.digest, digest=blob.digest, size=blob.size, media_type=LAYERS["none"])
    return _around(plan, stored, is_there=True), stored


def _write(
    plan: Plan,
    files: HostFiles,
    stack: ExitStack,
    directory: str,
    *,
    compression: Compression,
    progress: Progress,
    memory: Memory | None,
    wanted: Wanted | None,
    layouts: Iterable[str] | None,
) -> tuple[WrittenImage, Layer]:
    """The layer in a temporary file of the stack, and the documents around it.

    One that is `wanted` may have been made before; then it is in all `layouts` already, or copied.
    """
    if plan.platform is None:
        raise SpecError(
            "The image has no architecture: it starts no ELF program.",
            fix="Name a program to start: `rootless-scratch build PROGRAM`, or --entrypoint with its path there.",
        )
    key = None
    if memory is not None:
        from rootless_scratch.image.write.remembered import are_settled, layer_key

        key = layer_key(plan.rootfs, plan.mtime, files) if are_settled(plan.rootfs, files) else None
    layer_file = stack.enter_context(Temporary(directory))
    taken = None
    if wanted is not None:
        tar = memory.layer(key) if memory is not None and key is not None else None
        summed = descriptor_digest if memory is None else memory.digest
        taken = wanted.take(tar, layer_file.descriptor, partial(_is_in, layouts, summed))
    if taken is None:
        layer, is_there = (
            write_layer(
                plan.rootfs,
                layer_file.descriptor,
                mtime=plan.mtime,
                size=plan.rootfs.size,
                compression=compression,
                files=files,
                progress=progress,
            ),
            False,
        )
        if wanted is not None:
            wanted.made(layer, layer_file.descriptor)
    else:
        layer, is_there = taken
    if memory is not None and key is not None:
        memory.keep_layer(key, layer)
    stored = Layer(
        diff_id=f"sha256:{layer.diff_id}",
        digest=f"sha256:{layer.digest}",
        size=layer.size,
        media_type=LAYERS[compression.name],
    )
    return _around(plan, stored, source=None if is_there else layer_file, is_there=is_there), stored


def _is_in(layouts: Iterable[str] | None, digest: Callable[[int], str], layer: WrittenLayer) -> bool:
    """Whether a layer lies whole in all layouts; not where there are other outputs."""
    blob = Blob(f"sha256:{layer.digest}", layer.size)
    return layouts is not None and all(has_blob(path, blob, digest) for path in layouts)


def planned_image(plan: Plan, files: HostFiles) -> WrittenImage:
    """The image that `build_images` writes of this plan, uncompressed; nothing is kept of what is hashed.

    Raises SourceError.
    """
    layer = sum_layer(plan.rootfs, mtime=plan.mtime, size=plan.rootfs.size, files=files)
    digest = f"sha256:{layer.diff_id}"
    return _around(plan, Layer(diff_id=digest, digest=digest, size=layer.size, media_type=LAYERS["none"]))


def _around(plan: Plan, layer: Layer, *, source: Temporary | None = None, is_there: bool = False) -> WrittenImage:
    """The layer, which lies in `source` or where it goes, with the documents around it."""
    config = Blob.of(config_document(plan.config, [layer.diff_id]))
    described = descriptor(layer.media_type, layer.digest, layer.size)
    return WrittenImage(
        manifest=Blob.of(manifest_document(config.content, [described], plan.annotations)),
        config=config,
        layers=(Blob(layer.digest, layer.size, source=source, is_there=is_there),),
    )


def write_outputs(
    image: WrittenImage | WrittenIndex,
    outputs: Sequence[Reference],
    names: Sequence[str],
    digest: Callable[[int], str] = descriptor_digest,
    add: Adding = add_to_layout,
) -> None:
    """Write the image to every output; an archive for docker without a name of its own gets `names`.

    `digest` is as `add_to_layout` has it, which is `add` unless layouts are written another way.
    """
    layouts: dict[tuple[str, bool], list[str | None]] = {}
    for output in outputs:
        if output.transport == "oci-archive":
            write_oci_archive(_archive(output), image, output.ref)
        elif isinstance(image, WrittenImage) and output.transport == "docker-archive":
            write_docker_archive(_archive(output), image, names if output.ref is None else (output.ref,))
        else:
            layouts.setdefault((output.path, output.passing), []).append(output.ref)
    for (path, passing), refs in layouts.items():
        if passing:
            add_to_layout(path, image, refs, digest, passing=True)
        else:
            add(path, image, refs, digest)


class _Beside:
    """The directory of an archive, which must be there."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> str:
        if os.path.isdir(self._path):
            raise BuildError(f"{self._path!r} is a directory.", fix="Name a file for the archive.")
        if os.path.exists(self._path) and not os.path.isfile(self._path):
            raise BuildError(
                f"{self._path!r} is a device, a pipe or a socket, and an archive would replace it.",
                fix="Name a file.",
            )
        directory = os.path.dirname(self._path)
        if not os.path.isdir(directory):
            raise BuildError(f"There is no directory {directory!r}.", fix="Create it first, or name another file.")
        return directory

    def __exit__(self, *raised: object) -> None:
        """Nothing was made."""


def directory_of(output: Reference) -> _Beside | _GeneratorContextManager[str]:
    """The directory that an output is written in, for the time that it is; raises BuildError."""
    return layout_directory(output.path) if output.transport == "oci" else _Beside(_archive(output))


def _archive(output: Reference) -> str:
    """The file that an archive becomes: a link stays, and what it points to is replaced; raises BuildError."""
    refuse_foreign_link(output.path)
    return os.path.realpath(output.path)


def unwritable(error: OSError, outputs: Sequence[Reference]) -> BuildError:
    """The error for outputs that cannot be written."""
    where = ", ".join(output.text for output in outputs)
    trouble = trouble_met(error)
    if trouble is not None:
        return BuildError(trouble.after(f"The image cannot be written to {where}"), fix=trouble.fix)
    cause = f"The image cannot be written to {where}: {error.strerror or error}."
    fix = "Name a path that you can write to."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        cause, fix = f"No space left for {where}.", "Free some space there, or write to a larger disk."
    return BuildError(cause, fix=fix)
