"""From a Spec to its plans and the findings about them, before anything is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.errors import RefusedError, UsageError
from rootless_scratch.findings import Finding, errors_of
from rootless_scratch.image.plan.parts import parts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.image.plan.planner import Plan, Planned
    from rootless_scratch.image.spec import Part, Spec


def plan_and_judge(spec: Spec, *, check: bool = True) -> tuple[Plan, tuple[Finding, ...]]:
    """The plan and all findings about it; raises RefusedError for those of severity `error` unless told not to.

    UsageError where there are several, for several platforms.
    """
    parts = parts_of(spec)
    if len(parts) > 1:
        listed = " and ".join(str(part.platform) for part in parts)
        raise UsageError(
            f"The programs are for {listed}, and this takes one platform.",
            fix="Name the programs for one platform at a time.",
        )
    plans, findings = plan_all(parts, check=check)
    return plans[0].plan, findings


def plan_all(parts: Sequence[Part], *, check: bool = True) -> tuple[tuple[Planned, ...], tuple[Finding, ...]]:
    """One plan for each part of a Spec, and the findings about all; RefusedError as `plan_and_judge`."""
    from msgspec.structs import replace

    from rootless_scratch.image.plan.planner import Planned, plan
    from rootless_scratch.rules.image.images import judge_plan
    from rootless_scratch.rules.image.needs import with_needed

    plans: list[Planned] = []
    findings: dict[Finding, None] = {}
    for part in parts:
        planned = plan(part.spec)
        found = judge_plan(planned)
        completed = with_needed(part.spec, found)
        if completed != part.spec:
            named = {essential.name for essential in part.spec.essentials}
            added = tuple(each.name for each in completed.essentials if each.name not in named)
            planned = replace(plan(completed), added=added)
            found = judge_plan(planned)
        plans.append(Planned(plan=planned, platform=part.platform))
        findings |= dict.fromkeys(found)
    if check and errors_of(tuple(findings)):
        raise RefusedError(tuple(findings))
    return tuple(plans), tuple(findings)
