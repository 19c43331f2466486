"""`rootless-scratch build`: program files become an image in local storage, a layout, an archive or a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.image_options import image_options, spec_from, tag_option
from rootless_scratch.cli.options import verb_options
from rootless_scratch.cli.output import Show, common_options, named, print_findings, print_json, say
from rootless_scratch.cli.piped import Programs, from_stdin, goes_to_stdout, to_stdout
from rootless_scratch.cli.ship_options import access_from, say_pushed

if TYPE_CHECKING:
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.spec import Spec
    from rootless_scratch.ship.access import Access


@click.command("build")
@image_options
@tag_option
@verb_options("build")
@common_options
def command(
    *,
    output: tuple[str, ...],
    backend: str | None,
    compress: str | None,
    dry_run: bool,
    check: bool,
    show: Show,
    **values: Any,  # noqa: ANN401 - click's values of the other options
) -> int:
    """Turn PROGRAMs into an image of one layer that holds them and nothing else.

    DEST is `/` and the file's name unless given. The first program is the entrypoint. A program that would
    not start in an empty image is refused, with the reason and the fix.

    PROGRAM `-` is read from stdin, and its DEST is `/` and the image's name without host, path and tag;
    `/dev/stdin:DEST` says another.
    """
    with from_stdin(values["programs"], values["tag"]) as programs:
        access = access_from(values)
        return _build_of(
            spec_from({**values, "programs": programs.arguments}),
            access,
            programs,
            output=output,
            backend=backend,
            compress=compress,
            dry_run=dry_run,
            check=check,
            show=show,
        )


def _build_of(
    spec: Spec,
    access: Access,
    programs: Programs,
    *,
    output: tuple[str, ...],
    backend: str | None,
    compress: str | None,
    dry_run: bool,
    check: bool,
    show: Show,
) -> int:
    if not (spec.names or output or dry_run):
        raise click.UsageError("Missing option '-t' / '--tag': the image needs a name, or an output with -o.")
    how: dict[str, Any] = {"check": check, "output": output, "backend": backend, "compress": compress}
    if dry_run:
        from rootless_scratch.cli.plans import plan_as_json
        from rootless_scratch.verbs.build import plan_spec

        files_named = [each for each in output if not goes_to_stdout(each)]
        plans, findings = plan_spec(spec, **{**how, "output": files_named})
        _report(findings, quiet=show.quiet, forced=not check)
        shown = [plan_as_json(each.plan) for each in plans]
        print_json({**({"plan": shown[0]} if len(shown) == 1 else {"plans": shown}), "findings": findings})
        return 0
    from msgspec.structs import replace

    from rootless_scratch.cli.progress import Bar
    from rootless_scratch.verbs.build import build_spec

    session = click.get_current_context().find_root().obj
    with (
        to_stdout(output, as_json=show.as_json) as outputs,
        Bar(quiet=show.quiet or show.as_json) as progress,
    ):
        image = build_spec(spec, session=session, access=access, progress=progress, **{**how, "output": outputs})
    written = [replace(each, ref=ref) for each, ref in zip(image.outputs, output, strict=True)]
    image = replace(image, outputs=tuple(written), findings=programs.renamed(image.findings))
    if show.as_json:
        names = "image_id names platform diff_ids size files backend outputs digest images findings notes"
        own = {"platform": image.platform, "image_id": image.image_id, "digest": image.digest}
        print_json({**named(image, names), "images": image.images or [own]})
        return 0
    _report(image.findings, quiet=show.quiet, forced=not check)
    if not show.quiet:
        for note in image.notes:
            say(f"note: {note}")
        say_pushed(image.outputs)
    if not any(map(goes_to_stdout, output)):
        click.echo(image.image_id)
    elif not show.quiet:
        say(image.image_id)
    if show.verbose:
        _describe(image)
    return 0


def _report(findings: tuple[Finding, ...], *, quiet: bool, forced: bool) -> None:
    shown = [finding for finding in findings if finding.severity != "info"]
    print_findings(shown, quiet=quiet)
    if forced and any(finding.severity == "error" for finding in findings):
        say("rootless-scratch: built anyway, as --no-check says; it will not start.")


def _describe(image: Image) -> None:
    say(f"names: {', '.join(image.names)}")
    say(f"platform: {image.platform}")
    say(f"files: {image.files}, {image.size} bytes in {len(image.layers)} layer")
    say(f"{'index' if image.images else 'manifest'}: {image.digest}")
    for each in image.images:
        say(f"image for {each.platform}: {each.image_id}")
    for output in image.outputs:
        say(f"written: {output.ref}")
