"""An image that a file describes, and where it is to go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rootless_scratch.data import Value
from rootless_scratch.errors import UsageError
from rootless_scratch.image.names import image_name
from rootless_scratch.image.references import REGISTRY, parse_references
from rootless_scratch.image.spec import Spec


class Target(Value):
    """One image. Of its names and outputs only those here count; `shown` is what its file has, worked out."""

    name: str = ""
    spec: Spec = Spec()
    names: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    shown: tuple[tuple[str, object], ...] = ()


class Targets(Value):
    """What was chosen of a file: its path, the images in its order, and the groups that it has."""

    path: str = ""
    targets: tuple[Target, ...] = ()
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()


def directed(
    targets: Sequence[Target], *, output: Sequence[str] = (), push: bool = False, load: bool = False
) -> tuple[Target, ...]:
    """The same with where they go: as their file says, unless the caller says so. Raises UsageError.

    An `output` `oci:DIR` takes all, each by the name of its target; any other is for one target alone. With `push`
    each goes to the registries of its names, with `load` to local storage.
    """
    if output or push or load:
        targets = [_sent(each, targets, output=output, push=push, load=load) for each in targets]
    nowhere = [each.name for each in targets if not (each.names or each.output)]
    if nowhere:
        listed = ", ".join(map(repr, nowhere))
        raise UsageError(
            f"{listed} {'has' if len(nowhere) == 1 else 'have'} neither a tag nor an output.",
            fix="Write `tag` or `output` in the file, or pass `-o oci:DIR`.",
        )
    _require_apart(targets)
    return tuple(targets)


def _sent(target: Target, every: Sequence[Target], *, output: Sequence[str], push: bool, load: bool) -> Target:
    found = [_named(reference, target, alone=len(every) == 1) for reference in output]
    if (push or load) and not target.names:
        raise UsageError(
            f"{target.name!r} has no tag to be {'pushed' if push else 'stored'} by.",
            fix=f"Write `tag` in the file, or pass `--set {target.name}.tag=NAME`.",
        )
    if push:
        found += [f"{REGISTRY}://{name}" for name in target.names]
    return target.but(output=tuple(found), names=target.names if load else ())


def _named(reference: str, target: Target, *, alone: bool) -> str:
    """Where one target goes of an output for all."""
    transport, _, rest = reference.partition(":")
    if transport == "oci" and ":" not in rest:
        return f"{reference}:{target.name or 'latest'}"
    if not alone:
        raise UsageError(
            f"{reference!r} takes one image, and there are several.",
            fix="Write `-o oci:DIR`, a layout that holds all of them, or name one target.",
        )
    return reference


def _require_apart(targets: Iterable[Target]) -> None:
    """Raise UsageError where one image would take the place of another."""
    parse_references(reference for target in targets for reference in target.output)
    found = Counter(name for target in targets for name in dict.fromkeys(map(image_name, target.names)))
    for name, count in found.items():
        if count > 1:
            owners = " and ".join(repr(each.name) for each in targets if name in map(image_name, each.names))
            raise UsageError(f"{owners} have the same name, {name}.", fix="Give each a name of its own.")
