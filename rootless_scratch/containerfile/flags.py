"""The flags of instructions: which there are, which of them have a value, and what is wrong with one."""

from __future__ import annotations

import re

from rootless_scratch.expressions import expression

_TRUTH = "truth"
_VALUE = "value"
_VALUES = "values"

FLAGS: dict[str, dict[str, str]] = {
    "FROM": {"platform": _VALUE},
    "COPY": {
        "chmod": _VALUE,
        "chown": _VALUE,
        "exclude": _VALUES,
        "from": _VALUE,
        "link": _TRUTH,
        "parents": _TRUTH,
    },
    "ADD": {
        "checksum": _VALUE,
        "chmod": _VALUE,
        "chown": _VALUE,
        "exclude": _VALUES,
        "keep-git-dir": _TRUTH,
        "link": _TRUTH,
        "unpack": _TRUTH,
    },
    "RUN": {"device": _VALUES, "mount": _VALUES, "network": _VALUE, "security": _VALUE},
    "HEALTHCHECK": {
        "interval": _VALUE,
        "retries": _VALUE,
        "start-interval": _VALUE,
        "start-period": _VALUE,
        "timeout": _VALUE,
    },
}
"""All others have none."""

UNREAD = ("ARG", "STOPSIGNAL")
"""Instructions at which builders pass over flags."""

_PART = expression(r"(\d++(?:\.\d*+)?|\.\d++)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_DURATION = expression(rf"\+?(?:0|(?:{_PART.pattern})+)", re.ASCII)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SHORTEST = 1e-3
_LONGEST = 100


def wrong_flag(instruction: str, name: str, value: str | None, *, again: bool) -> tuple[str, str] | None:
    """Cause and fix, where builders refuse this flag; `again` is one that the instruction has already."""
    kinds = FLAGS.get(instruction, {})
    kind = kinds.get(name)
    shown = f"`--{name[:_LONGEST]}`"
    if kind is None:
        there = ", ".join(f"--{each}" for each in kinds)
        return (
            f"{instruction} has no flag {shown}.",
            f"Remove it, or use one of {there}."
            if there
            else "Remove it; where it is an argument, use the JSON form.",
        )
    if again and kind != _VALUES:
        return f"{instruction} has the flag {shown} more than once.", "Keep one of them."
    if kind == _TRUTH:
        if value is not None and value.lower() not in ("true", "false"):
            return f"{shown} is either true or false.", f"Write `--{name}`, or `--{name}=false`."
        return None
    if value is None:
        return f"{shown} needs a value.", f"Write `--{name}=VALUE`, without spaces around `=`."
    return _wrong_health(name, value) if instruction == "HEALTHCHECK" and value else None


def _wrong_health(name: str, value: str) -> tuple[str, str] | None:
    if name == "retries":
        if re.fullmatch(r"\+?0*+\d{1,9}", value, re.ASCII):
            return None
        return "`--retries` is not a number of times.", "Write a number, as in `--retries=3`."
    if len(value) <= _LONGEST and _DURATION.fullmatch(value):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
        if seconds == 0 or seconds >= _SHORTEST:
            return None
        return f"`--{name}` is shorter than a millisecond.", f"Write a longer one, as in `--{name}=1s`."
    return f"`--{name}` is not a duration.", f"Write a number with a unit, as in `--{name}=30s` or `1m30s`."
