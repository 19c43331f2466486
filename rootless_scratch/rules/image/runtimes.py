"""Rules on what a program reads besides its libraries, by recipes: a standard library, data, plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.findings import Finding
from rootless_scratch.image.recipes import is_met, named_files
from rootless_scratch.image.recognition import recognise
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rootless_scratch.elf.libraries import Closure
    from rootless_scratch.image.plan.planner import Program
    from rootless_scratch.image.recipes import Content
    from rootless_scratch.image.recognition import Recognised
    from rootless_scratch.rules.view import ImageView


def judge_runtimes(
    view: ImageView, programs: Sequence[Program], closures: Mapping[str, Closure], content: Content
) -> Iterator[Finding]:
    """Say which files of recipes an image lacks; `closures` are the libraries of its programs, by their paths.

    `content` gives the bytes of a file, None where they are not known.
    """
    config = view.config
    arguments = {*(config.entrypoint or ()), *(config.cmd or ()), *(name for name, _ in config.env)}
    for program in programs:
        elf = program.facts.elf
        if elf is None or elf.go is not None:
            continue
        closure = closures.get(program.path)
        libraries = [(each.name, each.elf) for each in closure.libraries if each.elf] if closure else []
        wanting = [
            found
            for found in recognise(elf, (program.path, program.facts.path), libraries)
            if not arguments.intersection(found.recipe.needs.unless)
        ]
        lacking = [
            found
            for found in wanting
            if (elf.static and found.recipe.static) or not is_met(found.recipe.needs, view.rootfs)
        ]
        for found in wanting:
            if found not in lacking:
                yield from _judge_named(view, program, found, content)
        along = {name for found in lacking for name in found.recipe.also}
        for found in lacking:
            if found.required or found.recipe.name not in along:
                yield _finding(program, found, static=elf.static)


def _judge_named(view: ImageView, program: Program, found: Recognised, content: Content) -> Iterator[Finding]:
    """Say which file one of the image names that is not there; the first stands for all."""
    recipe, path = found.recipe, program.facts.path
    for names, named in named_files(recipe.needs, view.rootfs, content):
        if view.is_file(named):
            continue
        make = Finding.error if found.required else Finding.warning
        yield make(
            rule=recipe.rule_id(),
            subject=path,
            message=f"{shown(path)} reads {recipe.what}, and {shown(names)} names {shown(named)}, which the image "
            "does not have.",
            fix=f"Add it by `--with {recipe.name}` if this host has it at that path, else by `--copy "
            f"FILE:{shown(named)}`.",
        )
        return


def _finding(program: Program, found: Recognised, *, static: bool) -> Finding:
    recipe, path = found.recipe, program.facts.path
    why = f" ({shown(found.evidence)})" if found.evidence else ""
    make = Finding.error if found.required else Finding.warning
    where = "which a static program cannot load" if static and recipe.static else "which the image does not have"
    return make(
        rule=recipe.rule_id(),
        subject=path,
        message=f"{shown(path)} reads {recipe.what}{why}, {where}.",
        fix=(static and recipe.static) or f"Build the image with `--with {recipe.name}`.",
    )
