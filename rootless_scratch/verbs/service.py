"""A service that is there for many calls, each of which would else start and end one."""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from rootless_scratch.engine.container.opening import Opening
from rootless_scratch.engine.service.keeping import IDLE
from rootless_scratch.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.engine.api.http import Client


@contextmanager
def service() -> Iterator[None]:
    """Keep one podman service for all calls inside the block, which else start and end one each.

    Nothing is started where the user's own service answers, or CONTAINER_HOST names one. Calls of other processes
    share it too, where their environment is this one's. Raises HostError, EngineError.
    """
    with closing(Opening(keep=0)) as opening:
        client = opening.service().client
        over = threading.Event()
        asking = threading.Thread(target=_ask, args=(client, over), name="rootless-scratch-service", daemon=True)
        asking.start()
        try:
            yield
        finally:
            over.set()
            asking.join()


def _ask(client: Client, over: threading.Event) -> None:
    """One that nobody asks anything for some seconds ends by itself."""
    while not over.wait(IDLE / 3):
        try:
            client.request("GET", "/_ping", patience=IDLE)
        except EngineError:
            # It has died; the next call finds that out, and starts another.
            return
