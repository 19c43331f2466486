"""`rootless-scratch generate`: what starts an image later and elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.excerpts import showable
from rootless_scratch.cli.options import verb_options
from rootless_scratch.cli.output import common_options, named, print_json, say
from rootless_scratch.cli.progress import Bar

if TYPE_CHECKING:
    from rootless_scratch.cli.show import Show


@click.command("generate")
@click.argument("form", metavar="kubernetes|quadlet|compose|systemd")
@click.argument("image")
@click.argument("arguments", metavar="[ARG]...", nargs=-1)
@verb_options("generate")
@common_options
def command(
    *,
    form: str,
    image: str,
    arguments: tuple[str, ...],
    output: str | None,
    show: Show,
    **values: Any,  # noqa: ANN401 - click's values of the other options
) -> int:
    """Print what starts IMAGE there, hardened as `run` starts it.

    It is made of what the image says: its ports, user, volumes, health check and stop signal. ARGs are the
    program's; those that begin with a dash stand behind `--`.

    IMAGE is a name or an image ID of local storage, oci:DIR[:REF], oci-archive:FILE, docker-archive:FILE or
    docker://HOST/NAME:TAG, which is fetched to be read.
    """
    from rootless_scratch.image.kinds import options_set
    from rootless_scratch.verbs.generate import generate, write_file
    from rootless_scratch.verbs.options import in_python

    limits = values.pop("limits")
    options = options_set(in_python("generate").values(), values) | ({"limits": limits} if limits else {})
    with Bar(quiet=show.quiet or show.as_json) as progress:
        made = generate(form, image, arguments, options, progress=progress)
    output = None if output == "-" else output
    if output is not None:
        write_file(made.text, output)
    if show.as_json:
        print_json({"file": output, **named(made, "format name image text notes")})
        return 0
    for note in () if show.quiet else made.notes:
        say(f"note: {note}")
    if output is None:
        click.echo(made.text, nl=False)
    elif not show.quiet:
        say(f"written: {showable(output)}")
    return 0
