"""Rules on levels of x86-64: which processors a program and its libraries need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rootless_scratch.expressions import expression
from rootless_scratch.findings import Finding
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.elf.libraries import Closure
    from rootless_scratch.elf.program import ProgramFacts

_WARNED_LEVEL = 3
_VARIANT: Final = expression(r"/glibc-hwcaps/x86-64-v([2-4])/[^/]+\Z")
_FOR_ALL: Final = "Take the library that is built for all, if there is one; or start the image on such hosts only."


def needs_processor(subject: str, level: int, *, fix: str) -> Finding:
    """Say that a file starts from this level on; nearly all processors in use have the second."""
    return Finding(
        rule="needs-processor",
        severity="warning" if level >= _WARNED_LEVEL else "info",
        subject=subject,
        message=f"{shown(subject)} starts only on processors of the level x86-64-v{level} or better.",
        fix=fix,
    )


def judge_levels(closure: Closure, program: ElfFacts) -> Iterator[Finding]:
    """Judge the libraries that are loaded by their notes: the loader refuses those beyond the processor."""
    least = program.isa_level or 1
    for library in closure.libraries:
        level = library.elf.isa_level if library.elf is not None and not library.again else None
        if level is not None and level > least:
            yield needs_processor(library.real, level, fix=_FOR_ALL)


def judge_variants(libraries: Iterable[tuple[str, ProgramFacts]], known: Iterable[Finding]) -> Iterator[Finding]:
    """Judge bundled libraries by where they are from, beside what is `known` already: few have a note."""
    reported = {finding.subject for finding in known if finding.rule == "needs-processor"}
    for path, facts in libraries:
        level = level_of_path(facts.path)
        if level is not None and path not in reported:
            yield needs_processor(path, level, fix=_FOR_ALL)


def level_of_path(path: str) -> int | None:
    """Tell the level that a library in a directory of glibc-hwcaps is for; None for those beside."""
    found = _VARIANT.search(path)
    return None if found is None else int(found[1])
