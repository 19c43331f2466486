"""A virtual environment of Python among copied directories: its interpreter comes along, and finds it.

Its `bin/python3` is a link to the interpreter of the host, which the image lacks. In the image it is a file, as
`python -m venv --copies` makes it: Python finds `pyvenv.cfg` beside it, and the standard library by its `home`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rootless_scratch.image.plan.entries import absolute

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rootless_scratch.image.spec import Copy

_MARK = "pyvenv.cfg"
_PROGRAMS = "bin"


def programs_of_venv(directory: str, names: Iterable[str]) -> str | None:
    """The name of the directory with the programs of a venv; None where these `names` make none."""
    return _PROGRAMS if _MARK in names and os.path.isfile(os.path.join(directory, _MARK)) else None


def leads_to_interpreter(link: str, venv: str) -> bool:
    """Whether a link among the programs of a venv is Python's, and leads out of it to a file."""
    if not os.path.basename(link).startswith("python"):
        return False
    try:
        target = os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))
    except OSError:
        return False
    return not f"{target}/".startswith(f"{venv.rstrip('/')}/") and os.path.isfile(link)


def placed(program: Copy, copies: Sequence[Copy]) -> Copy:
    """A program of a venv that is copied, at its place there; any other, and one with a place, as it is."""
    source = absolute(program.source)
    above, name = os.path.split(os.path.dirname(source))
    if program.destination is not None or name != _PROGRAMS or not os.path.isfile(os.path.join(above, _MARK)):
        return program
    for copy in copies:
        whole = absolute(copy.source)
        if copy.destination is not None and f"{above}/".startswith(f"{whole.rstrip('/')}/"):
            below = source[len(whole.rstrip("/")) :]
            return program.but(destination=f"{copy.destination.rstrip('/')}{below}")
    return program
