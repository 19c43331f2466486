"""Images to all their destinations: what a build writes beside local storage, and what `push` and `save` send."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.backends.direct import build_images, directory_of, require_single, unwritable, write_outputs
from rootless_scratch.errors import CommandError, HostError, UsageError
from rootless_scratch.host.environment import private_temporary, tool_environment
from rootless_scratch.image.finished import Image, Shipped, WrittenOutput
from rootless_scratch.image.names import image_name
from rootless_scratch.image.references import REGISTRY, Reference, is_reference, parse_reference, parse_references
from rootless_scratch.image.write.layer import Compression, parse_compression
from rootless_scratch.image.write.layout import BLOBS
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.ship.access import Access
from rootless_scratch.verbs.subject import require_utf8, subject_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rootless_scratch.backends.direct import Adding
    from rootless_scratch.backends.storing import Storing
    from rootless_scratch.caching.layers import Layers
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.plan.planner import Planned
    from rootless_scratch.ship.copy_image import CopiedImage
    from rootless_scratch.ship.registry import Pushed

    StrPath = str | os.PathLike[str]


def ship_image(
    image: str | Image,
    output: Sequence[str],
    *,
    compress: str | None = None,
    access: Access | None = None,
    limits: Mapping[str, int] | None = None,
    repair: bool = False,
    progress: Progress = SILENT,
) -> Shipped:
    """What `push` and `save` do.

    Nothing has its name before all of it was read and compared. An archive for docker without a name of its own
    gets those of an image that was built, else that of storage.
    """
    from rootless_scratch import command
    from rootless_scratch.ship.registry import push_layout

    require_utf8()
    outputs = read_outputs(output, compress)
    if not outputs:
        raise UsageError("No output was named.", fix="Name one, e.g. `hello.tar`.")
    subject, access = subject_of(image), access or Access()
    names: Sequence[str] = () if isinstance(image, str) else tuple(image_name(name) for name in image.names)
    environment = tool_environment()
    local, remote = _divided(outputs)
    stored = not is_reference(subject)
    if remote:
        command.require("skopeo")
        access.check()
    notes: Sequence[str] = tuple(map(str, environment.notes)) if remote or stored else ()
    with ExitStack() as stack:
        directory, stage = stack.enter_context(_stage(environment.variables))
        # What tools leave there when they are killed goes with it.
        variables = {**environment.variables, "TMPDIR": directory}
        if stored:
            progress.step(f"reading {subject}")
            reference, names_there = exported(subject, directory, variables)
            names = names or names_there
        else:
            reference = parse_reference(subject)
        # A layer that has no form of its own yet gets that of a new one; others stay as they are.
        formless = stored or reference.transport == "docker-archive"
        copied = _copied(
            reference,
            (*local, stage) if remote else local,
            stack,
            names=names,
            limits=limits,
            compression=compression_for(compress, outputs) if compress or formless else None,
            repair=repair,
            progress=progress,
        )
        digest = copied.image.manifest.digest
        pushed = push_layout(
            stage.path, remote, digest=digest, access=access, environment=variables, progress=progress
        )
    written = _written(outputs, digest, pushed)
    return Shipped(
        image_id=copied.image_id,
        platform=copied.platform,
        layers=copied.layers,
        digest=written[0].digest,
        outputs=written,
        notes=(*notes, *copied.notes, *pushed.notes),
    )


def exported(name: str, directory: str, variables: Mapping[str, str]) -> tuple[Reference, Sequence[str]]:
    """An image of local storage as a layout in `directory`, and the names that it has there."""
    from rootless_scratch.backends.session import about_namespaces
    from rootless_scratch.ship.storage import export_image

    exported = Reference(text=name, transport="oci", path=os.path.join(directory, "stored"), ref=None)
    try:
        found = export_image(name, exported.path, environment=variables)
    except CommandError as error:
        raise about_namespaces(error) from error
    return exported, (found,) if found else ()


def _copied(
    reference: Reference,
    destinations: Sequence[Reference],
    stack: ExitStack,
    *,
    names: Sequence[str],
    limits: Mapping[str, int] | None,
    compression: Compression | None,
    repair: bool,
    progress: Progress,
) -> CopiedImage:
    """The image of a layout or an archive, copied into others, under these names or else its own."""
    from rootless_scratch.image.read.found import names_in
    from rootless_scratch.image.read.reader import ImageReader
    from rootless_scratch.ship.copy_image import copy_image

    try:
        directories = [stack.enter_context(directory_of(output)) for output in destinations]
        reader = stack.enter_context(ImageReader(reference, limits))
        names = names or names_in(reader)
        copied = copy_image(
            reader, directories[0], stack, compression=compression, repair=repair, progress=progress
        )
        require_single(copied.image, destinations)
        write_outputs(copied.image, destinations, names)
    except OSError as error:
        raise unwritable(error, destinations) from error
    return copied


def read_outputs(references: Sequence[str], compress: str | None) -> tuple[Reference, ...]:
    """The values of `-o` and `--compress` read, and refused, before anything is done."""
    outputs = parse_references(references)
    compression_for(compress, outputs)
    return outputs


def compression_for(compress: str | None, outputs: Sequence[Reference]) -> Compression:
    """The compression of a new layer; gzip where nothing is said and it goes to a registry."""
    remote = any(output.transport == REGISTRY for output in outputs)
    return parse_compression(("gzip" if remote else "none") if compress is None else compress)


def build_direct(
    plans: Sequence[Planned],
    outputs: Sequence[Reference],
    files: HostFiles,
    *,
    compress: str | None,
    access: Access | None,
    findings: Sequence[Finding],
    progress: Progress,
    storing: Storing | None,
    add: Adding | None = None,
    layers: Layers | None = None,
) -> Image:
    """Write one plan, or an index of several, to the outputs, to local storage and to registries, in this order.

    The layers are written once. `storing` is what stores an image with names, `add` and `layers` are as
    `build_images` has them. Raises what `build` does.
    """
    access, compression = access or Access(), compression_for(compress, outputs)
    local, remote = _divided(outputs)

    def write(outputs: Sequence[Reference], *, lacking: bool = False) -> Image:
        return build_images(
            plans,
            outputs,
            files,
            compression=compression,
            findings=findings,
            progress=progress,
            lacking=lacking,
            add=add,
            layers=layers,
        )

    if storing is None:
        return send(write, outputs, access=access, progress=progress)
    from rootless_scratch import command
    from rootless_scratch.ship.registry import push_layout

    command.require("skopeo")
    access.check()
    storing.open()
    # skopeo reads it from here: the outputs may be archives, and are others' to change once they are there.
    stage, variables = _stage_in(storing.directory), storing.variables
    image = _stored(storing, write, (stage, *local), remote=bool(remote), progress=progress)
    pushed = push_layout(
        stage.path, remote, digest=image.digest, access=access, environment=variables, progress=progress
    )
    return _with_outputs(image, outputs, pushed, storing.notes)


def send(
    write: Callable[..., Image], outputs: Sequence[Reference], *, access: Access, progress: Progress
) -> Image:
    """Have an image written by `write` to those of the outputs that are files, and send it to registries.

    Raises what `build` does.
    """
    local, remote = _divided(outputs)
    if not remote:
        return write(outputs)
    from rootless_scratch import command
    from rootless_scratch.ship.registry import push_layout

    command.require("skopeo")
    access.check()
    environment = tool_environment()
    with _stage(environment.variables) as (directory, stage):
        image = write((stage, *local))
        variables = {**environment.variables, "TMPDIR": directory}
        pushed = push_layout(
            stage.path, remote, digest=image.digest, access=access, environment=variables, progress=progress
        )
    return _with_outputs(image, outputs, pushed, tuple(map(str, environment.notes)))


def _with_outputs(image: Image, outputs: Sequence[Reference], pushed: Pushed, notes: Sequence[str]) -> Image:
    return msgspec.structs.replace(
        image, outputs=_written(outputs, image.digest, pushed), notes=(*notes, *pushed.notes)
    )


def _stored(
    storing: Storing,
    write: Callable[..., Image],
    outputs: Sequence[Reference],
    *,
    remote: bool,
    progress: Progress,
) -> Image:
    """The image, written to `outputs`, of which local storage reads the first, and in storage by its names.

    A layer that is known is left out there: storage that has it does not read it, and any other is told again.
    """
    image = write(outputs, lacking=not remote)
    progress.step(f"storing {', '.join(image.names)}")
    try:
        _store(storing, image, lambda: write(outputs[:1]))
    except (HostError, CommandError) as error:
        if outputs[1:]:
            there = f"{', '.join(output.text for output in outputs[1:])}: written all the same"
            error.fix += (
                f" {there}{', and nothing was pushed' if remote else ''}; leave -t out where that is enough."
            )
        raise
    return image


def _store(storing: Storing, image: Image, write: Callable[[], Image]) -> None:
    """Have storage read the layout, once more after `write` where it lacks a layer that is left out there."""
    if storing.name is None:
        from rootless_scratch.backends.lists import load_index

        load_index(storing.layout, image, storing.record, storing.variables)
        return
    try:
        storing.store(image.image_id)
    except (HostError, CommandError):
        blobs = os.path.join(storing.layout, BLOBS)
        if all(os.path.exists(os.path.join(blobs, each.digest.removeprefix("sha256:"))) for each in image.layers):
            raise
        write()
        storing.store(image.image_id)
    if image.names[1:]:
        from rootless_scratch.backends.session import ask_storage

        ask_storage(["buildah", "tag", image.image_id, *image.names[1:]], storing.variables)


def _divided(outputs: Sequence[Reference]) -> tuple[list[Reference], list[Reference]]:
    """Those that are files, and those in registries."""
    remote = [output for output in outputs if output.transport == REGISTRY]
    return [output for output in outputs if output not in remote], remote


@contextmanager
def _stage(variables: Mapping[str, str]) -> Iterator[tuple[str, Reference]]:
    """A private directory, and a layout in it that other programs read; both are gone afterwards.

    What killed calls have left is removed before. Raises HostError.
    """
    with private_temporary(variables) as made:
        yield made.path, _stage_in(made.path)


def _stage_in(directory: str) -> Reference:
    from rootless_scratch.backends.storing import LAYOUT, REF

    above, path = os.path.dirname(directory), os.path.join(directory, LAYOUT)
    return Reference(text=above, transport="oci", path=path, ref=REF, passing=True)


def _written(outputs: Sequence[Reference], digest: str, pushed: Pushed) -> tuple[WrittenOutput, ...]:
    """What each output is by now: in a registry with the digest there, and the name that is pulled by it."""
    there = iter(pushed.digests)
    written = []
    for output in outputs:
        remote = output.transport == REGISTRY
        its = next(there) if remote else digest
        name = f"{output.path.rpartition(':')[0]}@{its}" if remote else None
        written.append(WrittenOutput(ref=output.text, digest=its, pull=name))
    return tuple(written)
