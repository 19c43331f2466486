"""A build by the backend direct as a whole: its outputs, and local storage where it shall have the image too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch import command
from rootless_scratch.backends.direct import build_image
from rootless_scratch.image.outputs import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless_scratch.findings import Finding
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.layer import Compression
    from rootless_scratch.image.plan import Plan


def build_direct(
    plan: Plan,
    outputs: Sequence[Output],
    *,
    compression: Compression,
    findings: Sequence[Finding],
    progress: Callable[[int], None] | None,
) -> Image:
    """Write the plan to its outputs, then give it its names in local storage; raises what `build` does."""
    if not plan.names:
        return build_image(plan, outputs, compression=compression, findings=findings, progress=progress)
    import tempfile

    from rootless_scratch.host.environment import tool_environment

    environment = tool_environment()
    command.require("skopeo")
    # Skopeo reads it from here: the outputs may be archives, and are others' to change once they are there.
    with tempfile.TemporaryDirectory(
        prefix="rootless-scratch-",
        dir=environment.variables.get("TMPDIR") or "/var/tmp",  # noqa: S108 - mode 0700
    ) as place:
        stage = Output(word=f"oci:{place}", transport="oci", path=os.path.join(place, "image"), ref=None)
        image = build_image(plan, (stage, *outputs), compression=compression, findings=findings, progress=progress)
        for name in plan.names:
            argv = ["skopeo", "copy", "--quiet", f"oci:{stage.path}", f"containers-storage:{name}"]
            command.ask(argv, environment=environment.variables, timeout=3600)
    return msgspec.structs.replace(image, outputs=image.outputs[1:], notes=environment.notes)
