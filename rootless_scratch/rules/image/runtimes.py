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
    for program in programs:
        elf = program.facts.elf
        if elf is None or elf.go is not None:
            continue
        closure = closures.get(program.path)
        libraries = [(each.name, each.elf) for each in closure.libraries if each.elf] if closure else []
        for found in recognise(elf, (program.path, program.facts.path), libraries):
            if not is_met(found.recipe.needs, view.rootfs):
                yield _finding(program, found)


def _finding(program: Program, found: Recognised) -> Finding:
    recipe, path = found.recipe, program.facts.path
    why = f" ({shown(found.evidence)})" if found.evidence else ""
    make = Finding.error if found.required else Finding.warning
    return make(
        rule=recipe.rule_id(),
        subject=path,
        message=f"{shown(path)} reads {recipe.what}{why}, which the image does not have.",
        fix=f"Add them by `--with {recipe.name}`."
        if recipe.what.endswith("s")
        else f"Add it by `--with {recipe.name}`.",
    )
