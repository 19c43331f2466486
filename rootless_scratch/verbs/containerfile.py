"""`containerfile`: the image of a Spec as a Containerfile, with what it copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.write.containerfile import containerfile, write_context
from rootless_scratch.verbs.planning import plan_and_judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless_scratch.findings import Finding
    from rootless_scratch.image.spec import Spec


def write_spec(
    spec: Spec,
    directory: str | None = None,
    *,
    check: bool = True,
    judged: Callable[[tuple[Finding, ...]], None] = lambda _findings: None,
) -> str:
    """Plan, judge, and return the Containerfile; with `directory` write it there, with the files that it copies.

    `judged` is told the findings before anything else is done. Raises RefusedError unless told not to `check`, and
    what plans and writes raise.
    """
    with HostFiles() as files:
        plan, findings = plan_and_judge(spec, files, check=check)
        judged(findings)
        text = containerfile(plan)
        if directory is not None:
            write_context(plan, directory, files)
    return text
