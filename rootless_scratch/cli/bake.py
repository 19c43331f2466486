"""`rootless-scratch bake`: the images of a file, several at a time."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.options import access_from, verb_options
from rootless_scratch.cli.output import (
    common_options,
    error_answer,
    image_answer,
    named,
    print_error,
    print_findings,
    print_json,
    print_verdict,
    say,
)

if TYPE_CHECKING:
    from rootless_scratch.bakefiles.results import Baked, Result
    from rootless_scratch.bakefiles.target import Targets
    from rootless_scratch.cli.show import Show


@click.command("bake")
@click.argument("arguments", metavar="[FILE] [TARGET]...", nargs=-1)
@click.option(
    "-f", "--file", "files", metavar="FILE", multiple=True, help="Read this file; bake files may be several."
)
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="Set a variable, or a key by TARGET.KEY=VALUE, where TARGET may be a pattern; repeatable.",
)
@click.option("--print", "printed", is_flag=True, help="Print the targets, worked out, as JSON and make none.")
@verb_options("bake")
@common_options
def command(
    *,
    arguments: tuple[str, ...],
    files: tuple[str, ...],
    settings: tuple[str, ...],
    printed: bool,
    output: tuple[str, ...],
    show: Show,
    **values: Any,  # noqa: ANN401 - click's values of the other options
) -> int:
    """Build the images that FILE describes, each to the outputs and the tags that it has there.

    FILE is a scratch.toml, a docker-bake.hcl or .json, or a compose file; by default those of the working
    directory are read as `docker buildx bake` reads them, but a scratch.toml alone. TARGETs are images and groups:
    by default the group `default`, of a scratch.toml else all.

    Several are built at a time, and one that fails keeps no other from being built: the exit code is then 1.
    """
    from rootless_scratch.bakefiles.reading import is_file, read_targets
    from rootless_scratch.bakefiles.target import shard_of

    names = list(arguments)
    if not files and names and is_file(names[0]):
        files = (names.pop(0),)
    targets = read_targets(files, names, settings=settings)
    if not show.quiet:
        for note in targets.notes:
            say(f"note: {note}")
    if printed:
        _print_targets(targets)
        return 0
    if values["check_only"]:
        for flag, value in (("-o", output), ("--push", values["push"]), ("--load", values["load"])):
            if value:
                raise click.UsageError(f"--check makes no image, and {flag} is about where it goes.")
    from rootless_scratch.cli.baking import Board
    from rootless_scratch.ship.access import Access
    from rootless_scratch.verbs.bake import KUBERNETES, bake
    from rootless_scratch.verbs.farm.kubernetes import Call, kubernetes_job

    access = access_from(values)
    of_job = values.pop("kubernetes")
    if values["executor"] == KUBERNETES:
        call = Call(targets, tuple(names), settings, output, access=access, **_of_call(values))
        _print_job(kubernetes_job(call, of_job, os.environ), show)
        return 0
    if of_job:
        raise click.UsageError("--kubernetes is about `--executor kubernetes`.")
    how = {name: value for name, value in values.items() if name not in Access.options}
    with Board(
        total=len(shard_of(targets.targets, values["shard"])),
        quiet=show.quiet or show.as_json,
        verbose=show.verbose,
    ) as board:
        baked = bake(targets, output=output, access=access, watcher=board, **how)
    _print(baked, targets, show)
    return 1 if baked.failed else 0


def _print_targets(targets: Targets) -> None:
    described = _described(targets)
    if targets.foreign:
        # What the other tool prints has no version of ours.
        click.echo(json.dumps(described, indent=2, ensure_ascii=False))
    else:
        print_json(described)


def _of_call(values: dict[str, Any]) -> dict[str, Any]:
    if values["check_only"]:
        raise click.UsageError("--check judges on this host, and `--executor kubernetes` builds elsewhere.")
    if values["shard"] is not None:
        raise click.UsageError("--shard is what the pods of `--executor kubernetes` are called with.")
    return {name: values[name] for name in ("push", "load", "check", "compress", "jobs", "cache_from", "cache_to")}


def _print_job(job: dict[str, Any], show: Show) -> None:
    from rootless_scratch.deployments.yamltext import yaml

    if show.as_json:
        print_json({"job": job})
    else:
        click.echo(yaml(job), nl=False)


def _described(targets: Targets) -> dict[str, Any]:
    if targets.foreign:
        every = sorted((*targets.targets, *targets.linked), key=lambda each: each.name)
        groups = {name: {"targets": list(members)} for name, members in sorted(targets.groups)}
        return ({"group": groups} if groups else {}) | {"target": {each.name: dict(each.shown) for each in every}}
    return {
        "file": targets.path,
        "group": {name: {"targets": members} for name, members in targets.groups},
        "target": {target.name: dict(target.shown) for target in targets.targets},
    }


def _print(baked: Baked, targets: Targets, show: Show) -> None:
    """Results on stdout, in the order of the file; what failed is told once more where many were built."""
    if show.as_json:
        cache = {} if baked.cache_error is None else error_answer(baked.cache_error)
        print_json({"file": targets.path, "results": [_answer(result) for result in baked], **cache})
        return
    for result in baked:
        if result.image is not None:
            click.echo(f"{result.name} {result.image.image_id}" if result.name else result.image.image_id)
        elif result.judgement is not None:
            print_verdict(result.name or targets.path, result.judgement.verdict)
            print_findings(result.judgement.findings, quiet=show.quiet)
        elif result.error is not None and (show.quiet or show.as_json):
            say(f"{result.name}:")
            print_error(result.error, as_json=False, verbose=show.verbose)
    failed = [result.name for result in baked if result.failed]
    if failed and len(baked.results) > 1:
        say(f"rootless-scratch: {len(failed)} of {len(baked.results)} failed: {', '.join(failed)}.")
    if baked.cache_error is not None:
        print_error(baked.cache_error, as_json=False, verbose=show.verbose)


def _answer(result: Result) -> dict[str, Any]:
    name = {"image": result.name}
    if result.image is not None:
        return name | image_answer(result.image)
    if result.judgement is not None:
        return name | named(result.judgement, "subject verdict findings")
    assert result.error is not None  # noqa: S101 - there is one of the three
    return name | error_answer(result.error)
