"""Rules on files that are neither ELF programs nor scripts: they say what was named in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from rootless_scratch.findings import Finding
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from rootless_scratch.elf.program import Kind, ProgramFacts
    from rootless_scratch.errors import ElfError

_FOR_LINUX = "Build it for Linux, e.g. with `GOOS=linux go build` or a Linux target of `cargo build --target`."


class _Kind(NamedTuple):
    """What a file of a kind is, which is no program; `what` goes behind its name."""

    what: str
    fix: str
    rule: str


def judge_file(facts: ProgramFacts, *, subject: str) -> Finding:
    """Refuse the file, and say what it is."""
    what, fix, rule = _KINDS[facts.kind]
    return Finding.error(rule=rule, subject=subject, message=f"{shown(subject)} {what}.", fix=fix)


def unreadable(path: str, error: ElfError) -> Finding:
    """Refuse bytes that claim to be an ELF file and that no kernel could read."""
    return Finding.error(rule="unreadable-elf", subject=path, message=error.message, fix=error.fix)


def broken_image(subject: str, fault: str, *, is_mendable: bool = False) -> Finding:
    """Refuse an image outside of local storage that is not what its own digests say, or that storage refuses."""
    import shlex

    return Finding.error(
        rule="broken-image",
        subject=subject,
        message=f"{shown(subject)} {'cannot be loaded' if is_mendable else 'is damaged'}: {shown(fault)}.",
        fix=f"`rootless-scratch save --repair {shown(shlex.quote(subject))} -o FILE` makes one that is taken."
        if is_mendable
        else "Build or copy it again.",
    )


_NOT_A_PROGRAM: Final = _Kind(
    "is neither an ELF program nor a script", "Name the compiled program for Linux.", rule="not-a-program"
)

_KINDS: Final[dict[Kind, _Kind]] = {
    "elf": _NOT_A_PROGRAM,
    "script": _NOT_A_PROGRAM,
    "other": _NOT_A_PROGRAM,
    "text": _Kind(
        "is a text file without a `#!` line, which the kernel does not execute",
        "Name the compiled program; a script needs a first line such as `#!/bin/sh`, and that shell.",
        rule="not-a-program",
    ),
    "empty": _Kind(
        "is empty",
        "Rebuild it: the step that should have written it failed, or ran out of space.",
        rule="empty-file",
    ),
    "git-lfs": _Kind(
        "is a Git LFS pointer, not the program that it stands for",
        "Run `git lfs pull`; in CI, check out with LFS enabled.",
        rule="git-lfs-pointer",
    ),
    "html": _Kind(
        "is an HTML page, most likely an error page that was downloaded in place of the program",
        "Download it again with `curl --fail --location`, and compare its checksum.",
        rule="html-page",
    ),
    "mach-o": _Kind("is a Mach-O file, a program for macOS", _FOR_LINUX, rule="not-linux"),
    "pe": _Kind("is a PE file, a program for Windows or UEFI", _FOR_LINUX, rule="not-linux"),
    "archive": _Kind(
        "is an archive, not a program", "Unpack it, and name the program file that was in it.", rule="archive"
    ),
}
