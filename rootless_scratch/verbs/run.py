"""`run`: an image runs to its end, and where it does not do what it should, the rules say why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless_scratch.engine.run import run
from rootless_scratch.verbs.explain import Started, explained, explaining

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.engine.container.ending import RunResult
    from rootless_scratch.image.finished import Image
    from rootless_scratch.keywords import Options


def run_image(
    image: str | Image,
    arguments: Sequence[str],
    options: Options,
    **how: Any,  # noqa: ANN401 - the other keywords of engine.run
) -> RunResult:
    """See rootless_scratch.api.run; `how` says where the streams go, as in rootless_scratch.engine.run."""
    started = Started.of(image, arguments, options)
    with explaining(started):
        result = run(started.image, started.arguments, **how, **options)
    return explained(result, started)
