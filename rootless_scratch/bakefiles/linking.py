"""Targets that take the images of others as named contexts: these are made first, into a layout between."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rootless_scratch.bakefiles.target import Target


def needs(target: Target) -> tuple[str, ...]:
    """The names of targets whose images it takes files of."""
    return () if target.file is None else tuple(dict.fromkeys(name for _, name in target.file.links))


def are_linked(targets: Iterable[Target]) -> bool:
    """Whether any of them needs another."""
    return any(map(needs, targets))


def waves(targets: Sequence[Target], linked: Sequence[Target], layout: str) -> list[list[Target]]:
    """All targets, each after those that it needs, whose images go to a layout beside where they go else."""
    every = {each.name: each for each in (*linked, *targets)}
    wanted = {name for each in every.values() for name in needs(each)}
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in depths:
            depths[name] = 1 + max(map(depth, needs(every[name])), default=-1)
        return depths[name]

    found: list[list[Target]] = []
    for name, target in every.items():
        at = depth(name)
        found += [[] for _ in range(at + 1 - len(found))]
        found[at].append(_through(target, layout, is_wanted=name in wanted, is_alone=target in linked))
    return found


def _through(target: Target, layout: str, *, is_wanted: bool, is_alone: bool) -> Target:
    """The target with the layout in place of the names of others, and among its outputs where it is wanted."""
    if is_alone:
        target = target.but(names=(), output=())
    if is_wanted:
        target = target.but(output=(*target.output, f"oci:{layout}:{target.name}"))
    file = target.file
    if file is None or not file.links:
        return target
    from rootless_scratch.containerfile.stages import SCRATCH_IMAGE

    places = {context: f"{SCRATCH_IMAGE}{layout}:{name}" for context, name in file.links}
    contexts = tuple((name, places.get(name, value)) for name, value in file.request.build_contexts)
    return target.but(file=file.but(request=file.request.but(build_contexts=contexts)))
