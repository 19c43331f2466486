"""Arguments read by the rows of a table of options without click, which takes longer than all else at the start.

What is not plain (help, an option that there is not, a value that is missing) is left to click, which says so.
`tests/unit/test_lean_run.py` and `test_lean_build.py` hold both to the same.
"""

from __future__ import annotations

from rootless_scratch.cli.show import Show
from rootless_scratch.data import Data

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from rootless_scratch.image.kinds import Option

    Rows = Mapping[str, Option]

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


class Plain(Data):
    """What was read: `values` by the names that Python has for the options, as click has them.

    What is no option, and is no value of one, stands in `others`.
    """

    others: tuple[str, ...]
    values: dict[str, Any]
    show: Show


class NotPlainError(Exception):
    """This is for click to read, or to refuse."""


def by_flag(options: Iterable[Option]) -> dict[str, Option]:
    """The rows of options, by each of their flags."""
    return {flag: option for option in options for flag in option.flags}


def read_plain(typed: Sequence[str], options: Rows, *, first_ends: bool = False) -> Plain:
    """Read arguments; with `first_ends` all behind the first of the others are others. Raises NotPlainError."""
    others: list[str] = []
    values: dict[str, Any] = {}
    shown = dict.fromkeys(_EVERYWHERE.values(), False)
    at = 0
    while at < len(typed) and not (others and first_ends):
        argument = typed[at]
        at += 1
        if argument == "--":
            break
        if not argument.startswith("-") or argument == "-":
            others.append(argument)
            continue
        flags, value = _parted(argument, options)
        for flag in flags:
            if flag in _EVERYWHERE:
                shown[_EVERYWHERE[flag]] = True
            elif options[flag].metavar is None:
                _switch(values, options[flag])
            else:
                if value is None:
                    if at == len(typed):
                        raise NotPlainError
                    value = typed[at]
                    at += 1
                _add(values, options[flag], value)
    return Plain(others=(*others, *typed[at:]), values=values, show=Show(**shown))


def _parted(argument: str, options: Rows) -> tuple[list[str], str | None]:
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
            raise NotPlainError
        takes_value = flag in options and options[flag].metavar is not None
        if (takes_value and len(flags) > 1) or (written is not None and not takes_value):
            raise NotPlainError
    return flags, written


def _switch(values: dict[str, Any], option: Option) -> None:
    values[option.name] = not option.is_negative


def _add(values: dict[str, Any], option: Option, text: str) -> None:
    if option.kind.type not in _READ:
        raise NotPlainError
    try:
        value = _READ[option.kind.type](text)
    except ValueError as error:
        raise NotPlainError from error
    values[option.name] = (*values.get(option.name, ()), value) if option.kind.many else value
