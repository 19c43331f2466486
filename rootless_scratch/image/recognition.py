"""Which recipes fit a program: by what it calls, what it loads, and what it is called."""

from __future__ import annotations

import functools
import posixpath
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.elf.searching import is_musl
from rootless_scratch.elf.symbols import RUNTIME
from rootless_scratch.image.recipes import Recipe, matcher, matches, recipes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.image.recipes import Recognition


class Recognised(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe that fits a program: by what of it, and whether the program cannot do without."""

    recipe: Recipe
    evidence: str
    required: bool


def recognise(
    elf: ElfFacts, paths: Iterable[str], libraries: Sequence[tuple[str, ElfFacts]]
) -> tuple[Recognised, ...]:
    """The recipes that fit a program with these `paths`; `libraries` are those that it loads, by name."""
    if elf.static and not RUNTIME.intersection(elf.functions):
        return ()
    sonames = tuple(dict.fromkeys((*elf.needed, *(name for name, _ in libraries))))
    names = {posixpath.basename(path) for path in paths}
    every = recipes()
    likely = by_calls(elf.functions).union(
        *(by_calls(facts.imports) for _, facts in libraries), *map(by_name, sonames), *map(by_name, names)
    )
    found = []
    for each in (every[number] for number in sorted(likely)):
        answer = _recognised(each, elf, names, sonames, libraries)
        if answer is not None:
            found.append(answer)
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def by_calls(functions: tuple[str, ...]) -> frozenset[int]:
    """The recipes of which one sign at least is a function among these, by their places."""
    called = frozenset(functions)
    signs = ((each.recognise, each.embedded) for each in recipes())
    calls = ((*how.functions, *how.calls, *within.calls) for how, within in signs)
    return frozenset(number for number, each in enumerate(calls) if not called.isdisjoint(each))


@functools.lru_cache(maxsize=4096)
def by_name(name: str) -> frozenset[int]:
    """The same for the name of a library or a program."""
    signs = ((each.recognise, each.embedded) for each in recipes())
    groups = [(*how.sonames, *how.needed, *how.names, *within.sonames, *within.needed) for how, within in signs]
    # Most names fit none.
    if not matches(name, tuple(pattern for group in groups for pattern in group)):
        return frozenset()
    return frozenset(number for number, group in enumerate(groups) if matches(name, group))


def _recognised(
    each: Recipe,
    elf: ElfFacts,
    names: Iterable[str],
    sonames: Sequence[str],
    libraries: Sequence[tuple[str, ElfFacts]],
) -> Recognised | None:
    how = each.recognise
    if each.kind == "offer" or (how.without and any(map(matcher(how.without), names))):
        return None
    if how.glibc and (is_musl(elf.interpreter) if elf.interpreter else "_nl_load_locale" not in elf.functions):
        return None
    answers = tuple(_signs(how, elf, names, sonames, libraries))
    found = [answer for answer in answers if answer is not None]
    if found and (not how.every or len(found) == len(answers)):
        return Recognised(recipe=each, evidence=max(found, key=bool), required=each.kind == "runtime")
    within = each.embedded
    inside = (
        _first(within.calls, elf.functions.__contains__),
        _matching(within.sonames, sonames),
        _matching(within.needed, elf.needed),
    )
    evidence = next((answer for answer in inside if answer is not None), None)
    return None if evidence is None else Recognised(recipe=each, evidence=evidence, required=False)


def _signs(
    how: Recognition,
    elf: ElfFacts,
    names: Iterable[str],
    sonames: Sequence[str],
    libraries: Sequence[tuple[str, ElfFacts]],
) -> Iterator[str | None]:
    """For each sign of a recipe what shows it: "" for the path, which says so itself; None where nothing does."""
    called = (*how.functions, *how.calls)
    if called:
        found = _first(called, elf.functions.__contains__)
        for library, facts in libraries if found is None and how.also_libraries else ():
            there = _first(how.calls, facts.imports.__contains__)
            found = found or (None if there is None else f"{there} in {library}")
        yield found
    if how.sonames:
        yield _matching(how.sonames, sonames)
    if how.needed:
        yield _matching(how.needed, elf.needed)
    if how.names:
        yield "" if any(map(matcher(how.names), names)) else None


def _first(names: Iterable[str], fits: Callable[[str], bool]) -> str | None:
    return next((name for name in names if fits(name)), None)


def _matching(patterns: tuple[str, ...], names: Iterable[str]) -> str | None:
    """The first name that one of the patterns fits."""
    return next(filter(matcher(patterns), names), None) if patterns else None
