"""`rootless-scratch sbom`: what an image or a program consists of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.excerpts import showable
from rootless_scratch.cli.options import access_from, verb_options
from rootless_scratch.cli.output import common_options, named, print_findings, print_json, say
from rootless_scratch.cli.progress import Bar

if TYPE_CHECKING:
    from rootless_scratch.cli.show import Show
    from rootless_scratch.inventory.facts import Component


@click.command("sbom")
@click.argument("subjects", metavar="IMAGE|PROGRAM...", nargs=-1, required=True)
@verb_options("sbom")
@common_options
def command(
    *,
    subjects: tuple[str, ...],
    output: str | None,
    platform: str | None,
    sysroot: str | None,
    limits: dict[str, int] | None,
    show: Show,
    **values: Any,  # noqa: ANN401 - click's values of the other options
) -> int:
    """Print what IMAGE, or what PROGRAMs, consist of as SPDX 2.3 or CycloneDX 1.6, from its files alone.

    IMAGE is a name or an image ID of local storage, oci:DIR[:REF], oci-archive:FILE, docker-archive:FILE or
    docker://HOST/NAME:TAG, which is fetched to be read. A name that is the path of a file is a program.

    The packages of this host, or of --sysroot, are told of files that are theirs, byte for byte. What nothing is
    known of is listed by its sha256. The same files give the same document (docs/sbom.md).
    """
    from rootless_scratch.verbs.sbom import sbom_of
    from rootless_scratch.verbs.sbom_parts import write_document

    form, bundled = values.pop("format"), values.pop("bundle_libraries")
    with Bar(quiet=show.quiet or show.as_json) as progress:
        found = sbom_of(
            *subjects,
            format=form,
            bundle_libraries=bundled,
            sysroot=sysroot,
            platform=platform,
            limits=limits,
            access=access_from(values),
            progress=progress,
        )
    file = None if output in (None, "-") else output
    if file is not None:
        write_document(file, found.document)
    if show.as_json:
        print_json(
            {
                "subject": found.subject,
                "format": found.format,
                "file": file,
                "components": [_shown(each) for each in found.components],
                "findings": found.findings,
            }
        )
        return 0
    print_findings((each for each in found.findings if each.severity != "info"), quiet=show.quiet)
    if file is None:
        click.echo(found.document, nl=False)
    elif not show.quiet:
        unknown = sum(each.kind == "file" for each in found.components)
        count = len(found.components)
        parts = "1 component" if count == 1 else f"{count} components"
        files = "1 unknown file" if unknown == 1 else f"{unknown} unknown files"
        say(f"written: {showable(file)} ({parts}, {files} among them)")
    return 0


def _shown(component: Component) -> dict[str, Any]:
    return {
        **named(component, "kind name version purl license paths found_by built"),
        "hashes": dict(component.hashes),
        "more": dict(component.more),
    }
