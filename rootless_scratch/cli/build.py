"""`rootless-scratch build`: program files become an image in local storage, a layout, an archive or a registry."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.answers import in_the_report, read_format
from rootless_scratch.cli.building import built, print_image, report
from rootless_scratch.cli.file_options import file_options, request_from
from rootless_scratch.cli.image_options import image_options, images_from, sbom_option, tag_option
from rootless_scratch.cli.options import access_from, verb_options
from rootless_scratch.cli.output import common_options, error_answer, image_answer, print_error, print_json, say
from rootless_scratch.errors import ScratchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless_scratch.cli.show import Show
    from rootless_scratch.containerfile.request import FileRequest
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.spec import NamedSpec


_ELSEWHERE = ("access", "cache_from", "cache_to")


@click.command("build")
@image_options
@tag_option
@sbom_option
@file_options
@verb_options("build")
@common_options
def command(
    *,
    output: tuple[str, ...],
    backend: str | None,
    compress: str | None,
    dry_run: bool,
    check: bool,
    form: str | None,
    fix: bool,
    yes: bool,
    show: Show,
    **values: Any,  # noqa: ANN401 - click's values of the other options
) -> int:
    """Turn PROGRAMs into an image of one layer that holds them and nothing else; with -f, a Containerfile.

    DEST is `/` and the file's name unless given. The first program is the entrypoint. A program that would
    not start in an empty image is refused, with the reason and the fix.

    PROGRAM `-` is read from stdin, and its DEST is `/` and the image's name without host, path and tag;
    `/dev/stdin:DEST` names another.

    A file of --spec may have several images: all are built, in its order, unless --image selects some. Where one
    fails the others are built all the same, and the exit code is 1.

    With -f FILE the one argument is CONTEXT, the directory that COPY and ADD read, by default the working
    directory. All other options override what the file says (docs/containerfile.md).
    """
    from msgspec.structs import replace

    from rootless_scratch.cli.piped import from_stdin

    how: dict[str, Any] = {"check": check, "backend": backend, "compress": compress}
    read_format(form, show)
    of_file = request_from(values)
    if fix or yes:
        from rootless_scratch.cli.fixing import require_file

        require_file(fix=fix, yes=yes, is_file=of_file is not None)
        if dry_run:
            raise click.UsageError("--fix writes the Containerfile, and --dry-run writes nothing.")
    if of_file is not None:
        with in_the_report(of_file[0].file, form, show):
            _build_file(*of_file, output, how, values, dry_run=dry_run, fix=fix, yes=yes, show=show)
        return 0
    subject = next((each.partition(":")[0] for each in values["programs"]), "image")
    with in_the_report(subject, form, show), from_stdin(values["programs"], values["tag"]) as programs:
        elsewhere = _elsewhere(values)
        images = images_from({**values, "programs": programs.arguments})
        if len(images) > 1:
            _require_apart(images, (*values["tag"], *output, *values["programs"], *([form] if form else [])))
            _require_named(images, dry_run=dry_run)
            return _build_several(images, {**how, **elsewhere}, show, dry_run=dry_run)
        from rootless_scratch.verbs.build import build_spec, plan_spec

        spec, output = images[0].spec, output or images[0].output
        if dry_run:
            print_json(_planned(partial(plan_spec, spec), output, how, show))
            return 0
        _require_name(spec.names, output)
        image = _built(partial(build_spec, spec), output, {**how, **elsewhere}, show)
        image = replace(image, findings=programs.renamed(image.findings))
        print_image(image, output, show, forced=not check)
    return 0


def _elsewhere(values: dict[str, Any]) -> dict[str, Any]:
    """What is said of registries and caches."""
    return {"access": access_from(values), "cache_from": values["cache_from"], "cache_to": values["cache_to"]}


def _require_apart(images: tuple[NamedSpec, ...], of_one: tuple[str, ...]) -> None:
    """Raise UsageError where several images would get one name, one output, one program or one report."""
    if of_one:
        listed = ", ".join(image.name for image in images)
        raise click.UsageError(
            f"PROGRAM, -t, -o and --report are for one image, and the file has {listed}: choose one by --image, "
            "or write `programs`, `tag` and `output` in the file."
        )
    from rootless_scratch.image.references import parse_references

    parse_references(reference for image in images for reference in image.output)
    described = [(image.name, image.spec, image.output) for image in images if image.spec.sboms]
    if described:
        from rootless_scratch.verbs.sbom_files import require_apart

        require_apart(described)


def _require_named(images: tuple[NamedSpec, ...], *, dry_run: bool) -> None:
    for image in images:
        if not (dry_run or image.spec.names or image.output):
            raise click.UsageError(f"Image {image.name!r} of the file has neither `tag` nor `output`.")


def _build_several(images: tuple[NamedSpec, ...], how: dict[str, Any], show: Show, *, dry_run: bool) -> int:
    """Each after the other; what keeps one from being built is told, and the next one is begun."""
    from rootless_scratch.verbs.build import build_spec, plan_spec

    results: list[dict[str, Any]] = []
    failed = False
    for image in images:
        name = {"image": image.name}
        if not (show.quiet or dry_run or show.as_json):
            say(f"image {image.name}:")
        try:
            if dry_run:
                planned_by = {key: value for key, value in how.items() if key not in _ELSEWHERE}
                results.append(name | _planned(partial(plan_spec, image.spec), image.output, planned_by, show))
                continue
            made = _built(partial(build_spec, image.spec), image.output, how, show)
        except ScratchError as error:
            failed = True
            results.append(name | error_answer(error))
            print_error(error, as_json=False, verbose=show.verbose)
            continue
        results.append(name | image_answer(made))
        if not show.as_json:
            print_image(made, image.output, show, forced=not how["check"], label=f"{image.name} ")
    if show.as_json or dry_run:
        print_json({"results": results})
    return 1 if failed else 0


def _build_file(
    request: FileRequest,
    options: dict[str, Any],
    output: tuple[str, ...],
    how: dict[str, Any],
    values: dict[str, Any],
    *,
    dry_run: bool,
    fix: bool,
    yes: bool,
    show: Show,
) -> None:
    """The image of a Containerfile, or the plan of it."""
    from rootless_scratch.verbs.build_file import build_file, plan_file

    if dry_run:
        print_json(_planned(partial(plan_file, request, options), output, how, show))
        return
    _require_name(options.get("tag", ()), output)
    how = {**how, **_elsewhere(values)}
    build = partial(_built, partial(build_file, request, options), output, how, show)
    if fix:
        from rootless_scratch.cli.fixing import fix_and_build, fix_before

        quiet = show.quiet or show.as_json
        # Who has said no is not asked again by the build, which finds the same.
        is_declined = fix_before(request, options, yes=yes, quiet=quiet) is None
        image = build() if is_declined else fix_and_build(build, request, yes=yes, quiet=quiet)
    else:
        image = build()
    print_image(image, output, show, forced=not how["check"])


def _require_name(names: Sequence[str], output: tuple[str, ...]) -> None:
    if not (names or output):
        raise click.UsageError("Missing option '-t' / '--tag': the image needs a name, or an output with -o.")


def _planned(plan: Callable[..., Any], output: tuple[str, ...], how: dict[str, Any], show: Show) -> dict[str, Any]:
    """The plan for JSON; nothing is built. `plan` is as `plan_spec`, but for what is planned."""
    from rootless_scratch.cli.piped import goes_to_stdout
    from rootless_scratch.cli.plans import plan_as_json

    files_named = [each for each in output if not goes_to_stdout(each)]
    plans, findings = plan(output=files_named, **how)
    report(findings, quiet=show.quiet, forced=not how["check"])
    shown = [plan_as_json(each.plan) for each in plans]
    return {**({"plan": shown[0]} if len(shown) == 1 else {"plans": shown}), "findings": findings}


def _built(build: Callable[..., Image], output: tuple[str, ...], how: dict[str, Any], show: Show) -> Image:
    root = click.get_current_context().find_root()
    # What was started early serves the first image.
    begun, root.obj = root.obj, None
    return built(build, output, how, show, begun)
