"""The arguments of a plain `build PROGRAM... -t NAME`, or with -o, read without click."""

from __future__ import annotations

from rootless_scratch.cli.lean_arguments import NotPlainError, by_flag, read_plain
from rootless_scratch.image.spec import Spec
from rootless_scratch.verbs.options import OF_VERB

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.cli.lean_arguments import Plain

_OTHERWISE = ("form", "fix", "yes", "dry_run")
"""Options of `build` that make of it something else than a build of one image."""

_STDIN = ("-", "/dev/stdin")


def plain_build(typed: Sequence[str]) -> Plain | None:
    """The arguments behind `build`, PROGRAM as `programs` among the values; None where click is to read them."""
    rows = (*Spec.options.values(), *(each for each in OF_VERB["build"] if each.name not in _OTHERWISE))
    try:
        plain = read_plain(typed, by_flag(rows))
    except NotPlainError:
        return None
    # One that comes from stdin is kept in a file first, and what lacks a name or a program is refused.
    if any(each.partition(":")[0] in _STDIN for each in plain.others):
        return None
    if not plain.others or not (plain.values.get("tag") or plain.values.get("output")):
        return None
    return plain.but(values={**plain.values, "programs": plain.others})
