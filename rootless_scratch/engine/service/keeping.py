"""How long a service of ours stays for the next call.

podman ends it itself so many seconds after its last request, so it never outlives what was promised, whoever was
killed meanwhile.
"""

from __future__ import annotations

import os
import time

from rootless_scratch.data import Value
from rootless_scratch.errors import UsageError

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "ROOTLESS_SCRATCH_KEEP_SERVICE"
"""What holds where no option says how long."""

IDLE = 10
"""Seconds without a request after which a service of ours ends by itself, where nobody asks for another time."""

_MOST = 86_400
_UNITS = {"s": 1, "m": 60, "h": 3600}
_DIGITS = 6


class Keeping(Value):
    """A service ends by itself after `idle` seconds without a request, and before where nobody uses it.

    Unless it `stays`; None where that depends on whether calls follow each other.
    """

    idle: int
    stays: bool | None


def keeping(wanted: int | None, variables: Mapping[str, str]) -> Keeping:
    """What an option says, else the environment; raises UsageError for what that cannot mean."""
    if wanted is None and variables.get(VARIABLE):
        wanted = parse_keep(VARIABLE, variables[VARIABLE])
    if wanted is None:
        # At its end podman makes its storage's directories again, and whoever made a home there has removed it.
        return Keeping(idle=IDLE, stays=False if _is_passing(variables) else None)
    return Keeping(idle=wanted or IDLE, stays=wanted > 0)


def _is_passing(variables: Mapping[str, str]) -> bool:
    """Whether images lie where tests make homes that they remove."""
    storage = os.path.realpath(variables.get("XDG_DATA_HOME") or variables.get("HOME", "/"))
    temporary = ("/tmp", "/var/tmp", variables.get("TMPDIR") or "/tmp")  # noqa: S108 - nothing is made there
    return any(f"{storage}/".startswith(f"{os.path.realpath(each)}/") for each in temporary)


def parse_keep(option: str, value: object) -> int:
    """Seconds: a number, or `10s`, `2m`, `1h`; 0 keeps nothing."""
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    else:
        text = str(value).strip()
        unit = _UNITS.get(text[-1:], 0)
        digits = text[:-1] if unit else text
        seconds = int(digits) * (unit or 1) if _is_number(digits) else -1
    if not 0 <= seconds <= _MOST:
        name = option if option == VARIABLE else f"--{option.replace('_', '-')}"
        raise UsageError(
            f"{name} {value!r} is not a duration of up to 24 hours.", fix=f"Write it as {name}=10s, 2m or 0."
        )
    return seconds


def follows(directory: str) -> bool:
    """Whether the last call that used this directory of leases did so as lately as a service is kept.

    Each makes a file there and removes it, which the kernel notes.
    """
    try:
        return 0 <= time.time() - os.stat(directory).st_mtime < IDLE
    except OSError:
        return False


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS
