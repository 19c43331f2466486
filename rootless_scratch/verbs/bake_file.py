"""Targets of `bake` that are Containerfiles, and those among them that need the images of others."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rootless_scratch.bakefiles.linking import needs, waves
from rootless_scratch.bakefiles.results import Result
from rootless_scratch.errors import SourceError
from rootless_scratch.findings import Finding, Judgement
from rootless_scratch.rules.program.programs import verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.bakefiles.target import FileTarget, Target
    from rootless_scratch.containerfile.document import Document
    from rootless_scratch.image.finished import Image
    from rootless_scratch.verbs.sharing import Sharing

_NOT_BUILT = "stage-not-built"


def build_target(target: Target, file: FileTarget, sharing: Sharing, **how: Any) -> Image:  # noqa: ANN401 - of `build_file`
    """The image of a target; raises what `build_file` raises."""
    from rootless_scratch.verbs.build_file import build_file

    options = {**_options(file), "tag": target.names}
    return build_file(file.request, options, text=_document(target, file), sharing=sharing, **how)


def judge_target(target: Target, file: FileTarget) -> Judgement:
    """What `check -f` says of a target."""
    from rootless_scratch.verbs.check_file import check_file

    judgement = check_file(file.request, _options(file), document=_document(target, file))
    findings = tuple(map(_of_others, judgement.findings))
    return Judgement(subject=target.name, verdict=verdict(findings), findings=findings)


def _of_others(finding: Finding) -> Finding:
    """A finding, which is none to refuse where only the image of another target is not there."""
    if finding.rule != _NOT_BUILT or finding.severity != "error":
        return finding
    from msgspec.structs import replace

    message = "The image of another target is not built, so not all of this one is known."
    return replace(finding, severity="info", message=message, fix="Build it: what it needs is built before.")


def _options(file: FileTarget) -> dict[str, object]:
    return {"labels": dict(file.labels), "annotations": dict(file.annotations)}


def _document(target: Target, file: FileTarget) -> Document | None:
    """The Containerfile that the target has in itself."""
    if file.inline is None:
        return None
    from rootless_scratch.verbs.file_parts import document_of

    return document_of(file.inline, f"dockerfile-inline of {target.name}")


@contextmanager
def between(targets: Sequence[Target], linked: Sequence[Target]) -> Iterator[list[list[Target]]]:
    """Targets in the order in which they need each other; while it lasts there is a layout for what they need."""
    with tempfile.TemporaryDirectory(prefix="rootless-scratch-bake-") as directory:
        yield waves(targets, linked, f"{directory}/layout")


def without(target: Target, failed: Sequence[str]) -> Result | None:
    """The result of a target that needs one that failed."""
    missing = next((name for name in needs(target) if name in failed), None)
    if missing is None:
        return None
    error = SourceError(
        f"It takes files of {missing!r}, which could not be built.", fix=f"Correct what keeps {missing!r} from it."
    )
    return Result(name=target.name, error=error)
