"""`rootless-scratch push`: an image to a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.options import access_from, verb_options
from rootless_scratch.cli.output import common_options, say
from rootless_scratch.cli.ship_options import ship

if TYPE_CHECKING:
    from rootless_scratch.cli.show import Show


@click.command("push")
@click.argument("image")
@click.argument("destination", metavar="DEST")
@verb_options("push")
@common_options
def command(
    *,
    image: str,
    destination: str,
    compress: str | None,
    limits: dict[str, int] | None,
    show: Show,
    **values: Any,  # noqa: ANN401 - click's values of access_options
) -> int:
    """Send IMAGE to DEST, and print the digest that it has there.

    IMAGE is a name or an image ID of local storage, oci:DIR[:REF], oci-archive:FILE or docker-archive:FILE. DEST
    is [docker://]HOST/NAME:TAG, or an output as of `save`. Log in with `skopeo login` or `podman login`.
    The name by which exactly this image is pulled, HOST/NAME@DIGEST, goes to stderr.
    """
    from rootless_scratch.image.references import with_transport

    shipped = ship(
        image,
        (with_transport(destination),),
        compress=compress,
        access=access_from(values),
        limits=limits,
        show=show,
    )
    if show.verbose:
        say(f"image ID: {shipped.image_id}")
        say(f"sent: {shipped.size} bytes in {len(shipped.layers)} layers")
    return 0
