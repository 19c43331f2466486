"""What verbs that send images have in common: how they do it, and how what was sent is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.cli.building import print_written
from rootless_scratch.cli.output import print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.cli.show import Show
    from rootless_scratch.image.finished import Shipped
    from rootless_scratch.ship.access import Access


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

    from rootless_scratch.cli.piped import to_stdout
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
    print_written(shipped.digest, shipped.outputs, outputs, quiet=show.quiet)
    return shipped
