"""The options of verbs that send images, and how what was sent is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.output import Show, print_json, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless_scratch.image.finished import Shipped
    from rootless_scratch.ship.registry import Access

ACCESS = ("authfile", "tls_verify", "cert_dir", "retries")


def access_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """How registries are spoken to; `access_from` reads them."""
    options = (
        click.option(
            "--authfile", metavar="FILE", help="Registry credentials [default: REGISTRY_AUTH_FILE, else podman's]."
        ),
        click.option(
            "--tls-verify",
            metavar="BOOL",
            type=click.BOOL,
            help="Require TLS [default: as registries.conf says, else true].",
        ),
        click.option("--cert-dir", metavar="DIR", help="Also trust the certificate authorities in DIR/*.crt."),
        click.option(
            "--retries",
            metavar="N",
            type=int,
            default=3,
            show_default=True,
            help="Retry transient failures N times.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def access_from(values: dict[str, Any]) -> Access:
    """Take the values of `access_options` out of the others."""
    from rootless_scratch.ship.registry import Access

    return Access(**{name: values.pop(name) for name in ACCESS})


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
