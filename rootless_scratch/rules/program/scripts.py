"""Rules on scripts: the kernel starts the interpreter of the first line, which must be in the image too."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from rootless_scratch.findings import Finding, Severity
from rootless_scratch.image.envline import EnvLine, env_line, is_env
from rootless_scratch.image.recipes import recipes
from rootless_scratch.image.rootfs import Entry, File
from rootless_scratch.image.tree import SCRIPTS_LIMIT
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.rules.view import ImageView, Surroundings


def judge_script(
    facts: ProgramFacts, *, subject: str, around: Surroundings, image_path: str | None = None
) -> Finding | None:
    """Judge a script's first line and whether its interpreter will be in the image; see `judge_program`."""
    shebang = facts.shebang or ()
    garbled = _garbled_line(facts, subject)
    if garbled is not None:
        return garbled
    interpreter = shebang[0]
    if not (interpreter.startswith("/") and around.has(interpreter)):
        return Finding.error(
            rule="script-interpreter-missing",
            subject=subject,
            message=f"{shown(subject)} is a script for {shown(interpreter)}, which the image does not have.",
            fix=_venv_fix(interpreter, image_path, around) or _recipe_fix(facts) or _interpreter_fix(interpreter),
        )
    if not is_env(shebang):
        return None
    line = env_line(shebang)
    paths = () if line is None else line.candidates(around.search_path, around.working_dir)
    if any(map(around.has, paths)):
        return None
    return _unknown_to_env(shebang[1], line, subject, _recipe_fix(facts))


def judge_depth(view: ImageView, started: Iterable[File], facts: Mapping[str, ProgramFacts]) -> Iterator[Finding]:
    """Refuse scripts whose interpreters are scripts too, deeper than the kernel follows."""
    for file in started:
        entry: Entry | None = file
        for _ in range(SCRIPTS_LIMIT + 1):
            found = facts.get(entry.path) if isinstance(entry, File) else None
            if found is None or not found.shebang:
                break
            entry = view.tree.resolve(posixpath.join("/", view.config.working_dir, found.shebang[0]))
        else:
            yield Finding.error(
                rule="script-too-deep",
                subject=file.path,
                message=f"{shown(file.path)} is a script whose interpreter is a script, and so on, more than "
                f"{SCRIPTS_LIMIT} deep, which no kernel starts.",
                fix="Name the program at the end of the chain in the `#!` line.",
            )
            return


def _garbled_line(facts: ProgramFacts, subject: str) -> Finding | None:
    name = shown(subject)
    if facts.shebang_bom:
        rule = "script-bom"
        message = f"{name} begins with a byte order mark, so the kernel does not see its `#!` line."
        fix = r"Save it as UTF-8 without BOM, e.g. with `sed -i '1s/^\xEF\xBB\xBF//'`."
    elif facts.shebang_crlf:
        rule = "script-crlf"
        message = f"{name} has Windows line ends, and the kernel takes the CR for a part of its `#!` line."
        fix = r"Convert it with `dos2unix` or `sed -i 's/\r$//'`, and keep it so with `text eol=lf` in "
        fix += ".gitattributes."
    elif not facts.shebang:
        rule = "script-interpreter-unnamed"
        message = f"{name} has a `#!` line that names no interpreter."
        fix = "Name one by its absolute path, e.g. `#!/bin/sh`, and add it to the image."
    elif facts.shebang_cut:
        rule = "script-line-too-long"
        message = f"{name} names an interpreter by a path longer than the 256 bytes that the kernel reads."
        fix = "Shorten the `#!` line, e.g. by a symbolic link with a short path."
    else:
        return None
    return Finding.error(rule=rule, subject=subject, message=message, fix=fix)


def _recipe_fix(facts: ProgramFacts) -> str | None:
    """What brings the interpreter with all that it reads, where a recipe knows it."""
    line = env_line(facts.shebang)
    name = (facts.shebang or ("",))[0] if line is None else line.program
    recipe = next((each for each in recipes() if name and each.for_interpreter(name)), None)
    if recipe is None:
        return None
    if posixpath.basename(name or "") in {"sh", "ash"}:
        place = shown(name) if name and name.startswith("/") else "/bin/sh"
        return (
            f"Add this host's shell by `--bundle-libraries --with {recipe.name}`, or a static one, e.g. busybox "
            f"by `--copy /bin/busybox:{place}`; programs that the script starts are programs of their own."
        )
    return f"Add the interpreter and what it reads by `--bundle-libraries --with {recipe.name}`."


def _venv_fix(interpreter: str, image_path: str | None, around: Surroundings) -> str | None:
    """What mends a script of a venv that lies elsewhere in the image than where it was made; None for others."""
    there, here = (posixpath.dirname(posixpath.dirname(path)) for path in (interpreter, image_path or ""))
    own = f"{here}/bin/{posixpath.basename(interpreter)}"
    if not (interpreter.startswith("/") and here and around.has(f"{here}/pyvenv.cfg") and around.has(own)):
        return None
    return (
        f"Add `--symlink {shown(here)}:{shown(there)}`, where the scripts of this virtual environment look for "
        f"it, or copy it to {shown(there)}."
    )


def _interpreter_fix(interpreter: str) -> str:
    if not interpreter.startswith("/"):
        return "Name the interpreter by its absolute path, and add it to the image."
    return (
        f"Name the interpreter as another program, {shown(interpreter)}:{shown(interpreter)}, with "
        "`--bundle-libraries` if it is dynamically linked, and `--copy` what else it reads; or use a compiled "
        "static program instead."
    )


def _unknown_to_env(argument: str, line: EnvLine | None, subject: str, recipe_fix: str | None) -> Finding:
    name = shown(subject)
    severity: Severity = "error"
    if line is None:
        severity = "warning"
        message = f"{name} asks env for something by {shown(argument)}, and what that starts cannot be told."
        fix = "Name the interpreter by its absolute path in the `#!` line, or try the image out."
    elif not line.program:
        message = f"{name} names no program after env, which then starts the script again, endlessly."
        fix = "Name one in the `#!` line."
    elif any(character in " \t" for character in line.program):
        first = line.program.split()[0]
        message = (
            f"{name} asks env for {shown(line.program)}, which is one name to it: the kernel does not split "
            "the line."
        )
        fix = f"Write `env -S {shown(line.program)}`, and add {shown(first)} to the image."
    elif "/" in line.program:
        message = f"{name} asks env for {shown(line.program)}, which the image does not have."
        fix = f"Add {shown(line.program)} to the image, or correct the `#!` line."
    else:
        message = f"{name} asks env for {shown(line.program)}, which no directory of the image's PATH has."
        fix = (
            recipe_fix or f"Add {shown(line.program)} to the image, and set PATH by `--env` if it lies elsewhere."
        )
    return Finding(rule="script-env-program-missing", severity=severity, subject=subject, message=message, fix=fix)
