"""The options of a table for click, and what was given by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rootless_scratch.image.kinds import Option


def click_option(option: Option) -> Callable[[Any], Any]:
    """The option for click, by its name in Python."""
    how: dict[str, Any] = {"metavar": option.metavar, "multiple": option.kind.many, "type": option.kind.type}
    # False would let click take a value that begins with a dash for another option.
    is_flag = True if option.metavar is None else None
    return click.option(option.name, *option.flags, is_flag=is_flag, help=option.help, **how)


def given_by(options: Iterable[Option], words: Mapping[str, Any]) -> dict[str, Any]:
    """What the command line gave, as Python would; raises UsageError."""
    given = {}
    for option in options:
        word = words.get(option.name)
        # Where a value is named, false and 0 are said.
        if word is None or (word is False and option.metavar is None):
            continue
        if option.kind.words is not None:
            word = option.kind.words(option.flags[-1], word)
        if word is not None:
            given[option.name] = word
    return given
