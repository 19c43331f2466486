"""`container`: an image runs beside the caller for as long as a block."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from rootless_scratch.engine.container.block import container
from rootless_scratch.verbs.explain import Started, explaining
from rootless_scratch.verbs.run import stored

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from rootless_scratch.engine.container.running import RunningContainer
    from rootless_scratch.image.finished import Image
    from rootless_scratch.keywords import ContainerOptions


@contextmanager
def hold_container(
    image: str | os.PathLike[str] | Image,
    arguments: Sequence[str],
    options: ContainerOptions,
    **readiness: Any,  # noqa: ANN401 - `ready` and `ready_timeout`
) -> Iterator[RunningContainer]:
    """See rootless_scratch.api.container."""
    with ExitStack() as stack:
        name, begun, _ = stack.enter_context(stored(image, options, None))
        started = Started.of(name, arguments, options)
        with explaining(started):
            running = stack.enter_context(
                container(started.image, started.arguments, opening=begun, **readiness, **options)
            )
        yield running
