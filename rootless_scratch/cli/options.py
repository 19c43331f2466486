"""The options of a table for click, and their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.image.kinds import options_set

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rootless_scratch.image.kinds import Option
    from rootless_scratch.ship.access import Access


def click_option(option: Option, **how: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - click's keywords
    """The option for click, by its name in Python."""
    if option.is_negative:
        how["callback"] = lambda _context, _option, value: not value
    # False would let click take a value that begins with a dash for another option.
    is_flag = True if option.metavar is None else None
    return click.option(
        option.name,
        *option.flags,
        metavar=option.metavar,
        multiple=option.kind.many,
        type=option.kind.type,
        is_flag=is_flag,
        help=option.help,
        **how,
    )


def verb_options(verb: str, **required: bool) -> Callable[[Any], Any]:
    """The options of a verb, those that are `required` by their names; `limits` come read, or as None."""
    from rootless_scratch.verbs.options import LIMIT, OF_VERB

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(OF_VERB[verb]):
            how: dict[str, Any] = {"callback": _read_limits} if option is LIMIT else {}
            function = click_option(option, required=required.get(option.name, False), **how)(function)
        return function

    return add


def _read_limits(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, int] | None:
    if not values:
        return None
    from rootless_scratch.errors import UsageError
    from rootless_scratch.image.limits import parse_limits

    try:
        return parse_limits(values)
    except UsageError as error:
        raise click.UsageError(f"{error.message} {error.fix}") from error


def access_from(values: Mapping[str, Any]) -> Access:
    """How registries are spoken to, of the options of a verb; raises UsageError."""
    from rootless_scratch.ship.access import Access

    return Access(**options_set(Access.options.values(), values))
