"""Questions to other programs that are asked all at once and answered later: each in a child, each bounded."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rootless_scratch import command
from rootless_scratch.errors import HostError
from rootless_scratch.spawn import NULL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rootless_scratch.spawn import Child

PATIENCE = 5.0
"""Seconds that a probe may take; each needs well under a tenth of that."""


class Question:
    """A program that was started, whose answer is read when it is wanted."""

    def __init__(self, argv: Sequence[str], *, environment: Mapping[str, str]) -> None:
        self._argv = argv
        self._child: Child | None = None
        self._problem: HostError | None = None
        self._deadline = time.monotonic() + PATIENCE
        try:
            self._child = command.start(argv, environment=environment, stdin=NULL)
        except HostError as error:
            self._problem = error

    def answer(self) -> command.Output:
        """What it printed, whatever its exit code; what it started ends with it.

        Raises HostError where it could not be started, and where it took too long.
        """
        if self._child is None:
            assert self._problem is not None  # noqa: S101 - one of them is set
            raise self._problem
        child, kept = self._child, {1: bytearray(), 2: bytearray()}
        try:
            for number, block in child.blocks(pause=0.1):
                if number:
                    kept[number] += block
                # What has ended meanwhile is read, however late that is.
                if number == 0 and time.monotonic() > self._deadline:
                    raise HostError(
                        f"`{' '.join(self._argv)}` did not end within {PATIENCE:g} s.",
                        fix="Run the same command by hand to see where it hangs.",
                    )
            return command.Output(exit_code=child.wait(), stdout=bytes(kept[1]), stderr=bytes(kept[2]))
        finally:
            child.kill_session()
            child.close()
