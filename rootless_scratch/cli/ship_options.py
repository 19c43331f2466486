"""What verbs that send images have in common: how they do it, and how what was sent is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.options import options_set
from rootless_scratch.cli.output import Show, print_json, say
from rootless_scratch.ship.access import Access

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rootless_scratch.image.finished import Shipped, WrittenOutput


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
    from msgspec.structs import replace

    from rootless_scratch.cli.piped import goes_to_stdout, to_stdout
    from rootless_scratch.cli.progress import Bar
    from rootless_scratch.verbs.ship import ship_image

    with (
        to_stdout(outputs, as_json=show.as_json) as destinations,
        Bar(quiet=show.quiet or show.as_json) as progress,
    ):
        shipped = ship_image(
            image,
            destinations,
            compress=compress,
            access=access,
            limits=limits,
            repair=repair,
            progress=progress,
        )
    written = [replace(each, ref=ref) for each, ref in zip(shipped.outputs, outputs, strict=True)]
    shipped = replace(shipped, outputs=tuple(written))
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
        say_pushed(shipped.outputs)
    if not any(map(goes_to_stdout, outputs)):
        click.echo(shipped.digest)
    elif not show.quiet:
        say(shipped.digest)
    return shipped


def say_pushed(outputs: Iterable[WrittenOutput]) -> None:
    """Say the names by which exactly this is pulled from registries."""
    for name in dict.fromkeys(output.pull for output in outputs if output.pull is not None):
        say(f"pushed: {name}")
