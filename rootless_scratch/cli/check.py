"""`rootless-scratch check`: will it start, and if not, why and what to do."""

from __future__ import annotations

import click

from rootless_scratch.cli.output import colour, common_options, print_findings, print_json, showable

_COLOURS = {"starts": "green", "fails": "red", "unknown": "yellow"}


@click.command("check")
@click.argument("subject", metavar="PROGRAM|IMAGE")
@common_options
def command(*, subject: str, as_json: bool, quiet: bool, verbose: bool) -> int:  # noqa: ARG001 - for errors
    """Judge a program file, or an image, without building or running it.

    oci:DIR[:REF], oci-archive:FILE and docker-archive:FILE are images outside of local storage. A word that is the
    path of a file is a program, any other names an image. Exits 1 if there is a finding of severity `error`.
    """
    from rootless_scratch.api import check
    from rootless_scratch.findings import errors_of

    judgement = check(subject)
    if as_json:
        print_json({"subject": judgement.subject, "verdict": judgement.verdict, "findings": judgement.findings})
    else:
        word = click.style(judgement.verdict, fg=_COLOURS[judgement.verdict], bold=True)
        hint = " (only a run can tell whether it starts)" if judgement.verdict == "unknown" else ""
        click.echo(f"{showable(subject)}: {word}{hint}", color=colour())
        print_findings(judgement.findings, quiet=quiet)
    return 1 if errors_of(judgement.findings) else 0
