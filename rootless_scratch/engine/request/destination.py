"""Where a call is to go: the service that the caller names, by an address or by podman's name for a connection.

Read before a service of ours is started, so it stays small; remote.py goes there.
"""

from __future__ import annotations

import os

from rootless_scratch.data import Data
from rootless_scratch.errors import UsageError

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLES = ("CONTAINER_HOST", "CONTAINER_CONNECTION")
"""The first counts where both are set, as podman has it."""


class Destination(Data):
    """An address or with `is_name` a connection, and its `origin`: the option or the variable that names it."""

    value: str
    origin: str
    is_name: bool

    @property
    def key(self) -> tuple[str, bool]:
        """The same for destinations that are one."""
        return self.value, self.is_name


def destination_of(
    url: str | None, connection: str | None, environ: Mapping[str, str] | None = None
) -> Destination | None:
    """Where these options lead, else the environment; None where nothing is named. Raises UsageError for both."""
    if url is not None and connection is not None:
        raise UsageError("--url and --connection both say which service to use.", fix="Leave out one of them.")
    if url is not None:
        return Destination(url, origin="--url", is_name=False)
    if connection is not None:
        return Destination(connection, origin="--connection", is_name=True)
    variables = os.environ if environ is None else environ
    for name in _VARIABLES:
        if variables.get(name):
            return Destination(variables[name], origin=name, is_name=name == "CONTAINER_CONNECTION")
    return None
