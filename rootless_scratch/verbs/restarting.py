"""A container that gives place to the next one of the same kind, as `watch` has one for each image."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

from rootless_scratch.engine.container.running import STOP_TIMEOUT
from rootless_scratch.errors import ScratchError, UsageError
from rootless_scratch.verbs.container import hold_container

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rootless_scratch.engine.container.running import RunningContainer
    from rootless_scratch.image.finished import Image
    from rootless_scratch.keywords import ContainerOptions


class Restarting:
    """Runs one image at a time, with these arguments and options; `close` ends it, and the service that it has.

    `how` is `ready`, `ready_timeout` and `record` of rootless_scratch.engine.container.block.container. `say` is
    told what goes on though it did not go well.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        options: Mapping[str, Any],
        *,
        say: Callable[[str], None] | None = None,
        **how: Any,  # noqa: ANN401 - as the block has them
    ) -> None:
        self._arguments = tuple(arguments)
        self._options = dict(options)
        self._how = how
        self._say = say or _say_nothing
        self._service = contextlib.ExitStack()
        self._block = contextlib.ExitStack()
        self._is_kept = False
        self.container: RunningContainer | None = None

    def start(self, image: Image) -> ScratchError | None:
        """Run it in place of the one before, which is stopped first; what keeps it from running is returned."""
        before, self._block = self._block, contextlib.ExitStack()
        self._stop()
        if self._options.get("name"):
            # One name is for one container.
            self._end(before)
        try:
            self._keep_service()
            options = cast("ContainerOptions", dict(self._options))
            subject: str | Image = image if image.names else _written(image)
            self.container = self._block.enter_context(
                hold_container(subject, self._arguments, options, **self._how)
            )
        except ScratchError as error:
            return error
        finally:
            # Its removal takes a moment in which the next one can be up already.
            self._end(before)
        return None

    def close(self) -> None:
        """Stop the container, or kill it where that is interrupted, and let go of all."""
        with self._service, self._block:
            self._stop()

    def _stop(self) -> None:
        """End it as `stop` does; at once where its program would not notice."""
        container, self.container = self.container, None
        if container is None or container.ended():
            return
        try:
            grace = self._options.get("stop_timeout")
            container.stop(0 if not container.heeds_stop() else STOP_TIMEOUT if grace is None else float(grace))
        except ScratchError as error:
            # It is killed at the end of its block.
            self._say(error.message)

    def _end(self, block: contextlib.ExitStack) -> None:
        try:
            block.close()
        except ScratchError as error:
            self._say(error.message)

    def _keep_service(self) -> None:
        """One service for all of them, unless it is another's; nothing where it is there."""
        if self._is_kept or self._options.get("url") or self._options.get("connection"):
            return
        from rootless_scratch.verbs.service import service

        self._service.enter_context(service())
        self._is_kept = True


def _written(image: Image) -> str:
    """The layout or archive of an image that has no name in storage; raises UsageError."""
    for output in image.outputs:
        if output.ref.partition(":")[0] in ("oci", "oci-archive", "docker-archive"):
            return output.ref
    raise UsageError("An image that is only in a registry is not run from there.", fix="Add `-t NAME`.")


def _say_nothing(_sentence: str) -> None:
    """Nobody listens."""
