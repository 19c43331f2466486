"""How far long work is, told to whoever wants to know."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable


class Progress:
    """What is told as work goes on; here only the bytes that are done, to a callable, if to anybody at all."""

    def __init__(self, on_bytes: Callable[[int], None] | None = None) -> None:
        self._on_bytes = on_bytes

    def begin(self, total: int) -> None:
        """Bytes that there are in all."""

    def show(self, done: int) -> None:
        """Bytes that are done."""
        if self._on_bytes is not None:
            self._on_bytes(done)

    def step(self, text: str) -> None:
        """What is being done now that has no measure."""

    def note(self, text: str) -> None:
        """What happened that the user should know, and that stays."""

    def steps(self) -> Progress:
        """The same, told steps alone."""
        only = Progress()
        only.step = self.step  # type: ignore[method-assign] # an instance's own
        return only


SILENT = Progress()
"""Nobody asked."""
