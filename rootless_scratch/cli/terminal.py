"""Lines for stdout and stderr, in colour where a terminal reads them: as click writes them, without click."""

from __future__ import annotations

import os
import sys

from rootless_scratch.expressions import expression

_CODES = {"red": 31, "green": 32, "yellow": 33, "cyan": 36}
"""ECMA-48, "Select graphic rendition"."""

_SEQUENCE = expression(r"\033\[[;?0-9]*[a-zA-Z]")


def styled(text: str, colour: str | None = None, *, bold: bool = False) -> str:
    """The text in a colour, or bold; a line with it loses that where no terminal reads it."""
    begins = (f"\033[{_CODES[colour]}m" if colour is not None else "") + ("\033[1m" if bold else "")
    return f"{begins}{text}\033[0m"


def colour() -> bool | None:
    """For click's `color`: none where the user wants none (no-color.org), else where a terminal reads."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def write_line(text: str, *, to_stderr: bool = False) -> None:
    """One line, which is out when this returns; raises OSError."""
    stream = sys.stderr if to_stderr else sys.stdout
    if colour() is False or not stream.isatty():
        text = _SEQUENCE.sub("", text)
    stream.write(f"{text}\n")
    stream.flush()
