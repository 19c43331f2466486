"""From a Plan to an image in a layout or an archive, by this process alone: no namespace, no daemon, no tool.

The layer is written once, beside its first destination; every other destination is made from that.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rootless_scratch.errors import BuildError, SpecError, UsageError
from rootless_scratch.image.finished import Image, Layer, WrittenOutput
from rootless_scratch.image.layer import NONE, write_layer
from rootless_scratch.image.layout import (
    Blob,
    WrittenImage,
    add_to_layout,
    layout_directory,
    write_docker_archive,
    write_oci_archive,
)
from rootless_scratch.image.oci import LAYERS, config_document, descriptor, manifest_document
from rootless_scratch.image.temporary import Temporary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import _GeneratorContextManager

    from rootless_scratch.findings import Finding
    from rootless_scratch.image.layer import Compression
    from rootless_scratch.image.outputs import Output
    from rootless_scratch.image.plan import Plan


def build_image(
    plan: Plan,
    outputs: Sequence[Output],
    *,
    compression: Compression = NONE,
    findings: Sequence[Finding] = (),
    progress: Callable[[int], None] | None = None,
) -> Image:
    """Write what was planned to every output; `progress` is told the bytes of sources that were read.

    An output is there whole or as it was before. Raises SpecError, SourceError, UsageError, BuildError.
    """
    if plan.platform is None:
        raise SpecError(
            "Nothing in the image says for which architecture it is: it starts no ELF program.",
            fix="Name a program to start: `rootless-scratch build PROGRAM`, or --entrypoint with its path there.",
        )
    try:
        with ExitStack() as stack:
            places = [stack.enter_context(place_of(output)) for output in outputs]
            layer_file = stack.enter_context(Temporary(places[0]))
            layer = write_layer(
                plan.rootfs,
                layer_file.descriptor,
                mtime=plan.mtime,
                size=plan.rootfs.size,
                compression=compression,
                progress=progress,
            )
            config = Blob.of(config_document(plan, [f"sha256:{layer.diff_id}"]))
            stored = Layer(
                diff_id=f"sha256:{layer.diff_id}",
                digest=f"sha256:{layer.digest}",
                size=layer.size,
                media_type=LAYERS[compression.name],
            )
            described = descriptor(stored.media_type, stored.digest, stored.size)
            image = WrittenImage(
                manifest=Blob.of(manifest_document(config.content, [described], plan.annotations)),
                config=config,
                layers=[Blob(stored.digest, stored.size, source=layer_file)],
            )
            write_outputs(image, outputs, plan.names)
    except OSError as error:
        raise unwritable(error, outputs) from error
    return Image(
        image_id=config.name,
        names=plan.names,
        platform=plan.platform,
        layers=(stored,),
        digest=image.manifest.digest,
        files=len(plan.rootfs.files),
        backend="direct",
        findings=tuple(findings),
        outputs=tuple(WrittenOutput(ref=output.word, digest=image.manifest.digest) for output in outputs),
    )


def write_outputs(image: WrittenImage, outputs: Sequence[Output], names: Sequence[str]) -> None:
    """Write the image to every output; an archive for docker without a name of its own gets `names`."""
    layouts: dict[str, list[str | None]] = {}
    for output in outputs:
        if output.transport == "oci-archive":
            write_oci_archive(output.path, image, output.ref)
        elif output.transport == "docker-archive":
            write_docker_archive(output.path, image, names if output.ref is None else (output.ref,))
        else:
            layouts.setdefault(output.path, []).append(output.ref)
    for path, refs in layouts.items():
        add_to_layout(path, image, refs)


class _Beside:
    """The directory of an archive, which must be there."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> str:
        if os.path.isdir(self._path):
            raise UsageError(f"{self._path!r} is a directory.", fix="Name the file that the archive shall be.")
        directory = os.path.dirname(self._path)
        if not os.path.isdir(directory):
            raise UsageError(f"There is no directory {directory!r}.", fix="Make it first, or name another file.")
        return directory

    def __exit__(self, *raised: object) -> None:
        """Nothing was made."""


def place_of(output: Output) -> _Beside | _GeneratorContextManager[str]:
    """The directory that an output is written in, for the time that it is; raises UsageError."""
    return layout_directory(output.path) if output.transport == "oci" else _Beside(output.path)


def unwritable(error: OSError, outputs: Sequence[Output]) -> BuildError:
    """The error for outputs that cannot be written."""
    where = ", ".join(output.word for output in outputs)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BuildError(
            f"No space left for {where}.",
            fix="Free some space there, or write to a larger disk.",
        )
    return BuildError(
        f"The image cannot be written to {where}: {error.strerror or error}.",
        fix="Name a place that you can write to.",
    )
