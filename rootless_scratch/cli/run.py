"""`rootless-scratch run`: an image runs here; its output and its exit code are the program's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.output import common_options
from rootless_scratch.cli.run_options import GroupedCommand, options_from, run_options
from rootless_scratch.cli.running import run_shown

if TYPE_CHECKING:
    from rootless_scratch.cli.show import Show


@click.command("run", cls=GroupedCommand, context_settings={"allow_interspersed_args": False})
@click.argument("image", metavar="IMAGE|./PROGRAM")
@click.argument("arguments", metavar="[ARG]...", nargs=-1, type=click.UNPROCESSED)
@run_options
@common_options
def command(
    *,
    image: str,
    arguments: tuple[str, ...],
    show: Show,
    **values: Any,  # noqa: ANN401 - click's values of run_options
) -> int:
    """Run IMAGE of local storage through the podman API, hardened.

    A path, such as ./PROGRAM, is a program file: its image is made first, with the libraries that it needs, unless
    the same one is there already. oci:DIR, oci-archive:FILE and docker-archive:FILE run too.

    The root file system is read-only (/tmp, /run and /var/tmp are in memory), all capabilities are dropped,
    privileges cannot be gained, and the user is the image's; each of these has an option of its own. Images are
    pulled only with --pull. The container is removed at its end, unless --keep or -d is given.

    The exit code is the container's; 124: the timeout ran out; 125: rootless-scratch or podman failed; 126: the
    program cannot be invoked; 127: it was not found.
    """
    opening = click.get_current_context().find_root().obj
    return run_shown(image, arguments, options_from(values), show, opening)
