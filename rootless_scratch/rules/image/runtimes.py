"""Rules on what a program reads besides its libraries, by recipes: a standard library, data, plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.findings import Finding
from rootless_scratch.image.recipes import is_met, recognise
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rootless_scratch.elf.libraries import Closure
    from rootless_scratch.image.plan.planner import Program
    from rootless_scratch.image.recipes import Recognised
    from rootless_scratch.rules.view import ImageView


def judge_runtimes(
    view: ImageView, programs: Sequence[Program], closures: Mapping[str, Closure]
) -> Iterator[Finding]:
    """Say which files of recipes an image lacks; `closures` are the libraries of its programs, by their paths."""
    config = view.config
    arguments = {*(config.entrypoint or ()), *(config.cmd or ()), *(name for name, _ in config.env)}
    for program in programs:
        elf = program.facts.elf
        if elf is None or elf.go is not None:
            continue
        closure = closures.get(program.path)
        libraries = [(each.name, each.elf) for each in closure.libraries if each.elf] if closure else []
        lacking = [
            found
            for found in recognise(elf, (program.path, program.facts.path), libraries)
            if not arguments.intersection(found.recipe.needs.unless)
            and not (is_met(found.recipe.needs, view.rootfs) and not (elf.static and found.recipe.static))
        ]
        along = {name for found in lacking for name in found.recipe.also}
        for found in lacking:
            if found.required or found.recipe.name not in along:
                yield _finding(program, found, static=elf.static)


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
