"""The option of verbs that read images of anybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable


def limit_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--limit`, whose values come as `limits`: None, or all limits by name. Raises UsageError for a wrong one."""
    return click.option(
        "--limit",
        "limits",
        metavar="NAME=VALUE",
        multiple=True,
        callback=lambda _context, _option, values: _read(values),
        help="Raise a limit on reading images, e.g. expanded=2t (docs/limits.md); repeatable.",
    )(function)


def _read(values: tuple[str, ...]) -> dict[str, int] | None:
    if not values:
        return None
    from rootless_scratch.errors import UsageError
    from rootless_scratch.image.limits import parse_limits

    try:
        return parse_limits(values)
    except UsageError as error:
        raise click.UsageError(f"{error.message} {error.fix}") from error
