"""Arguments as click reads them, which those that are read without it are held to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless_scratch.cli.show import Show

if TYPE_CHECKING:
    from collections.abc import Sequence

    import click


def read_by_click(verb: str, command: click.Command, words: Sequence[str]) -> tuple[dict[str, Any], Show]:
    """The values of the options and arguments of a verb, and how it is shown."""
    with command.make_context(verb, list(words)) as context:
        values: dict[str, Any] = dict(context.params)
    return values, Show(*(values.pop(name) for name in ("as_json", "quiet", "verbose")))
