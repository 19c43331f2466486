"""The caller's terminal while a program in the container has it."""

from __future__ import annotations

import os
from collections.abc import Callable

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from typing import Any, Self


class Terminal:
    """Raw while it is entered, and as it was before afterwards, whatever happens in between: termios(3).

    `descriptor` is what the program reads from, None where it reads nothing; what is no terminal is let be.
    `others` are asked for the window's size where that one does not have it.
    """

    def __init__(self, descriptor: int | None, *, others: tuple[int | None, ...] = ()) -> None:
        self._descriptor = descriptor if _is_terminal(descriptor) else None
        self._sized = [number for number in (descriptor, *others) if number is not None and _is_terminal(number)]
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        if self._descriptor is not None:
            import termios
            import tty

            self._before = termios.tcgetattr(self._descriptor)
            # Not TCSAFLUSH, which throws away what was typed ahead.
            tty.setraw(self._descriptor, termios.TCSANOW)
        return self

    def __exit__(self, *raised: object) -> None:
        self._restore()

    def size(self) -> tuple[int, int] | None:
        """Columns and lines of the window; None where there is none."""
        for number in self._sized:
            try:
                columns, lines = os.get_terminal_size(number)
            except OSError:
                continue
            if columns and lines:
                return columns, lines
        return None

    def say(self, say: Callable[[str], None], sentence: str) -> None:
        """Say something with the terminal as it was: in a raw one, lines would begin where the last ended."""
        self._restore()
        try:
            say(sentence)
        finally:
            if self._descriptor is not None and self._before is not None:
                import tty

                tty.setraw(self._descriptor)

    def _restore(self) -> None:
        if self._descriptor is not None and self._before is not None:
            import termios

            try:
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
            except termios.error:
                # The terminal has gone, and with it whoever would care.
                return


def _is_terminal(descriptor: int | None) -> bool:
    return descriptor is not None and os.isatty(descriptor)
