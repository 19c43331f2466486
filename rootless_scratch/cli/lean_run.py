"""The arguments of `run`, read by the rows of its options without click, which takes longer than all else here.

What is not plain (help, an option that there is not, a value that is missing) is left to click, which says so.
`tests/unit/test_lean_run.py` holds both to the same.
"""

from __future__ import annotations

from rootless_scratch.cli.run_arguments import as_options
from rootless_scratch.cli.show import Show
from rootless_scratch.data import Data
from rootless_scratch.engine.request.request import Request
from rootless_scratch.errors import UsageError

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rootless_scratch.image.kinds import Option

_EVERYWHERE = {
    "--json": "as_json",
    "-q": "quiet",
    "--quiet": "quiet",
    "-v": "verbose",
    "-V": "verbose",
    "--verbose": "verbose",
}
"""What `common_options` of cli/output.py adds."""

_READ = {None: str, int: int, float: float}
"""What makes a value of text, by the type that click would be given; other types are left to it."""


class Arguments(Data):
    """What was read: `values` by the names that Python has for the options, as click has them."""

    image: str
    arguments: tuple[str, ...]
    values: dict[str, Any]
    show: Show


class _NotPlainError(Exception):
    """This is for click to read, or to refuse."""


def plain_arguments(typed: Sequence[str]) -> Arguments | None:
    """The arguments behind `run`; None where click is to read them."""
    options = {flag: option for option in Request.options.values() for flag in option.flags}

    def takes_value(name: str) -> bool:
        return name in options and options[name].metavar is not None

    try:
        return _read(as_options(typed, takes_value), options)
    except (_NotPlainError, UsageError, IndexError, ValueError):
        return None


def _read(typed: list[str], options: dict[str, Option]) -> Arguments:
    values: dict[str, Any] = {}
    shown = dict.fromkeys(_EVERYWHERE.values(), False)
    at = 0
    while at < len(typed) and typed[at].startswith("-") and typed[at] not in ("-", "--"):
        flags, value = _parted(typed[at], options)
        at += 1
        for flag in flags:
            if flag in _EVERYWHERE:
                shown[_EVERYWHERE[flag]] = True
            elif options[flag].metavar is None:
                values[options[flag].name] = True
            else:
                if value is None:
                    at += 1
                    # Where there is none, and no image either, an IndexError tells.
                    value = typed[at - 1]
                _add(values, options[flag], value)
    at += typed[at : at + 1] == ["--"]
    return Arguments(image=typed[at], arguments=tuple(typed[at + 1 :]), values=values, show=Show(**shown))


def _parted(argument: str, options: dict[str, Option]) -> tuple[list[str], str | None]:
    """The flags of one argument, and the value that is written to it.

    To a long one alone: a value written to a short one is rare, and so is one behind several.
    """
    if argument.startswith("--"):
        flag, equals, value = argument.partition("=")
        flags, written = [flag], value if equals else None
    else:
        flags, written = [f"-{letter}" for letter in argument[1:]], None
    for flag in flags:
        if flag not in options and flag not in _EVERYWHERE:
            raise _NotPlainError
        takes_value = flag in options and options[flag].metavar is not None
        if (takes_value and len(flags) > 1) or (written is not None and not takes_value):
            raise _NotPlainError
    return flags, written


def _add(values: dict[str, Any], option: Option, text: str) -> None:
    if option.kind.type not in _READ:
        raise _NotPlainError
    value = _READ[option.kind.type](text)
    values[option.name] = (*values.get(option.name, ()), value) if option.kind.many else value
