"""The options of a table for click, and their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rootless_scratch.image.plan.kinds import Option


def click_option(option: Option) -> Callable[[Any], Any]:
    """The option for click, by its name in Python."""
    how: dict[str, Any] = {"metavar": option.metavar, "multiple": option.kind.many, "type": option.kind.type}
    # False would let click take a value that begins with a dash for another option.
    is_flag = True if option.metavar is None else None
    return click.option(option.name, *option.flags, is_flag=is_flag, help=option.help, **how)


def options_set(options: Iterable[Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """What the command line gave, as Python would; raises UsageError."""
    found = {}
    for option in options:
        value = values.get(option.name)
        if value is not None and option.kind.from_flag is not None:
            value = option.kind.from_flag(option.flags[-1], value)
        if value is not None and value is not False:
            found[option.name] = value
    return found
