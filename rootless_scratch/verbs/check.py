"""What `check` may be asked about: a program of the host, an image of storage, a layout or an archive."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from rootless_scratch import private
from rootless_scratch.elf.platforms import Platform, parse_platform
from rootless_scratch.elf.roots import HostRoot
from rootless_scratch.errors import ElfError, HostError, ImageNotFoundError, ScratchError, UsageError
from rootless_scratch.findings import Finding, Judgement, of_platforms
from rootless_scratch.host.environment import temporary_directory
from rootless_scratch.image.arguments import text
from rootless_scratch.image.references import Reference, is_reference, is_remote, parse_reference
from rootless_scratch.image.spec import Copy, Spec
from rootless_scratch.progress import SILENT, Progress
from rootless_scratch.verbs.at_once import AtOnce, processes_for
from rootless_scratch.verbs.judge import judge_content, judge_stored
from rootless_scratch.verbs.subject import is_program, require_utf8, subject_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.read.reader import ImageReader
    from rootless_scratch.ship.access import Access

_FIRST = 8
_FEWEST = 24
"""Programs that are judged before others are at once, and how many there must be for that to be worth it."""

_NAMES = 16
"""So many names of one file are judged in one process; busybox has hundreds."""

_OF_A_DIRECTORY = "Name a program in it, a layout as `oci:DIR`, or an image that `podman images` lists."


def check_subject(
    subject: str | os.PathLike[str] | Image,
    *,
    bundle_libraries: bool,
    sysroot: str | None,
    platform: str | None,
    root: HostRoot | None,
    limits: Mapping[str, int] | None,
    access: Access | None = None,
    progress: Progress = SILENT,
    files: HostFiles | None = None,
) -> Judgement:
    """Judge what a name, or an image, stands for; see rootless_scratch.api.check.

    `files` are those of other names of the same program.
    """
    require_utf8()
    if not isinstance(subject, (str, bytes, os.PathLike)):
        name = subject_of(subject)
        check = _check_named if is_reference(name) else _check_stored
        return check(name, platform, limits)
    name = text("the subject", subject)
    if not name or "\0" in name:
        raise UsageError(
            f"{name!r} names neither a program nor an image.", fix="Name a file, or an image such as hello."
        )
    if isinstance(subject, str) and (is_reference(name) or is_remote(name)):
        return _check_named(name, platform, limits, access, progress)
    if isinstance(subject, os.PathLike) or is_program(name):
        if platform is not None:
            raise UsageError(f"{name!r} is a program, which has one platform.", fix="Leave `--platform` out.")
        return _check_program(name, bundle_libraries=bundle_libraries, sysroot=sysroot, root=root, files=files)
    if not os.path.isdir(name):
        return _check_stored(name, platform, limits)
    try:
        return _check_stored(name, platform, limits)
    except ImageNotFoundError as error:
        raise ImageNotFoundError(f"{error.message} Here {name!r} is a directory.", fix=_OF_A_DIRECTORY) from error
    except HostError:
        # Without storage there is only the directory.
        return _check_program(name, bundle_libraries=bundle_libraries, sysroot=sysroot, root=root)


def check_subjects(
    subjects: Sequence[str],
    *,
    sysroot: str | None,
    **how: Any,  # noqa: ANN401 - the other keywords of check_subject
) -> Iterator[Judgement | ScratchError]:
    """The answers one by one; of several subjects, the error of one that cannot be judged.

    UsageError and HostError are raised, as they are the same for every subject.
    """
    root = HostRoot(sysroot or "/")

    def judged(number: int, files: HostFiles | None = None) -> Judgement | ScratchError:
        try:
            return check_subject(subjects[number], sysroot=sysroot, root=root, files=files, **how)
        except ScratchError as error:
            return error

    def all_judged(group: int) -> list[Judgement | ScratchError]:
        from rootless_scratch.image.host_files import HostFiles

        with HostFiles() as files:
            return [judged(number, files) for number in groups[group]]

    programs = [number for number, subject in enumerate(subjects) if _is_plainly_program(subject)]
    # What most of them share is read before there are several processes that would each read it.
    known = {number: judged(number) for number in programs[:_FIRST]} if len(programs) >= _FEWEST else {}
    others = [number for number in programs if number not in known]
    processes = processes_for(len(others) if known else 0, _FEWEST - _FIRST)
    groups = _by_file(others, subjects) if processes > 1 else []
    pooled = {number: group for group, numbers in enumerate(groups) for number in numbers}
    together = AtOnce(
        range(len(groups)), all_judged, processes=processes, name=lambda group: subjects[groups[group][0]]
    )
    with together if groups else nullcontext():
        for number in range(len(subjects)):
            if number in pooled and number not in known:
                group = pooled[number]
                answers = together.answer(group)
                if isinstance(answers, Exception):
                    raise answers
                known.update(zip(groups[group], answers, strict=True))
            answer = known.pop(number, None) or judged(number)
            if not isinstance(answer, Judgement) and (len(subjects) == 1 or _is_for_all(answer)):
                raise answer
            yield answer


def _by_file(numbers: Sequence[int], subjects: Sequence[str]) -> list[list[int]]:
    """Put those together that are names of one file, which then is read once; by the first of its numbers."""
    groups: list[list[int]] = []
    begun: dict[object, list[int]] = {}
    for number in numbers:
        try:
            status = os.stat(subjects[number])
            file: object = (status.st_dev, status.st_ino)
        except (OSError, ValueError):
            file = number
        begun.setdefault(file, []).append(number)
        if begun[file] == [number]:
            groups.append(begun[file])
        if len(begun[file]) == _NAMES:
            del begun[file]
    return groups


def _is_for_all(error: Exception) -> bool:
    """Whether it is none of the one subject alone."""
    return isinstance(error, (UsageError, HostError)) or not isinstance(error, ScratchError)


def _is_plainly_program(subject: str) -> bool:
    """Whether it is judged here alone, without storage, network or progress."""
    return not (is_reference(subject) or is_remote(subject) or "\0" in subject) and is_program(subject)


def _check_program(
    path: str,
    *,
    bundle_libraries: bool,
    sysroot: str | None,
    root: HostRoot | None,
    files: HostFiles | None = None,
) -> Judgement:
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.plan.homes import home_of
    from rootless_scratch.image.plan.planner import plan
    from rootless_scratch.rules.image.images import judge_plan
    from rootless_scratch.rules.program.files import unreadable
    from rootless_scratch.rules.program.programs import verdict

    try:
        # What build places by itself is judged there.
        is_home = bundle_libraries and home_of(path, root or HostRoot(sysroot or "/")) is not None
        program = Copy(source=path, destination=None if is_home else "/program")
        spec = Spec(programs=(program,), bundle_libraries=bundle_libraries, sysroot=sysroot)
        with nullcontext(files) if files else HostFiles() as opened:
            findings = judge_plan(plan(spec, root=root, files=opened), opened)
    except ElfError as error:
        findings = (unreadable(path, error),)
    return Judgement(subject=path, verdict=verdict(findings), findings=findings)


def _check_stored(name: str, platform: str | None, limits: Mapping[str, int] | None) -> Judgement:
    if platform is not None:
        from rootless_scratch.backends.open_image import refuse_local_choice

        refuse_local_choice(name)
    return judge_stored(name, limits=limits)[0]


def _check_named(
    name: str,
    platform: str | None,
    limits: Mapping[str, int] | None,
    access: Access | None = None,
    progress: Progress = SILENT,
) -> Judgement:
    if not is_remote(name):
        return _check_layout(parse_reference(name), platform, limits)
    from rootless_scratch.ship.fetch import fetched

    wanted = None if platform is None else parse_platform(platform)
    every = platform is None
    with fetched(name, access, platform=wanted, every=every, limits=limits, progress=progress) as layout:
        return _check_layout(layout, platform, limits)


def _check_layout(reference: Reference, platform: str | None, limits: Mapping[str, int] | None) -> Judgement:
    from rootless_scratch.backends.layouts import LayoutImage
    from rootless_scratch.image.read.faults import validate
    from rootless_scratch.image.read.found import platforms_in
    from rootless_scratch.image.read.layer_faults import Refused
    from rootless_scratch.image.read.reader import ImageReader
    from rootless_scratch.rules.program.files import broken_image
    from rootless_scratch.rules.program.programs import verdict

    name = reference.text
    private.sweep(temporary_directory(os.environ))
    with ImageReader(reference, limits) as reader:
        faults = validate(reader)
        if faults:
            findings = tuple(broken_image(name, fault, is_mendable=isinstance(fault, Refused)) for fault in faults)
            return Judgement(subject=name, verdict="fails", findings=findings)
        wanted = None if platform is None else parse_platform(platform)
        every = platforms_in(reader) if wanted is None else ()
        if not every:
            image = LayoutImage(reader, wanted)
            return judge_content(name, image.stored, image.program)[0]
        judged = [(str(each), _judged(reader, each)) for each in every]
        found = of_platforms(judged)
        return Judgement(subject=name, verdict=verdict(found), findings=found)


def _judged(reader: ImageReader, platform: Platform) -> tuple[Finding, ...]:
    from rootless_scratch.backends.layouts import LayoutImage

    image = LayoutImage(reader, platform)
    return judge_content(reader.subject, image.stored, image.program)[0].findings
