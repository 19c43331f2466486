"""`rootless-scratch containerfile`: the same image, by other tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.excerpts import showable
from rootless_scratch.cli.image_options import image_options, spec_from, tag_option
from rootless_scratch.cli.options import verb_options
from rootless_scratch.cli.output import common_options, print_findings, print_json, say

if TYPE_CHECKING:
    from rootless_scratch.cli.show import Show
    from rootless_scratch.findings import Finding


@click.command("containerfile")
@image_options
@tag_option
@verb_options("containerfile")
@common_options
def command(
    *,
    output: str | None,
    check: bool,
    show: Show,
    **values: Any,  # noqa: ANN401 - click's values of image_options
) -> int:
    """Print the Containerfile that gives the same files and the same config as `build`.

    With -o also the files that it copies are written, so that `buildah build`, `podman build` or
    `docker build` can build it; its first lines show the command.
    """
    from rootless_scratch.verbs.containerfile import write_spec

    spec = spec_from(values)
    findings: list[Finding] = []

    def judged(found: tuple[Finding, ...]) -> None:
        findings.extend(found)
        print_findings((finding for finding in found if finding.severity != "info"), quiet=show.quiet)

    text = write_spec(spec, output, check=check, judged=judged)
    if show.as_json:
        print_json({"containerfile": text, "directory": output, "findings": findings})
    elif output is None:
        click.echo(text, nl=False)
    elif not show.quiet:
        say(f"written: {showable(output)}/Containerfile and the files that it copies")
    return 0
