"""`rootless-scratch save`: an image to a file."""

from __future__ import annotations

import click

from rootless_scratch.cli.limit_option import limit_option
from rootless_scratch.cli.output import Show, common_options, say
from rootless_scratch.cli.ship_options import ship


@click.command("save")
@click.argument("image")
@click.option(
    "-o",
    "--output",
    "outputs",
    metavar="FILE|TRANSPORT:PATH[:REF]",
    multiple=True,
    required=True,
    help="An archive for `docker load` and `podman load`, oci:DIR or oci-archive:FILE; repeatable.",
)
@click.option("--compress", metavar="HOW", help="Layers: none, gzip[:LEVEL], zstd[:LEVEL] [default: as they are].")
@click.option("--repair", is_flag=True, help="Repair layers that storage refuses; digests change.")
@limit_option
@common_options
def command(
    *,
    image: str,
    outputs: tuple[str, ...],
    compress: str | None,
    repair: bool,
    limits: dict[str, int] | None,
    show: Show,
) -> int:
    """Write IMAGE to files, each whole or not at all, and print the digest of its manifest.

    IMAGE is a name or an image ID of local storage, oci:DIR[:REF], oci-archive:FILE or docker-archive:FILE.
    """
    from rootless_scratch.image.references import with_transports

    shipped = ship(
        image, with_transports(outputs), compress=compress, access=None, limits=limits, repair=repair, show=show
    )
    if show.verbose:
        say(f"image ID: {shipped.image_id}")
        for output in shipped.outputs:
            say(f"written: {output.ref}")
    return 0
