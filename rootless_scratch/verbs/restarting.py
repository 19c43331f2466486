"""A container that gives place to the next one of the same kind, as `watch` has one for each image."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, cast

from rootless_scratch.engine.container.recording import Recording
from rootless_scratch.engine.container.running import STOP_TIMEOUT
from rootless_scratch.errors import ScratchError, UsageError
from rootless_scratch.verbs.container import hold_container

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rootless_scratch.engine.api.http import Attached
    from rootless_scratch.engine.container.running import RunningContainer
    from rootless_scratch.image.finished import Image
    from rootless_scratch.keywords import ContainerOptions

_EXCLUSIVE = ("name", "publish")
"""Options whose values one container at a time can have, from the moment that it is made."""


class Restarting:
    """Runs one image at a time, with these arguments and options; `close` ends it, and the service that it has.

    `record`, and `ready` and `ready_timeout` of `how`, are as engine.container.block.container has
    them. `say` is told what goes on though it did not go well, by any thread.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        options: Mapping[str, Any],
        *,
        say: Callable[[str], None] | None = None,
        record: Callable[[Attached], Recording] | None = None,
        **how: Any,  # noqa: ANN401 - as the block has them
    ) -> None:
        self._arguments = tuple(arguments)
        self._options = dict(options)
        self._how = how
        self._record = record or Recording
        self._say = say or _say_nothing
        self._service = contextlib.ExitStack()
        self._block = contextlib.ExitStack()
        self._is_kept = False
        self.container: RunningContainer | None = None

    def start(self, image: Image) -> ScratchError | None:
        """Run it in place of the one before, which is stopped first; what keeps it from running is returned.

        While that one stops, the new one is made ready: it is started when the other has ended.
        """
        before, self._block = self._block, contextlib.ExitStack()
        stopping = threading.Thread(target=self._stop, args=(self.container,), name="rootless-scratch-stop")
        self.container = None
        stopping.start()
        if any(self._options.get(each) for each in _EXCLUSIVE):
            stopping.join()
        if self._options.get("name"):
            self._end(before)

        def record(attached: Attached) -> Recording:
            stopping.join()
            return self._record(attached)

        try:
            self._keep_service()
            options = cast("ContainerOptions", dict(self._options))
            subject: str | Image = image if image.names else _written(image)
            self.container = self._block.enter_context(
                hold_container(subject, self._arguments, options, record=record, **self._how)
            )
        except ScratchError as error:
            return error
        finally:
            stopping.join()
            # Its removal takes a moment in which the next one can be up already.
            self._end(before)
        return None

    def close(self) -> None:
        """Stop the container, or kill it where that is interrupted, and let go of all."""
        container, self.container = self.container, None
        with self._service, self._block:
            self._stop(container)

    def _stop(self, container: RunningContainer | None) -> None:
        """End it as `stop` does; at once where its program would not notice."""
        try:
            if container is None or container.ended():
                return
            if container.heeds_stop():
                grace = self._options.get("stop_timeout")
                container.stop(STOP_TIMEOUT if grace is None else float(grace))
            else:
                container.signal("KILL")
                container.wait(STOP_TIMEOUT)
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
