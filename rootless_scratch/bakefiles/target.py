"""An image that a file describes, and where it is to go."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from rootless_scratch.containerfile.request import FileRequest
from rootless_scratch.data import Value
from rootless_scratch.errors import Fault, SpecFileError, UsageError
from rootless_scratch.image.names import image_name
from rootless_scratch.image.references import REGISTRY, parse_references
from rootless_scratch.image.spec import Spec


class FileTarget(Value):
    """A Containerfile to build; `inline` is its text where it is no file.

    `links` are named contexts that are images of other targets, by their names.
    """

    request: FileRequest = FileRequest()
    inline: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()


class Target(Value):
    """One image, of a Spec or of a `file`. Of its names and outputs only those here count.

    `shown` is what its file has, worked out. With `stored` False the names are not for local storage; `unsent` is
    what keeps the image from going where its file says.
    """

    name: str = ""
    spec: Spec = Spec()
    names: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    shown: tuple[tuple[str, object], ...] = ()
    file: FileTarget | None = None
    stored: bool = True
    unsent: tuple[Fault, ...] = ()


class Targets(Value):
    """What was chosen of a file: its path, the images in its order, and the groups that it has.

    `linked` are those that others need as named contexts, and nobody else. `notes` are on what has no effect. The
    file is `foreign` where it is one of `docker buildx bake`.
    """

    path: str = ""
    targets: tuple[Target, ...] = ()
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    linked: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()
    foreign: bool = False


def directed(
    targets: Sequence[Target], *, output: Sequence[str] = (), push: bool = False, load: bool = False
) -> tuple[Target, ...]:
    """The same with where they go: as their file says, unless the caller says so. Raises UsageError.

    An `output` `oci:DIR` takes all, each by the name of its target; any other is for one target alone. With `push`
    each goes to the registries of its names, with `load` to local storage.
    """
    if output or push or load:
        targets = [_sent(each, targets, output=output, push=push, load=load) for each in targets]
    else:
        unsent = [fault for each in targets for fault in each.unsent]
        if unsent:
            raise SpecFileError(unsent)
        targets = [each if each.stored else each.but(names=()) for each in targets]
    nowhere = [each.name for each in targets if not (each.names or each.output)]
    if nowhere:
        listed = ", ".join(map(repr, nowhere))
        raise UsageError(
            f"{listed} {'has' if len(nowhere) == 1 else 'have'} neither a tag nor an output.",
            fix="Write `tag` or `output` in the file, or pass `-o oci:DIR`.",
        )
    _require_apart(targets)
    return tuple(targets)


def shard_of(targets: Sequence[Target], shard: str | None) -> tuple[Target, ...]:
    """The share of the targets that `I/N` names, all without one: from 0/N to N-1/N each is in one of them.

    Raises UsageError.
    """
    if shard is None:
        return tuple(targets)
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", shard)
    if found is None or int(found[1]) >= int(found[2]):
        raise UsageError(f"{shard!r} is not a share.", fix="Write `0/4`, `1/4`, `2/4` or `3/4` for one of four.")
    return tuple(targets[int(found[1]) :: int(found[2])])


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
