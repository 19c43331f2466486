"""What verbs that send images have in common: how they do it, and how what was sent is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.options import options_set
from rootless_scratch.cli.output import Show, print_json, say
from rootless_scratch.ship.access import Access

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.image.finished import Shipped


def access_from(values: dict[str, Any]) -> Access:
    """How registries are spoken to, of the options of a verb."""
    return Access(**options_set(Access.options.values(), values))


def ship(
    image: str,
    outputs: Sequence[str],
    *,
    compress: str | None,
    access: Access | None,
    limits: dict[str, int] | None,
    show: Show,
    repair: bool = False,
) -> Shipped:
    """Send it, with a bar or the step on a terminal, and print what `push` and `save` print: the digest."""
    from rootless_scratch.cli.progress import Bar
    from rootless_scratch.verbs.ship import ship_image

    with Bar(quiet=show.quiet or show.as_json) as progress:
        shipped = ship_image(
            image,
            outputs,
            compress=compress,
            access=access,
            limits=limits,
            repair=repair,
            progress=progress,
        )
    if show.as_json:
        print_json(
            {
                "image_id": shipped.image_id,
                "platform": shipped.platform,
                "digest": shipped.digest,
                "size": shipped.size,
                "layers": shipped.layers,
                "outputs": shipped.outputs,
                "notes": shipped.notes,
            }
        )
        return shipped
    if not show.quiet:
        for note in shipped.notes:
            say(f"note: {note}")
    click.echo(shipped.digest)
    return shipped
