"""The modules that a script imports, as its interpreter finds them in the source without running it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from rootless_scratch import command
from rootless_scratch.errors import CommandError, SpecError, UsageError
from rootless_scratch.image.recipes import IMPORTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.image.recipes import Recipe

_SECONDS = 120.0


def imported_files(
    recipe: Recipe, programs: Mapping[str, ProgramFacts], root: HostRoot, trees: Sequence[str]
) -> Iterator[str]:
    """The files below `trees` that the scripts among the programs import, directly or not.

    The interpreter is the image's own, as it lies on this host. Raises UsageError where there is no script, or no
    such interpreter, SpecError for a script that it cannot read.
    """
    assert recipe.imports is not None  # noqa: S101 - who asks has looked
    scripts = [each for each in programs.values() if each.shebang and each.kind == "script"]
    runners = [
        each.path
        for each in programs.values()
        if each.elf is not None and recipe.for_interpreter(os.path.basename(each.path))
    ]
    if not scripts or not runners or root.on_host(""):
        raise UsageError(
            f"--with {recipe.name}={IMPORTS} takes what a script imports, found by its interpreter on this host, "
            "and there is no such script.",
            fix=f"Name the script as the program, without --sysroot; or take everything: `--with {recipe.name}`.",
        )
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    for script in scripts:
        argv = [runners[0], *recipe.imports.arguments, os.path.abspath(script.path)]
        try:
            answer = command.ask(argv, environment=environment, timeout=_SECONDS)
        except CommandError as error:
            raise SpecError(
                f"{script.path!r} cannot be read for what it imports: {_last_line(error.stderr)}.",
                fix=f"Correct it, or take everything: `--with {recipe.name}`.",
            ) from error
        for found in re.finditer(
            recipe.imports.pattern, answer.stdout.decode("utf-8", "surrogateescape"), re.MULTILINE
        ):
            if any(found.group(1).startswith(tree + "/") for tree in trees):
                yield found.group(1)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["its interpreter says nothing"])[-1].rstrip(".")
