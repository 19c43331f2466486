"""Rules on loaders and libraries: whether the loader, inside the image, finds all that it will open.

The search itself is rootless_scratch.elf.libraries; here its answer is judged.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from rootless_scratch.elf.libraries import Closure, MissingVersion, Unresolved, resolve
from rootless_scratch.elf.opened import opened_later
from rootless_scratch.findings import Finding
from rootless_scratch.rules import advice
from rootless_scratch.rules.advice import shown
from rootless_scratch.rules.program.levels import judge_levels, judge_variants, level_of_path
from rootless_scratch.rules.program.soundness import judge_soundness, truncated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.elf.libraries import AskedBy, Closure, Unresolved
    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.image.rootfs import Rootfs
    from rootless_scratch.rules.view import Surroundings

_LIST_LIMIT = 40
_SHOWN_LIMIT = 5
_SEVERITY: Final = {"required": "warning", "recommended": "warning", "suggested": "info"}
_SAYS_SO: Final = "continues without it, and says so on stderr"
_PLACES_LIMIT = 5


def judge_loading(
    elf: ElfFacts, *, subject: str, around: Surroundings, image_path: str | None
) -> Iterator[Finding]:
    """Judge a sound, dynamically linked program for Linux by what its loader will open in its image."""
    path = image_path or f"/{posixpath.basename(subject)}"
    closure = around.closures.get(path) or resolve(elf, path=path, root=around.root, start=around.start)
    if closure.interpreter_state == "none":
        yield Finding.error(
            rule="no-loader-named",
            subject=subject,
            message=f"{shown(subject)} needs {_libraries(elf.needed)} but names no loader to load them.",
            fix=advice.static_fix(elf),
        )
    elif closure.interpreter_state == "missing":
        yield _needs_loader(elf, subject, closure, bundling=around.bundling)
    elif closure.interpreter_state == "unfit":
        yield Finding.error(
            rule="loader-unusable",
            subject=subject,
            message=f"{shown(subject)} needs the loader {shown(elf.interpreter or '')}, and the file of that "
            f"name in the image is not a loader for {elf.machine}.",
            fix="Put the loader there that belongs to the program, or leave it to `--bundle-libraries`, with "
            "`--sysroot DIR` for programs of other architectures.",
        )
    elif broken := tuple(judge_soundness(closure, subject=subject)):
        yield from broken
    elif closure.unresolved and not closure.list_unread:
        yield from _needs_libraries(elf, subject, path, closure.unresolved, around.sought)
    elif closure.missing_versions:
        yield _version_missing(subject, path, closure.missing_versions)
    elif closure.incomplete or closure.unresolved:
        there = "its loader is" if closure.unresolved else "its loader and the libraries that it names are"
        yield Finding.info(
            rule="loader-included",
            subject=subject,
            message=f"{shown(subject)} is dynamically linked; {there} in the image, but whether that is all it "
            "needs is not known.",
            fix=f"Run the image once before you ship it, or do without: {advice.static_fix(elf)}",
        )
    else:
        yield from _opened_later(elf, closure, around, subject=subject, path=path)
    if closure.interpreter_state == "found":
        yield from judge_levels(closure, elf)
    if closure.interpreter_state == "found" and not closure.list_unread:
        yield from judge_passed_over(closure, subject=subject)


def judge_incomplete(rootfs: Rootfs, wanted: Sequence[Unresolved]) -> Iterator[Finding]:
    """Warn of what copied or included libraries need and this host lacks, unless a file of that name is there."""
    if not wanted:
        return
    names = {posixpath.basename(entry.path) for entry in rootfs}
    for each in wanted:
        if posixpath.basename(each.name) not in names:
            yield Finding.warning(
                rule="copied-library-incomplete",
                subject=each.wanted_by,
                message=f"{shown(each.wanted_by)} needs the library {shown(each.name)}, which was not found on "
                f"this host (looked for as {_looked_for([each])}).",
                fix="Install the package that has it, or leave the file that needs it out.",
            )


def judge_bundled(libraries: Sequence[tuple[str, ProgramFacts]], known: Sequence[Finding]) -> Iterator[Finding]:
    """Judge bundled libraries, those that are opened later too, beside what is `known` of them already."""
    refused = {finding.subject for finding in known}
    for path, facts in libraries:
        if facts.elf is not None and facts.elf.truncated and path not in refused:
            yield truncated(facts.elf, path)
    yield from judge_variants(libraries, known)


def _needs_loader(elf: ElfFacts, subject: str, closure: Closure, *, bundling: bool) -> Finding:
    what = f"it needs the loader {shown(elf.interpreter or '')}"
    missing = tuple(each.name for each in closure.unresolved)
    if missing:
        what += f" and {_libraries(missing)}, which the image does not have"
    elif elf.needed:
        what += ", which the image does not have"
    else:
        what += ", which the image does not have, although it needs no library"
    return Finding.error(
        rule="needs-loader",
        subject=subject,
        message=f"{shown(subject)} is dynamically linked: {what}.",
        fix=advice.loader_fix(elf, bundling=bundling),
    )


def _needs_libraries(
    elf: ElfFacts, subject: str, path: str, unresolved: Iterable[Unresolved], sought: Sequence[Unresolved]
) -> Iterator[Finding]:
    by_asker: dict[tuple[str, bool, str], list[Unresolved]] = {}
    for each in unresolved:
        path_of_its_own = each.name if "/" in each.name else ""
        by_asker.setdefault((each.wanted_by, each.asked_by == "DT_FILTER", path_of_its_own), []).append(each)
    looked_for = {each.name: each for each in sought}
    for (asker, stands_for, path_of_its_own), wanted in list(by_asker.items())[:_SHOWN_LIMIT]:
        names = tuple(each.name for each in wanted)
        who = shown(subject) if asker == path else f"{shown(asker)}, which {shown(subject)} loads,"
        on_host = [looked_for[name] for name in names if name in looked_for]
        loader = shown(elf.interpreter or "")
        needs = "stands for (DT_FILTER)" if stands_for else "needs"
        message = f"{who} {needs} {_libraries(names)}, which its loader {loader} would not find in the image"
        unfit = [path for each in wanted for path in each.unfit]
        if path_of_its_own and wanted[0].searched and not unfit:
            message += f": it opens {shown(wanted[0].searched[0])}{_from_where(path_of_its_own)}"
        if unfit:
            message += f": {shown(unfit[0])} is not a library for {elf.machine}"
        of_host = next((each.variant for each in on_host if each.variant), None)
        variant = of_host or next((each.variant for each in wanted if each.variant), None)
        if variant is not None:
            where = "" if of_host else " in the image"
            message += (
                f"; {shown(variant)}{where} is found on processors of the level "
                f"x86-64-v{level_of_path(variant)} or better alone"
            )
        elif on_host and not path_of_its_own:
            message += f"; it was not found on this host either (looked for as {_looked_for(on_host)})"
        yield Finding.error(
            rule="needs-libraries",
            subject=subject,
            message=f"{message}.",
            fix=_libraries_fix(elf, wanted, bundling=bool(on_host))
            if variant is None
            else _variant_fix(variant, here=bool(of_host)),
        )


def _libraries_fix(elf: ElfFacts, wanted: Sequence[Unresolved], *, bundling: bool) -> str:
    first = wanted[0]
    if "/" in first.name:
        place = (first.searched or first.unfit or (first.name,))[0]
        other = "" if first.name.startswith(("/", "$")) else ", or name the directory that has it by `--workdir`"
        return (
            f"Copy the file there by `--copy FILE:{shown(place)}`{other}; or link the program with the library's "
            "name alone, by `-L` and `-l`."
        )
    if bundling:
        return (
            f"Install the package that has {shown(wanted[0].name)}, or name the file by `--include-library PATH`; "
            "`--sysroot DIR` looks in another root directory."
        )
    places = [shown(posixpath.dirname(path)) for path in wanted[0].searched]
    where = f" ({', '.join(dict.fromkeys(places[:8]))})" if places else ""
    return (
        f"Copy what is missing to where the loader looks{where}, build with `--bundle-libraries`, "
        f"or do without: {advice.static_fix(elf)}"
    )


def _variant_fix(variant: str, *, here: bool) -> str:
    if not here:
        place = variant.partition("/glibc-hwcaps/")[0]
        return f"Put it in {shown(place)}, where every processor finds it; or build with `--bundle-libraries`."
    return (
        f"Install the one for all processors; or take this one, by `--include-library {shown(variant)}` or by "
        f"`--platform linux/amd64/v{level_of_path(variant)}=PROGRAM`, for an image that needs such a processor."
    )


def _from_where(name: str) -> str:
    return "" if name.startswith(("/", "$")) else f" for {shown(name)}, from the image's working directory"


def _looked_for(sought: Sequence[Unresolved]) -> str:
    paths = [shown(path) for path in sought[0].searched]
    return ", ".join(paths[:_SHOWN_LIMIT] + (["..."] if len(paths) > _SHOWN_LIMIT else [])) or "a path of its own"


def _version_missing(subject: str, path: str, missing: Sequence[MissingVersion]) -> Finding:
    first = missing[0]
    asker = first.wanted_by
    who = shown(subject) if asker == path else f"{shown(asker)}, which {shown(subject)} loads,"
    versions = advice.listed(
        [shown(each.version) for each in missing if each.library == first.library][:_SHOWN_LIMIT]
    )
    return Finding.error(
        rule="library-version-missing",
        subject=subject,
        message=f"{who} needs {versions} of {shown(first.library)}, which {shown(first.path)} in the image does "
        "not define.",
        fix="Take program and libraries from one system: build with `--bundle-libraries` on the host that the "
        "program was built for, or compile it against the older library.",
    )


def _opened_later(
    elf: ElfFacts, closure: Closure, around: Surroundings, *, subject: str, path: str
) -> Iterator[Finding]:
    """Warn of libraries that will be opened by dlopen(3) and are not in the image; it starts without them."""
    needs = opened_later(elf, path, closure)
    if needs:
        names = [name for need in needs for name in need.names]
        more = resolve(elf, path=path, root=around.root, start=around.start, also=names)
        lost = {each.name for each in more.unresolved}
        for need in needs:
            if set(need.names) <= lost:
                severity = _SEVERITY[need.priority]
                names = [shown(name) for name in need.names[:_SHOWN_LIMIT]]
                yield Finding(
                    rule="opens-library",
                    severity="info" if severity == "info" else "warning",
                    subject=subject,
                    message=f"{shown(need.wanted_by)} opens {' or '.join(names)} for {shown(need.reason)}, and "
                    "the image does not have it.",
                    fix=f"Add it by `--include-library {names[0]}` together with `--bundle-libraries`.",
                )
    if "dlopen" in elf.imports:
        yield Finding.info(
            rule="opens-unknown",
            subject=subject,
            message=f"{shown(subject)} can open further libraries by dlopen(3), whose names its headers do not "
            "tell.",
            fix="Run the image once with what it is for; add what is missing by `--include-library NAME`.",
        )


def _libraries(names: Sequence[str]) -> str:
    texts = [shown(name) for name in names[:_LIST_LIMIT]]
    if len(names) > _LIST_LIMIT:
        texts.append(f"{len(names) - _LIST_LIMIT} more")
    return f"the {'library' if len(names) == 1 else 'libraries'} {advice.listed(texts)}"


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
