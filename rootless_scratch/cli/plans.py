"""A plan as JSON for a person or a script: modes in octal, as they are written everywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from rootless_scratch.image.rootfs import File

if TYPE_CHECKING:
    from rootless_scratch.image.plan.planner import Plan


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """The plan's parts: names, platform, config as OCI has it, entries, and the facts about programs."""
    entries = [msgspec.to_builtins(entry) for entry in plan.rootfs]
    for entry, planned in zip(entries, plan.rootfs, strict=True):
        if isinstance(planned, File):
            entry["content"] = None if planned.content is None else planned.content.decode("utf-8", "replace")
        entry["mode"] = f"{entry['mode']:04o}"
        if entry["mtime"] is None:
            del entry["mtime"]
        if "identity" in entry:
            entry["size"] = entry.pop("identity")["size"]
    return {
        "names": plan.names,
        "platform": plan.platform,
        "config": plan.config.as_oci(),
        "annotations": dict(plan.annotations),
        "mtime": plan.mtime,
        "entries": entries,
        "programs": plan.programs,
        "added": plan.added,
    }
