"""Rules on libraries without which the loader goes on: preloaded ones, those that watch it, auxiliary ones."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from rootless_scratch.findings import Finding
from rootless_scratch.rules import advice
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.elf.libraries import AskedBy, Closure, Unresolved

_SAYS_SO: Final = "continues without it, and says so on stderr"
_PLACES_LIMIT = 5


def judge_passed_over(closure: Closure, *, subject: str) -> Iterator[Finding]:
    """Warn of each library that the image names and its loader does not find, though the program starts."""
    for each in closure.passed_over:
        what_happens = _what_it_does(each.asked_by, each.wanted_by, musl=closure.musl)
        yield Finding.warning(
            rule="library-passed-over",
            subject=subject,
            message=f"{_who_names(each, subject)} the library {shown(each.name)}, which the loader would not find "
            f"in the image: it {what_happens}.",
            fix=f"{_way(each)}; or {_without(each.asked_by)}.",
        )


def _who_names(each: Unresolved, subject: str) -> str:
    if each.asked_by == "DT_AUXILIARY":
        return f"{shown(each.wanted_by)}, which {shown(subject)} loads, prefers (DT_AUXILIARY) the functions of"
    if each.asked_by == "DT_AUDIT":
        return f"{shown(subject)} is to be watched (DT_AUDIT) by"
    return f"{each.asked_by} of the image names for {shown(subject)}"


def _what_it_does(asked_by: AskedBy, wanted_by: str, *, musl: bool) -> str:
    if asked_by == "DT_AUXILIARY":
        return f"continues silently, and those of {shown(wanted_by)} itself run"
    return "continues without it, and says nothing" if musl else _SAYS_SO


def _way(each: Unresolved) -> str:
    if "/" in each.name:
        place = each.searched[0] if each.searched else each.name
        return f"Copy it there, by `--copy FILE:{shown(place)}:mode=0755`"
    places = [shown(posixpath.dirname(path)) for path in each.searched]
    listed = advice.listed(list(dict.fromkeys(places))[:_PLACES_LIMIT])
    where = f", or copy it to where the loader looks ({listed})" if places else ""
    return f"Install the package that has it and build with `--bundle-libraries`{where}"


def _without(asked_by: AskedBy) -> str:
    if asked_by.startswith("DT_"):
        return "leave it, if the program does its work without"
    return f"take it out of {asked_by}"
