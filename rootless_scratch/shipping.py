"""Images to all their destinations: what a build writes beside local storage, and what `push` and `save` send."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch import command
from rootless_scratch.backends.direct import (
    build_image,
    build_index,
    place_of,
    require_single,
    unwritable,
    write_outputs,
)
from rootless_scratch.backends.lists import load_index, staging
from rootless_scratch.backends.session import ask_storage
from rootless_scratch.errors import UsageError
from rootless_scratch.host.environment import tool_environment
from rootless_scratch.image.finished import Shipped, WrittenOutput
from rootless_scratch.image.given import image_id
from rootless_scratch.image.layer import parse_compression
from rootless_scratch.image.names import image_name
from rootless_scratch.image.outputs import REGISTRY, Output, is_output, parse_output
from rootless_scratch.ship.registry import push_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rootless_scratch.backends.inside.record import Record
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.layer import Compression
    from rootless_scratch.image.plan import Planned
    from rootless_scratch.ship.registry import Access

    Step = Callable[[str], None]


def compression_for(compress: str | None, outputs: Sequence[Output]) -> Compression:
    """The compression of a new layer; gzip where nothing is said and it goes to a registry."""
    remote = any(output.transport == REGISTRY for output in outputs)
    return parse_compression(compress or ("gzip" if remote else "none"))


def build_direct(
    plans: Sequence[Planned],
    outputs: Sequence[Output],
    *,
    compress: str | None,
    access: Access,
    findings: Sequence[Finding],
    progress: Callable[[int], None] | None,
    step: Step,
) -> Image:
    """Write one plan, or an index of several, to the outputs, to local storage and to registries, in this order.

    The layers are written once. Raises what `build` does.
    """
    compression = compression_for(compress, outputs)
    remote = [output for output in outputs if output.transport == REGISTRY]
    names = plans[0].plan.names

    def write(places: Sequence[Output]) -> Image:
        if len(plans) > 1:
            return build_index(plans, places, compression=compression, findings=findings, progress=progress)
        return build_image(plans[0].plan, places, compression=compression, findings=findings, progress=progress)

    if not (names or remote):
        return write(outputs)
    environment = tool_environment()
    command.require("skopeo")
    access.check()
    local = [output for output in outputs if output.transport != REGISTRY]
    # skopeo reads it from here: the outputs may be archives, and are others' to change once they are there.
    with _stage(environment.variables) as (record, stage):
        image = write((stage, *local))
        if names and len(plans) > 1:
            step(f"storing {names[0]}")
            load_index(stage.path, image, record, environment.variables)
        for name in () if len(plans) > 1 else names:
            step(f"storing {name}")
            ask_storage(
                ["skopeo", "copy", "--quiet", _staged(stage), f"containers-storage:{name}"], environment.variables
            )
        notes = _push(stage, remote, image.digest, access=access, environment=environment.variables, step=step)
    return msgspec.structs.replace(
        image, outputs=_written(outputs, image.digest), notes=(*environment.notes, *notes)
    )


def word_of(image: Image) -> tuple[str, tuple[str, ...]]:
    """Where a built image lies, and its names; raises UsageError for one that only registries have."""
    found = image_id(image)
    if image.names:
        return found, tuple(image_name(name) for name in image.names)
    local = [output.ref for output in image.outputs if is_output(output.ref)]
    if image.outputs and not local:
        raise UsageError(
            "The image lies in a registry alone.", fix="Build it with `output=[...]` for all its places at once."
        )
    return (local[0] if local else found), ()


def ship(
    image: str,
    outputs: Sequence[Output],
    *,
    names: Sequence[str] = (),
    compress: str | None,
    access: Access,
    begun: Callable[[int], None] | None,
    progress: Callable[[int], None] | None,
    step: Step,
) -> Shipped:
    """Send an image of local storage, a layout or an archive to all outputs; see rootless_scratch.api.push.

    Nothing has its name before all of it was read and compared. An archive for docker without a name of its own
    gets `names`, else that of storage.
    """
    environment = tool_environment()
    remote = [output for output in outputs if output.transport == REGISTRY]
    local = [output for output in outputs if output.transport != REGISTRY]
    stored = not is_output(image)
    if remote:
        command.require("skopeo")
        access.check()
    notes: Sequence[str] = environment.notes if remote or stored else ()
    with ExitStack() as stack:
        record, stage = stack.enter_context(_stage(environment.variables))
        read = parse_output(image) if not stored else stage
        if stored:
            step(f"reading {image}")
            from rootless_scratch.ship.storage import export_image

            read = Output(word=image, transport="oci", path=os.path.join(record.scratch, "stored"), ref=None)
            exported = export_image(image, read.path, environment=environment.variables)
            names = names or ((exported.name,) if exported.name else ())
        # A layer that has no form of its own yet gets that of a new one; others stay as they are.
        anew = stored or read.transport == "docker-archive"
        compression = compression_for(compress, outputs) if compress or anew else None
        from rootless_scratch.image.source import Source
        from rootless_scratch.ship.gathering import gather

        destinations = (*local, stage) if remote else tuple(local)
        try:
            places = [stack.enter_context(place_of(output)) for output in destinations]
            source = stack.enter_context(Source(read))
            gathered = gather(source, places[0], stack, compression=compression, begun=begun, progress=progress)
            require_single(gathered.image, destinations)
            write_outputs(gathered.image, destinations, names)
        except OSError as error:
            raise unwritable(error, destinations) from error
        digest = gathered.image.manifest.digest
        variables = environment.variables
        pushed = _push(stage, remote, digest, access=access, environment=variables, step=step)
    return Shipped(
        image_id=gathered.image_id,
        platform=gathered.platform,
        layers=gathered.layers,
        digest=digest,
        outputs=_written(outputs, digest),
        notes=(*notes, *pushed),
    )


@contextmanager
def _stage(variables: Mapping[str, str]) -> Iterator[tuple[Record, Output]]:
    """A private directory, and a layout in it that other programs read; both are gone afterwards."""
    with staging(variables) as record:
        path = os.path.join(record.scratch, "image")
        yield record, Output(word=os.path.dirname(record.scratch), transport="oci", path=path, ref="staged")


def _staged(stage: Output) -> str:
    """The word by which skopeo reads what was staged."""
    return f"oci:{stage.path}:{stage.ref}"


def _push(
    stage: Output,
    outputs: Sequence[Output],
    digest: str,
    *,
    access: Access,
    environment: Mapping[str, str],
    step: Step,
) -> tuple[str, ...]:
    notes: list[str] = []
    for output in outputs:
        notes += push_layout(
            _staged(stage), output, digest=digest, access=access, environment=environment, step=step
        )
    return tuple(notes)


def _written(outputs: Sequence[Output], digest: str) -> tuple[WrittenOutput, ...]:
    return tuple(WrittenOutput(ref=output.word, digest=digest) for output in outputs)
