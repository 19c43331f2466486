"""From a Spec to its plans and the findings about them, before anything is built."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rootless_scratch.errors import RefusedError, UsageError
from rootless_scratch.findings import Finding, errors_of, of_platforms
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.plan.parts import parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.image.plan.planner import Plan, Planned
    from rootless_scratch.image.spec import Part, Spec

    Related = Callable[[int, Plan, tuple[Finding, ...]], tuple[Finding, ...]]

_ROUNDS = 3
"""What `auto` brings may have needs of its own: an interpreter makes TLS connections."""


def plan_and_judge(
    spec: Spec, files: HostFiles | None = None, *, check: bool = True
) -> tuple[Plan, tuple[Finding, ...]]:
    """The plan and all findings about it; RefusedError, with `check`, for those of severity `error`.

    `files` keeps what is opened for whoever writes the image. UsageError where there are several, for several
    platforms.
    """
    files = files or HostFiles(keep=False)
    parts = parts_of(spec, files)
    if len(parts) > 1:
        listed = " and ".join(str(part.platform) for part in parts)
        raise UsageError(
            f"The programs are for {listed}, and this takes one platform.",
            fix="Name the programs for one platform at a time.",
        )
    plans, findings = plan_all(parts, files, check=check)
    return plans[0].plan, findings


def plan_all(
    parts: Sequence[Part],
    files: HostFiles,
    *,
    check: bool = True,
    related: Related | None = None,
    root: Callable[[str | None], HostRoot] | None = None,
) -> tuple[tuple[Planned, ...], tuple[Finding, ...]]:
    """One plan for each part of a Spec, and the findings about all; otherwise as `plan_and_judge`.

    `related` puts the findings about a part, by its number, into the terms of the file that it was made of. `root`
    has what was looked up of a sysroot before, for other images.
    """
    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.image.plan.planner import Planned

    roots = {
        part.spec.sysroot: (
            HostRoot(part.spec.sysroot or "/", read=files.program) if root is None else root(part.spec.sysroot)
        )
        for part in parts
        if part.spec.bundle_libraries
    }
    judged = [(part.platform, *_completed(part, roots.get(part.spec.sysroot), files)) for part in parts]
    plans = [Planned(plan=plan, platform=platform) for platform, plan, _ in judged]
    each = [findings for _, _, findings in judged]
    if related is not None:
        each = [related(at, plan.plan, each[at]) for at, plan in enumerate(plans)]
    merged = tuple(dict.fromkeys(each[0])) if len(parts) == 1 else _of_all(plans, each)
    if check and errors_of(merged):
        raise RefusedError(merged)
    return tuple(plans), merged


def _completed(part: Part, root: HostRoot | None, files: HostFiles) -> tuple[Plan, tuple[Finding, ...]]:
    """The plan with what `auto` brings, and the findings about it: planned and judged until nothing is missing."""
    from msgspec.structs import replace

    from rootless_scratch.image.plan.planner import plan
    from rootless_scratch.rules.image.images import judge_plan
    from rootless_scratch.rules.image.needs import with_needed

    spec = part.spec
    named = {essential.name for essential in spec.essentials}
    planned = plan(spec, root=root, files=files, isa_level=part.isa_level, contents=part.contents)
    found = judge_plan(planned, files)
    for _ in range(_ROUNDS):
        completed = with_needed(spec, found)
        if completed == spec:
            break
        spec = completed
        added = tuple(each.name for each in spec.essentials if each.name not in named)
        again = plan(spec, root=root, files=files, isa_level=part.isa_level, contents=part.contents)
        planned = replace(again, added=added)
        found = judge_plan(planned, files)
    return planned, found


def _of_all(plans: Sequence[Planned], findings: Sequence[Sequence[Finding]]) -> tuple[Finding, ...]:
    """What was found for several platforms, each once; what holds for one alone names its program's file."""
    from collections import Counter

    placed = [_by_destination(each.plan, found) for each, found in zip(plans, findings, strict=True)]
    times = Counter(each for found in placed for each in set(found))
    return of_platforms(
        [
            (str(plan.platform), [a if times[b] == 1 else b for a, b in zip(found, called, strict=True)])
            for plan, found, called in zip(plans, findings, placed, strict=True)
        ]
    )


def _by_destination(planned: Plan, findings: Sequence[Finding]) -> list[Finding]:
    """Findings that call programs by their paths in the image, which are the same for each platform."""
    from msgspec.structs import replace

    texts = ("subject", "message", "fix")
    for program in planned.programs:
        source, path = program.facts.path, program.path
        findings = [
            replace(each, **{name: _called(getattr(each, name), source, path) for name in texts})
            for each in findings
        ]
    return list(findings)


def _called(text: str, source: str, path: str) -> str:
    """The text with the whole word `source` as `path`."""
    return re.sub(rf"(?<![\w./-]){re.escape(source)}(?![\w/-])", lambda _: path, text)
