"""`container`: an image runs beside the caller for as long as a block."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rootless_scratch.engine.container.block import container
from rootless_scratch.verbs.explain import Started, explaining

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.engine.container.readiness import Ready
    from rootless_scratch.engine.container.running import RunningContainer
    from rootless_scratch.engine.request.options import ContainerOptions
    from rootless_scratch.image.finished import Image


@contextmanager
def hold_container(
    image: str | Image,
    arguments: Sequence[str],
    options: ContainerOptions,
    *,
    ready: Ready | None,
    ready_timeout: float,
) -> Iterator[RunningContainer]:
    """See rootless_scratch.api.container."""
    started = Started.of(image, arguments, options)
    with ExitStack() as stack:
        with explaining(started):
            block = container(
                started.image, started.arguments, ready=ready, ready_timeout=ready_timeout, **options
            )
            running = stack.enter_context(block)
        yield running
