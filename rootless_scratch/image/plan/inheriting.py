"""Several images of one file: what they take over from each other, tables that stand for many, and groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from rootless_scratch.data import Value
from rootless_scratch.errors import UsageError, did_you_mean
from rootless_scratch.expressions import expression
from rootless_scratch.image.plan.specschema import KEYS
from rootless_scratch.image.spec import OUTPUT, NamedSpec, Spec

REPLACED = (Spec.options["tag"].key, OUTPUT.key, Spec.options["entrypoint"].key, Spec.options["cmd"].key)
"""Keys of several values that take the place of what is inherited; all others of their kind are added to it."""

COMBINATIONS_MAX = 10_000
"""Images that one table may stand for."""

_NOT_IN_NAMES = expression(r"[^A-Za-z0-9_-]+")


class SpecFile(Value):
    """The images of a file in its order; `groups` are names with their members, images or other groups.

    `bases` are images that others inherit from, and that have neither a name nor an output of their own. `tables`
    are the keys of each image, worked out.
    """

    images: tuple[NamedSpec, ...] = ()
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    bases: tuple[str, ...] = ()
    tables: tuple[tuple[str, dict[str, Any]], ...] = ()

    def chosen(self, path: str, names: Iterable[str] = ()) -> tuple[NamedSpec, ...]:
        """The images of these names and groups, in the order of the file; raises UsageError.

        Without names those of the group `default`; all but bases where there is none.
        """
        known, groups = [image.name for image in self.images], dict(self.groups)
        wanted = tuple(names) or (("default",) if "default" in groups else ())
        if not wanted:
            return tuple(image for image in self.images if image.name not in self.bases)
        for name in wanted:
            if not name or (name not in groups and name not in known):
                raise unknown("image", path, name, [*groups, *(each for each in known if each)])
        named = set(members(wanted, groups))
        return tuple(image for image in self.images if image.name in named)


def members(names: Iterable[str], groups: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """The names that are no groups, and those of the members of groups, each once; circles end."""
    seen: set[str] = set()
    waiting = list(names)[::-1]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        # A group may have a member of its own name: that is the image.
        if name in groups:
            inner = list(groups[name])
            waiting += [each for each in inner[::-1] if each != name]
            if name not in inner:
                continue
        yield name


def unknown(what: str, path: str, name: str, known: list[str]) -> UsageError:
    """The error for a name that a file does not have, with the nearest that it has."""
    listed = f"It has {', '.join(known) or 'none'}."
    return UsageError(f"{path!r} has no {what} {name!r}.", fix=did_you_mean(name, known, otherwise=listed))


def combinations(matrix: Mapping[str, list[Any]]) -> Iterator[dict[str, str]]:
    """What each name of a matrix is in each image that it makes; of a table `name.key` has the value of a key."""
    for values in product(*matrix.values()):
        found: dict[str, str] = {}
        for name, value in zip(matrix, values, strict=True):
            if isinstance(value, dict):
                found.update({f"{name}.{key}": str(inner) for key, inner in value.items()})
            else:
                found[name] = str(value)
        yield found


def usual_name(table: str, combination: Mapping[str, str]) -> str:
    """The name of one image of a matrix that says none."""
    return "-".join((table, *combination.values()))


def plain_name(name: str) -> str:
    """A name of what a template made: whatever a name may not have is a dash."""
    return _NOT_IN_NAMES.sub("-", name).strip("-")


def inherited(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of an image with those of one that it inherits from: single values and some others are replaced."""
    found = dict(base)
    for key, value in own.items():
        before = found.get(key)
        if before is None or key in REPLACED or not KEYS[key].kind.many:
            found[key] = value
        elif isinstance(before, dict):
            found[key] = {**before, **value}
        else:
            found[key] = [*_listed(before), *_listed(value)]
    return found


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 - a value of TOML
    return value if isinstance(value, list) else [value]
