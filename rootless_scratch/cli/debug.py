"""`rootless-scratch debug`: a shell with tools beside a container that has none, or over the files of an image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from rootless_scratch.cli.options import click_option, verb_options
from rootless_scratch.cli.output import common_options
from rootless_scratch.cli.running import noting, run_and_tell
from rootless_scratch.engine.request.request import Request
from rootless_scratch.errors import UsageError

if TYPE_CHECKING:
    from rootless_scratch.cli.show import Show
    from rootless_scratch.engine.container.ending import RunResult


@click.command("debug")
@click.argument("subject", metavar="CONTAINER|IMAGE")
@verb_options("debug")
@click_option(Request.options["url"])
@click_option(Request.options["connection"])
@common_options
def command(
    *,
    subject: str,
    script: str | None,
    toolbox: str | None,
    user: str | None,
    url: str | None,
    connection: str | None,
    show: Show,
) -> int:
    """Open a shell with tools beside a running CONTAINER, or over the files of an IMAGE.

    Beside a container, the shell has the same processes (`ps`), network and IPC, and sees the container's root at
    /target; an image is at /target read-only. Nothing is written into either. The tools are those of this host's
    busybox; at the end they are removed, but for their image, rootless-scratch-toolbox.

    With --exec the exit code is the command's; 125 we failed.
    """
    if show.as_json and script is None:
        raise UsageError("--json keeps the output, and a shell shows it.", fix="Name a command: --exec CMD.")
    from rootless_scratch.verbs.debug import debug

    def call() -> RunResult:
        return debug(
            subject,
            script,
            toolbox=toolbox,
            user=user,
            url=url,
            connection=connection,
            terminal=script is None and os.isatty(0) and os.isatty(1),
            stdout=None if show.as_json else 1,
            stderr=None if show.as_json else 2,
            say=noting(show),
            opening=click.get_current_context().find_root().obj,
        )

    return run_and_tell(call, as_json=show.as_json)
