"""Rules on the files of loaders and libraries themselves: whether they are whole, and can be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.findings import Finding
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.elf.libraries import Closure


def judge_soundness(closure: Closure, *, subject: str) -> Iterator[Finding]:
    """Refuse what is found and cannot be loaded: the loader itself, then each library once."""
    loader = closure.interpreter
    if loader is not None and loader.elf is not None:
        yield from _loader(loader.elf, loader.real, subject)
    for library in closure.libraries:
        elf = library.elf
        if elf is None or library.again:
            continue
        if elf.truncated:
            yield truncated(elf, library.real)
            continue
        refusal = None if (closure.musl and elf.dynamic) or not library.required else _refusal(elf)
        if refusal is not None:
            yield Finding.error(
                rule="library-unloadable",
                subject=library.real,
                message=f"{shown(library.wanted_by)} needs the library {shown(library.name)}, and the loader "
                f"refuses {shown(library.real)}: {refusal}.",
                fix="Put the shared library of that name there, from the package or the build that makes it.",
            )


def truncated(elf: ElfFacts, path: str) -> Finding:
    """Refuse a file that ends before what its headers announce."""
    return Finding.error(
        rule="truncated",
        subject=path,
        message=f"{shown(path)} is truncated: it has {elf.file_size} bytes, "
        f"and its headers announce {elf.file_size_needed}.",
        fix="Build, copy or download it again, and compare its size and checksum with the original's.",
    )


def _loader(elf: ElfFacts, path: str, subject: str) -> Iterator[Finding]:
    if elf.truncated:
        yield truncated(elf, path)
    elif elf.interpreter is not None or not elf.entry or not elf.entry_loaded:
        what = (
            "a program that needs a loader itself" if elf.interpreter is not None else "a library without a start"
        )
        yield Finding.error(
            rule="loader-unusable",
            subject=subject,
            message=f"{shown(subject)} names {shown(path)} as its loader, which is {what}.",
            fix="Put the loader there that belongs to the program, or leave it to `--bundle-libraries`.",
        )


def _refusal(elf: ElfFacts) -> str | None:
    """Why glibc loads no such file as a library: _dl_map_object_from_fd() in elf/dl-load.c."""
    if not elf.dynamic:
        return "it has no dynamic section"
    if elf.pie:
        return "it is a program, not a shared library"
    return None
