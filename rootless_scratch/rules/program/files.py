"""Rules on files that are neither ELF programs nor scripts: they say what was named in its place."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.findings import Finding
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from rootless_scratch.elf.program import Kind, ProgramFacts
    from rootless_scratch.errors import ElfError

_FOR_LINUX = "Build it for Linux, e.g. with `GOOS=linux go build` or a Linux target of `cargo build --target`."


def judge_file(facts: ProgramFacts, *, subject: str) -> Finding:
    """Refuse the file, and say what it is."""
    finding = _FINDINGS[facts.kind]
    return msgspec.structs.replace(
        finding, subject=subject, message=f"{shown(subject)} {finding.message}.", fix=finding.fix
    )


def unreadable(path: str, error: ElfError) -> Finding:
    """Refuse bytes that claim to be an ELF file and that no kernel could read."""
    return Finding.error(rule="unreadable-elf", subject=path, message=error.message, fix=error.fix)


def broken_image(subject: str, fault: str, *, is_mendable: bool = False) -> Finding:
    """Refuse an image outside of local storage that is not what its own digests say, or that storage refuses."""
    return Finding.error(
        rule="broken-image",
        subject=subject,
        message=f"{shown(subject)} {'cannot be loaded' if is_mendable else 'is damaged'}: {shown(fault)}.",
        fix=f"`rootless-scratch save --repair {shown(shlex.quote(subject))} -o FILE` makes one that is taken."
        if is_mendable
        else "Build or copy it again.",
    )


_NOT_A_PROGRAM: Final = Finding.error(
    rule="not-a-program",
    subject="",
    message="is neither an ELF program nor a script",
    fix="Name the compiled program for Linux.",
)

_FINDINGS: Final[dict[Kind, Finding]] = {
    "elf": _NOT_A_PROGRAM,
    "script": _NOT_A_PROGRAM,
    "other": _NOT_A_PROGRAM,
    "text": Finding.error(
        rule="not-a-program",
        subject="",
        message="is a text file without a `#!` line, which the kernel does not execute",
        fix="Name the compiled program; a script needs a first line such as `#!/bin/sh`, and that shell.",
    ),
    "empty": Finding.error(
        rule="empty-file",
        subject="",
        message="is empty",
        fix="Rebuild it: the step that should have written it failed, or ran out of space.",
    ),
    "git-lfs": Finding.error(
        rule="git-lfs-pointer",
        subject="",
        message="is a Git LFS pointer, not the program that it stands for",
        fix="Run `git lfs pull`; in CI, check out with LFS enabled.",
    ),
    "html": Finding.error(
        rule="html-page",
        subject="",
        message="is an HTML page, most likely an error page that was downloaded in place of the program",
        fix="Download it again with `curl --fail --location`, and compare its checksum.",
    ),
    "mach-o": Finding.error(
        rule="not-linux",
        subject="",
        message="is a Mach-O file, a program for macOS",
        fix=_FOR_LINUX,
    ),
    "pe": Finding.error(
        rule="not-linux",
        subject="",
        message="is a PE file, a program for Windows or UEFI",
        fix=_FOR_LINUX,
    ),
    "archive": Finding.error(
        rule="archive",
        subject="",
        message="is an archive, not a program",
        fix="Unpack it, and name the program file that was in it.",
    ),
}
