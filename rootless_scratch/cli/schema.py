"""`rootless-scratch schema`: the JSON Schema of scratch.toml, for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rootless_scratch.cli.output import common_options, print_json

if TYPE_CHECKING:
    from rootless_scratch.cli.show import Show


@click.command("schema")
@common_options
def command(*, show: Show) -> int:
    """Print the JSON Schema of scratch.toml (draft-07), with which editors complete and check it.

    Write it beside the file, `rootless-scratch schema > scratch.schema.json`, and begin the file with
    `#:schema scratch.schema.json`.
    """
    from rootless_scratch.verbs.schema import schema_text

    text = schema_text()
    if show.as_json:
        import json

        print_json({"json_schema": json.loads(text)})
    else:
        click.echo(text, nl=False)
    return 0
