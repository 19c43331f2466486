"""A build by the backend direct as a whole: its outputs, and local storage where it shall have the image too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch import command
from rootless_scratch.backends.direct import build_image, build_index
from rootless_scratch.backends.lists import load_index, staging
from rootless_scratch.backends.session import ask_storage
from rootless_scratch.image.outputs import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless_scratch.findings import Finding
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.layer import Compression
    from rootless_scratch.image.plan import Planned


def build_direct(
    plans: Sequence[Planned],
    outputs: Sequence[Output],
    *,
    compression: Compression,
    findings: Sequence[Finding],
    progress: Callable[[int], None] | None,
) -> Image:
    """Write one plan, or an index of several, to the outputs, then give it its names in local storage.

    Raises what `build` does.
    """
    names = plans[0].plan.names

    def write(places: Sequence[Output]) -> Image:
        if len(plans) > 1:
            return build_index(plans, places, compression=compression, findings=findings, progress=progress)
        return build_image(plans[0].plan, places, compression=compression, findings=findings, progress=progress)

    if not names:
        return write(outputs)
    from rootless_scratch.host.environment import tool_environment

    environment = tool_environment()
    command.require("skopeo")
    # Skopeo reads it from here: the outputs may be archives, and are others' to change once they are there.
    with staging(environment.variables) as record:
        path = os.path.join(record.scratch, "image")
        stage = Output(word=f"oci:{record.scratch}", transport="oci", path=path, ref=None)
        image = write((stage, *outputs))
        if len(plans) > 1:
            load_index(path, image, record, environment.variables)
        for name in () if len(plans) > 1 else names:
            argv = ["skopeo", "copy", "--quiet", f"oci:{path}", f"containers-storage:{name}"]
            ask_storage(argv, environment.variables)
    return msgspec.structs.replace(image, outputs=image.outputs[1:], notes=environment.notes)
