"""One Spec of programs for several platforms as one Spec per platform.

Programs of several platforms make an image each where that is plain: where two of them have the same DEST in the
image, or where `--platform` says so. All else goes into every image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.elf.platforms import Platform, parse_platform
from rootless_scratch.errors import SpecError
from rootless_scratch.image.plan.entries import program_path
from rootless_scratch.image.spec import Copy, Part, Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.image.host_files import HostFiles

_START = 20
"""Bytes of an ELF file up to its processor (e_machine) and behind: elf(5)."""


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    """A program with its platform; a script has none, and goes into every image."""

    program: Copy
    platform: Platform | None


def split(spec: Spec, files: HostFiles) -> tuple[Part, ...]:
    """One part per platform, sorted by platform; a single one for all programs that are for one.

    Where one program per platform is named and their DEST is said once, it holds for all. Raises SpecError where
    programs cannot be shared out, SourceError, ElfError.
    """
    whole = spec.but(platforms=())
    own_copies = tuple(copy for copy in spec.copies if copy.platform is not None)
    is_single = not spec.platforms and not own_copies
    if is_single and (len(spec.programs) < 2 or _are_alike(spec.programs, files)):  # noqa: PLR2004 - two differ
        return (Part(spec=whole),)
    named = [_Named(program=program, platform=_platform_of(program, files)) for program in spec.programs]
    explicit = [_explicit(text, program, files) for text, program in spec.platforms]
    placed = _with_one_destination(named, explicit)
    platforms = {str(each.platform): each.platform for each in placed if each.platform is not None}
    _require_platforms(own_copies, tuple(platforms.values()))
    if len(platforms) < 2 or not (explicit or _collide(placed)):  # noqa: PLR2004 - likewise
        level = max((_level(each.platform) for each in explicit), default=1)
        programs = tuple(each.program for each in placed)
        copies = tuple(copy.but(platform=None) for copy in spec.copies)
        return (Part(spec=whole.but(programs=programs, copies=copies), isa_level=level),)
    order = list(dict.fromkeys(program_path(each.program) for each in placed))
    parts = []
    for name in sorted(platforms):
        own = [each.program for each in placed if each.platform is None or str(each.platform) == name]
        if not explicit:
            _require_all(order, own, name)
            own.sort(key=lambda program: order.index(program_path(program)))
        copies = tuple(copy.but(platform=None) for copy in spec.copies if _is_for(copy.platform, platforms[name]))
        part = whole.but(programs=tuple(own), copies=copies)
        parts.append(Part(spec=part, platform=name, isa_level=_level(platforms[name])))
    return tuple(parts)


def _is_for(platform: str | None, image: Platform) -> bool:
    """Whether what is for a platform, or for all, goes into the image for this one."""
    if platform is None:
        return True
    wanted = parse_platform(platform)
    is_same = (wanted.os, wanted.architecture) == (image.os, image.architecture)
    return is_same and wanted.variant in (None, image.variant)


def _require_platforms(copies: Sequence[Copy], platforms: Sequence[Platform]) -> None:
    """Raise SpecError for a copy that would go into no image."""
    for copy in copies:
        if not any(_is_for(copy.platform, platform) for platform in platforms):
            listed = " and ".join(map(str, platforms))
            raise SpecError(
                f"{copy.source!r} is to go into the image for {copy.platform}, and "
                f"{f'the programs are for {listed}' if listed else 'no program says its platform'}.",
                fix=f"Name a program for {copy.platform} too, or copy it into every image.",
            )


def _level(platform: Platform | None) -> int:
    """The level of x86-64 that a variant of amd64 stands for: v1 to v4 of GOAMD64."""
    if platform is None or platform.architecture != "amd64" or platform.variant not in {"v2", "v3", "v4"}:
        return 1
    return int(platform.variant[1])


def _are_alike(programs: Sequence[Copy], files: HostFiles) -> bool:
    """Whether all begin alike, down to the processor, and none stands in another's place: the usual case."""
    starts = set()
    for program in programs:
        try:
            starts.add(files.head(program.source, _START))
        except (OSError, ValueError):
            return True  # the plan says what is wrong with it
    elf = {start[4:6] + start[18:20] for start in starts if start.startswith(b"\x7fELF")}
    return len(elf) < 2 and len({program_path(each) for each in programs}) == len(programs)  # noqa: PLR2004


def _platform_of(program: Copy, files: HostFiles) -> Platform | None:
    elf = files.program(program.source).elf
    return None if elf is None else elf.exact_platform


def _explicit(text: str, program: Copy, files: HostFiles) -> _Named:
    """A program of --platform, which must be what it is said to be; a higher variant is the user's to say."""
    wanted, found = parse_platform(text), _platform_of(program, files)
    if found is None:
        raise SpecError(
            f"{program.source!r} does not say for which platform it is, so it may not be one for {text}.",
            fix="Name an ELF program after `--platform`; what goes into every image comes by --copy.",
        )
    same = (wanted.os, wanted.architecture) == (found.os, found.architecture)
    if not same or (wanted.variant or found.variant or "") < (found.variant or ""):
        raise SpecError(
            f"{program.source!r} is for {found}, and not for {text}.",
            fix=f"Write `--platform {found}={program.source}`, or name the program that was built for {text}.",
        )
    return _Named(
        program=program, platform=msgspec.structs.replace(wanted, variant=wanted.variant or found.variant)
    )


def _with_one_destination(named: Sequence[_Named], explicit: Sequence[_Named]) -> list[_Named]:
    """One program per platform and one DEST: it holds for all. One without --platform says it by its name."""
    every = [*named, *explicit]
    platforms = [str(each.platform) for each in every]
    paths = {program_path(each.program) for each in every if each.program.destination is not None}
    if explicit and not paths:
        paths = {program_path(each.program) for each in named}
    if len(paths) != 1 or len(set(platforms)) != len(platforms) or None in {each.platform for each in every}:
        return every
    (destination,) = paths
    return [msgspec.structs.replace(each, program=each.program.but(destination=destination)) for each in every]


def _collide(programs: Sequence[_Named]) -> bool:
    """Whether two of different platforms have one place in the image, where only one can be."""
    places: dict[str, str] = {}
    for each in programs:
        if each.platform is not None:
            here = str(each.platform)
            if places.setdefault(program_path(each.program), here) != here:
                return True
    return False


def _require_all(order: Sequence[str], own: Sequence[Copy], platform: str) -> None:
    there = {program_path(program) for program in own}
    missing = [path for path in order if path not in there]
    if missing:
        raise SpecError(
            f"There is an image for each platform, and none of the programs for {platform} is {missing[0]}.",
            fix=f"Name the one for {platform} too, as PROGRAM:{missing[0]}; or, if the images may "
            f"differ, use `--platform {platform}=PROGRAM`.",
        )
