"""The options of `run`, in the groups in which its help shows them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.options import click_option
from rootless_scratch.cli.run_arguments import as_options
from rootless_scratch.engine.request.request import Request
from rootless_scratch.image.kinds import options_set

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless_scratch.keywords import Options


def run_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Add all options."""
    for option in reversed(Request.options.values()):
        verb = click_option(option)(verb)
    return verb


def options_from(values: dict[str, Any]) -> Options:
    """The values of the command line as those of Python; raises UsageError."""
    found = options_set(Request.options.values(), values)
    options: Options = found  # type: ignore[assignment] # made of the same rows
    return options


class GroupedCommand(click.Command):
    """Reads arguments as podman's users write them, and shows its options below the names of their groups."""

    def takes_value(self, name: str) -> bool:
        """Whether an option of this name has a value."""
        return any(name in each.opts and not getattr(each, "is_flag", True) for each in self.params)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Raises UsageError for an option that there is not, with what there is in its place."""
        try:
            return super().parse_args(ctx, as_options(args, self.takes_value))
        except click.NoSuchOption as error:
            from rootless_scratch.cli.podman_habits import refuse_option

            raise refuse_option(error.option_name, error.possibilities) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One section for each group, and one for the rest."""
        records = {
            param.name: param.get_help_record(ctx)
            for param in self.get_params(ctx)
            if isinstance(param, click.Option)
        }
        for title, options in groupby(Request.options.values(), lambda option: option.group):
            rows = [row for row in (records.pop(option.name, None) for option in options) if row is not None]
            with formatter.section(title):
                formatter.write_dl(rows)
        rest = [row for row in records.values() if row is not None]
        with formatter.section("Everywhere"):
            formatter.write_dl(rest)
