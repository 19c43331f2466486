"""The arguments of `run`, read without click."""

from __future__ import annotations

from rootless_scratch.cli.lean_arguments import NotPlainError, by_flag, read_plain
from rootless_scratch.cli.run_arguments import as_options
from rootless_scratch.engine.request.request import Request
from rootless_scratch.errors import UsageError

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.cli.lean_arguments import Plain


def plain_run(typed: Sequence[str]) -> Plain | None:
    """The arguments behind `run`, the image the first of the others; None where click is to read them."""
    options = by_flag(Request.options.values())

    def takes_value(name: str) -> bool:
        return name in options and options[name].metavar is not None

    try:
        plain = read_plain(as_options(typed, takes_value), options, first_ends=True)
    except (NotPlainError, UsageError):
        return None
    return plain if plain.others else None
