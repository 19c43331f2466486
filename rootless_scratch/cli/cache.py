"""`rootless-scratch cache`: the compressed layers that builds keep on this host."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from rootless_scratch.cli.options import verb_options
from rootless_scratch.cli.output import common_options, named, print_json, say

if TYPE_CHECKING:
    from rootless_scratch.cli.show import Show
    from rootless_scratch.verbs.cache import CachedLayer

_ACTIONS = ("ls", "prune", "verify")


@click.command("cache")
@click.argument("action", metavar="ls|prune|verify", type=click.Choice(_ACTIONS))
@verb_options("cache")
@common_options
def command(*, action: str, keep: str | None, older_than: str | None, show: Show) -> int:
    """List, remove or verify the compressed layers that `build` and `bake` keep to take them again.

    `ls` lists them, what was used last first. `prune` removes those that were not used for longest until --keep
    bytes are left, or with --older-than those that were not used for so long; without either, all. `verify` reads
    and unpacks every one, and removes what is damaged: the exit code is then 1.

    Builds look after the size by themselves: 10 GB, and a tenth of the file system at most.
    """
    from rootless_scratch.verbs.cache import cache, prune, verify

    if action != "prune" and (keep or older_than):
        raise click.UsageError("--keep and --older-than are for `cache prune`.")
    if action == "prune":
        pruned = prune(keep=keep, older_than=older_than)
        if show.as_json:
            print_json(named(pruned, "removed freed size"))
        else:
            click.echo(
                f"{_layers(pruned.removed)} removed, {_bytes(pruned.freed)}; {_bytes(pruned.size)} are left"
            )
        return 0
    if action == "verify":
        wrong = verify()
        if show.as_json:
            print_json({"removed": [_answer(each) for each in wrong]})
        else:
            for each in wrong:
                say(f"{each.name}: damaged, and removed")
            click.echo(_layers(len(wrong), "damaged "))
        return 1 if wrong else 0
    found = cache()
    if show.as_json:
        layers = [_answer(each) for each in found.layers]
        print_json({**named(found, "directory limit size"), "layers": layers})
        return 0
    for each in found.layers:
        days = max(0.0, time.time() - each.used) / 86_400
        click.echo(
            f"{each.digest or each.name}  {_bytes(each.size):>9}  {each.compression or 'damaged':8}  {days:.1f} d"
        )
    if not show.quiet:
        where = found.directory or "nowhere"
        say(f"{_layers(len(found.layers))}, {_bytes(found.size)} of {_bytes(found.limit)} at most, in {where}")
    return 0


def _answer(layer: CachedLayer) -> dict[str, object]:
    return named(layer, "name digest diff_id compression size used")


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _layers(count: int, kind: str = "") -> str:
    return f"{count} {kind}layer{'' if count == 1 else 's'}"
