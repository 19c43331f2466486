"""`rootless-scratch init`: a commented scratch.toml to begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rootless_scratch.cli.excerpts import showable
from rootless_scratch.cli.options import verb_options
from rootless_scratch.cli.output import common_options, named, print_findings, print_json, say

if TYPE_CHECKING:
    from rootless_scratch.cli.show import Show


@click.command("init")
@click.argument("subject", metavar="PROGRAM|CONTAINERFILE")
@verb_options("init")
@common_options
def command(*, subject: str, output: str | None, force: bool, show: Show) -> int:
    """Write a scratch.toml for PROGRAM, with the libraries and the essentials that it needs, and why.

    For a CONTAINERFILE it lists what the last stage, FROM scratch, copies from the directory of the file, and its
    config. What the stage copies from other stages is expected beside the scratch.toml.

    `rootless-scratch build --spec scratch.toml` builds it. An existing file is kept unless --force is passed.
    """
    from rootless_scratch.verbs.init import FILE, init_text, write_file

    path = FILE if output is None else output
    to_stdout = path == "-"
    written = init_text(subject, None if to_stdout else path)
    if not to_stdout:
        write_file(written.text, path, force=force)
    if show.as_json:
        file = None if to_stdout else path
        print_json({"file": file, **named(written, "text findings remarks missing")})
        return 0
    print_findings((each for each in written.findings if each.severity != "info"), quiet=show.quiet)
    for remark in () if show.quiet else written.remarks:
        say(f"note: {remark}")
    if written.missing and not show.quiet:
        say(f"note: put {', '.join(map(showable, written.missing))} beside it, which other stages make.")
    if to_stdout:
        click.echo(written.text, nl=False)
    elif not show.quiet:
        say(f"written: {showable(path)}; `rootless-scratch build --spec {showable(path)}` builds it")
    return 0
