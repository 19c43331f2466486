"""Work that reads stages of buildah's, handed to a process inside its user namespace."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rootless_scratch.backends.within import Within, own_program
from rootless_scratch.errors import HostError
from rootless_scratch.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.containerfile.document import Document, Stage


def enter_namespace(document: Document, stage: Stage) -> Within:
    """A process there, which comes up meanwhile; `stage` is the first that needs it, which errors name.

    Raises ToolMissingError, HostError.
    """
    try:
        return Within(own_program("verbs/inside.py"))
    except HostError as error:
        raise about_stage(error, document, stage) from error


def call_inside(
    within: Within,
    function: str,
    arguments: Mapping[str, object],
    *,
    document: Document,
    stage: Stage,
    progress: Progress = SILENT,
) -> Any:  # noqa: ANN401 - the function's
    """What `module:name` returns there; `stage` as for `enter_namespace`."""
    try:
        return within.call(function, arguments, progress=progress)
    except HostError as error:
        raise about_stage(error, document, stage) from error


def about_stage(error: HostError, document: Document, stage: Stage) -> HostError:
    """An error of this host with the line of the stage that meets it."""
    line = f"{document.path}:{stage.begin.span.line}"
    if error.message.startswith(f"{document.path}:"):
        return error
    cause = re.sub(r"\AThe ", "the ", error.message)
    return type(error)(
        f"{line}: the stage `{stage.name or stage.number}` is built by buildah: {cause}",
        fix=f"{error.fix} Stages without RUN need neither buildah nor a namespace.",
        detail=error.detail,
    )
