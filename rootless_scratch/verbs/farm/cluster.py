"""A Dask cluster that exists: reached by its scheduler's address, given our work, and left as it was."""

from __future__ import annotations

import json
import logging
import secrets
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from rootless_scratch.errors import HostError
from rootless_scratch.image.host_files import open_regular
from rootless_scratch.verbs.farm.address import FILE
from rootless_scratch.verbs.farm.work import DIFFERS, PACKAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_PATIENCE = 10
"""Seconds in which a scheduler answers."""

_VERSION = "rootless_scratch.__version__"


class Cluster:
    """A scheduler at `at`, an address or a Client, for as long as the block lasts; what is begun ends with it.

    `done` gets each task that is done, failed, or was cancelled. Raises HostError.
    """

    def __init__(self, at: Any) -> None:  # noqa: ANN401 - distributed is imported where it is used
        self._at = at
        self._name = at if isinstance(at, str) else "the Dask scheduler"
        self._client: Any = None
        self._prefix = f"{PACKAGE}-{secrets.token_hex(8)}"
        self._count = 0
        self._levels: dict[logging.Logger, int] = {}
        self._tasks: set[Any] = set()
        self.done: SimpleQueue[Any] = SimpleQueue()

    def __enter__(self) -> Self:
        if not isinstance(self._at, str):
            self._client = self._at
            return self
        try:
            from distributed import Client
        except ImportError as error:
            raise HostError(
                "Images are made by Dask with the Python package distributed, which is not installed.",
                fix="`pip install 'rootless-scratch[dask]'`, here and for the workers.",
            ) from error
        self._silence()
        try:
            address = _in_file(self._at) if self._at.endswith(FILE) else self._at
            self._client = Client(address, timeout=_PATIENCE, set_as_default=False, name=PACKAGE)
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            self._restore()
            cause = str(error).strip().splitlines()
            raise HostError(
                f"No Dask scheduler can be reached at {self._at}: {cause[0] if cause else type(error).__name__}.",
                fix="See that `dask scheduler` runs there; certificates are set as Dask's `distributed.comm.tls`.",
            ) from error
        return self

    def __exit__(self, *raised: object) -> None:
        """Cancel what is not done; a Client of ours is closed."""
        left = list(self._tasks)
        self._tasks.clear()
        with suppress(HostError), self._telling_of_loss():
            if left:
                self._client.cancel(left, force=True)
        if isinstance(self._at, str):
            with suppress(HostError), self._telling_of_loss():
                self._client.close(timeout=_PATIENCE)
            self._restore()

    def require_same(self, makers: Mapping[str, str]) -> None:
        """Raise HostError where a worker that is there has another version of this package than `makers` say."""
        from pydoc import locate

        # A function that every Python has: what the worker has of ours is what is asked for.
        found: dict[str, object] = self._client.run(locate, _VERSION)
        for address, version in found.items():
            if version != makers[PACKAGE]:
                raise _differing(address, PACKAGE, str(version or ""), makers)

    def threads(self) -> int:
        """How many images all workers together make at a time; 0 without any. Raises HostError."""
        with self._telling_of_loss():
            return sum(self._client.nthreads().values())

    def keep(self, content: bytes) -> object:
        """Have bytes at hand for workers, also for those that come in place of a lost one."""
        # Data that is scattered is lost with its worker; the result of a task is made again.
        return self._submit(bytes, content)

    def begin(self, makers: Mapping[str, str], orders: bytes, parcels: Sequence[object]) -> object:
        """Have orders made by any worker; the task will be in `done`."""
        from rootless_scratch.verbs.farm.worker import make

        task = self._submit(make, dict(makers), orders, list(parcels))
        self._tasks.add(task)
        task.add_done_callback(self.done.put)
        return task

    def answers(self, task: Any, makers: Mapping[str, str]) -> list[Any]:  # noqa: ANN401 - see above
        """What became of the orders of a task that is done; raises HostError where no worker could tell."""
        from asyncio import CancelledError as Stopped
        from concurrent.futures import CancelledError

        from distributed.scheduler import KilledWorker

        try:
            kind, found = task.result()
        except (CancelledError, Stopped) as error:
            raise self.lost() from error
        except (ModuleNotFoundError, AttributeError) as error:
            if PACKAGE.replace("-", "_") not in str(error):
                raise
            raise _differing("", PACKAGE, "", makers) from error
        except (KilledWorker, MemoryError, OSError) as error:
            raise _trouble(error) from error
        finally:
            self._tasks.discard(task)
        if kind == DIFFERS:
            name, version = found
            raise _differing("", name, version, makers)
        answers: list[Any] = found
        return answers

    def lost(self) -> HostError:
        """The error for a scheduler that has gone."""
        return HostError(
            f"The connection to {self._name} was lost, and with it the images that were under way.",
            fix="See that the scheduler runs, and try again.",
        )

    def _submit(self, work: Callable[..., object], *arguments: object) -> Any:  # noqa: ANN401 - see above
        self._count += 1
        key = f"{self._prefix}-{self._count}"
        with self._telling_of_loss():
            return self._client.submit(work, *arguments, key=key, pure=False)

    @contextmanager
    def _telling_of_loss(self) -> Iterator[None]:
        """What is asked of a scheduler that goes meanwhile ends in any of these."""
        from asyncio import CancelledError as Stopped
        from concurrent.futures import CancelledError

        from distributed import client

        # Older ones have no error of its own for this.
        closed = getattr(client, "ClosedClientError", OSError)
        try:
            yield
        except (OSError, RuntimeError, TimeoutError, CancelledError, Stopped, closed) as error:
            raise self.lost() from error

    def _silence(self) -> None:
        """What Dask logs of lost workers is told in words of ours, where it matters."""
        for name in ("distributed", *logging.root.manager.loggerDict):
            if name.partition(".")[0] == "distributed":
                logger = logging.getLogger(name)
                self._levels[logger] = logger.level
                logger.setLevel(logging.CRITICAL + 1)

    def _restore(self) -> None:
        for logger, level in self._levels.items():
            logger.setLevel(level)


def _in_file(path: str) -> str:
    """The address in a scheduler file, which Dask would wait for without end; raises OSError, ValueError."""
    with open_regular(path) as file:
        try:
            return str(json.load(file)["address"])
        except (KeyError, TypeError) as error:
            raise ValueError("it is not a scheduler file") from error


def _differing(address: str, name: str, version: str, makers: Mapping[str, str]) -> HostError:
    where = f"The worker {address}" if address else "A worker"
    has = f"has {name} {version}, and not {makers[name]} as this host" if version else f"does not have {name}"
    return HostError(
        f"{where} {has}, so that its images might be others.",
        fix=f"Install {name} {makers[name]} for all workers; nothing was built there.",
    )


def _trouble(error: Exception) -> HostError:
    """The error for a task that no worker could do; what is wrong with an image is an answer."""
    if isinstance(error, MemoryError):
        return HostError(
            "A worker has too little memory.",
            fix="Give the workers more memory, or let fewer threads share it.",
        )
    if isinstance(error, OSError):
        return HostError(f"A worker cannot go on: {error}.", fix="See the log of the worker, and try again.")
    return HostError(
        "Each worker that began with the image was lost.",
        fix="See the logs of the workers; most often their memory is too small for sources and images.",
    )
