"""`rootless-scratch save`: an image to a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rootless_scratch.cli.options import verb_options
from rootless_scratch.cli.output import common_options, say
from rootless_scratch.cli.ship_options import ship

if TYPE_CHECKING:
    from rootless_scratch.cli.show import Show


@click.command("save")
@click.argument("image")
@verb_options("save", output=True)
@common_options
def command(
    *,
    image: str,
    output: tuple[str, ...],
    compress: str | None,
    repair: bool,
    limits: dict[str, int] | None,
    show: Show,
) -> int:
    """Write IMAGE to files, each whole or not at all, and print the digest of its manifest.

    With `-o -` (or oci-archive:-) the archive goes to stdout, and the digest to stderr.

    IMAGE is a name or an image ID of local storage, oci:DIR[:REF], oci-archive:FILE or docker-archive:FILE.
    """
    from rootless_scratch.image.references import with_transports

    shipped = ship(
        image, with_transports(output), compress=compress, access=None, limits=limits, repair=repair, show=show
    )
    if show.verbose:
        say(f"image ID: {shipped.image_id}")
        for written in shipped.outputs:
            say(f"written: {written.ref}")
    return 0
