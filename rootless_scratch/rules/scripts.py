"""Rules on scripts: the kernel starts the interpreter of the first line, which must be in the image too."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from rootless_scratch.findings import Finding
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless_scratch.elf.program import ProgramFacts

_ENV_PATH: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def judge_script(facts: ProgramFacts, *, subject: str, is_present: Callable[[str], bool]) -> Finding | None:
    """Judge a script's first line and whether its interpreter will be in the image; see `judge_program`."""
    shebang = facts.shebang or ()
    garbled = _garbled_line(facts, subject)
    if garbled is not None:
        return garbled
    interpreter = shebang[0]
    if not (interpreter.startswith("/") and is_present(interpreter)):
        return Finding(
            rule="script-interpreter-missing",
            severity="error",
            subject=subject,
            message=f"{shown(subject)} is a script for {shown(interpreter)}, which the image does not have.",
            fix=_interpreter_fix(interpreter),
        )
    if posixpath.basename(interpreter) == "env" and len(shebang) > 1:
        return _judge_env(shebang[1], subject, is_present)
    return None


def _garbled_line(facts: ProgramFacts, subject: str) -> Finding | None:
    name = shown(subject)
    if facts.shebang_bom:
        return Finding(
            rule="script-bom",
            severity="error",
            subject=subject,
            message=f"{name} begins with a byte order mark, so the kernel does not see its `#!` line.",
            fix=r"Save it as UTF-8 without BOM, e.g. with `sed -i '1s/^\xEF\xBB\xBF//'`.",
        )
    if facts.shebang_crlf:
        return Finding(
            rule="script-crlf",
            severity="error",
            subject=subject,
            message=f"{name} has Windows line ends, and the kernel takes the CR for a part of its `#!` line.",
            fix=r"Convert it with `dos2unix` or `sed -i 's/\r$//'`, and keep it so with `text eol=lf` in "
            ".gitattributes.",
        )
    if not facts.shebang:
        return Finding(
            rule="script-interpreter-unnamed",
            severity="error",
            subject=subject,
            message=f"{name} has a `#!` line that names no interpreter.",
            fix="Name one by its absolute path, e.g. `#!/bin/sh`, and add it to the image.",
        )
    if facts.shebang_cut:
        return Finding(
            rule="script-line-too-long",
            severity="error",
            subject=subject,
            message=f"{name} names an interpreter by a path longer than the 256 bytes that the kernel reads.",
            fix="Shorten the `#!` line, e.g. by a symbolic link with a short path.",
        )
    return None


def _interpreter_fix(interpreter: str) -> str:
    if not interpreter.startswith("/"):
        return "Name the interpreter by its absolute path, and add it to the image."
    if posixpath.basename(interpreter) in {"sh", "ash"}:
        return (
            f"Add a static shell there, e.g. a static busybox by `--copy /bin/busybox:{shown(interpreter)}`, "
            "or use a compiled static program instead."
        )
    return (
        f"Name the interpreter as another program, {shown(interpreter)}:{shown(interpreter)}, with "
        "`--bundle-libraries` if it is dynamically linked, and `--copy` what else it reads; or use a compiled "
        "static program instead."
    )


def _judge_env(argument: str, subject: str, is_present: Callable[[str], bool]) -> Finding | None:
    program = _env_program(argument)
    if program is None or any(is_present(f"{directory}/{program}") for directory in _ENV_PATH):
        return None
    return Finding(
        rule="script-env-program-missing",
        severity="warning",
        subject=subject,
        message=f"{shown(subject)} asks env for {shown(program)}, "
        "which is in none of the usual directories of the image.",
        fix=f"Add {shown(program)} to the image, and set PATH if it lies elsewhere.",
    )


def _env_program(argument: str) -> str | None:
    """Find the program that env(1) is asked for: the first word that is neither an option nor a variable."""
    for word in argument.removeprefix("-S").split():
        if not word.startswith("-") and "=" not in word:
            return None if "/" in word else word
    return None
