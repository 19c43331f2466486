"""The tables of a document: what each image of it has, once variables, matrices and inheritance are worked out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rootless_scratch.errors import ScratchError, did_you_mean
from rootless_scratch.image.plan.filevalues import require_value, units
from rootless_scratch.image.plan.inheriting import (
    COMBINATIONS_MAX,
    combinations,
    inherited,
    plain_name,
    usual_name,
)
from rootless_scratch.image.plan.specschema import (
    GROUPS,
    IMAGES,
    INHERITS,
    KEYS,
    MATRIX,
    NAMED,
    VARIABLES,
    Misfit,
    misfits,
)
from rootless_scratch.image.plan.variables import Variables, references

if TYPE_CHECKING:
    from rootless_scratch.image.plan.positions import Path


_DEPTH_MAX = 32


class TableReader:
    """A document that becomes the values of images; what it may not have is kept.

    `groups` have their members, `bases` are the names that others inherit from.
    """

    def __init__(self, document: Mapping[str, Any], variables: Variables) -> None:
        self._document = document
        self._variables = variables
        self.misfits: list[Misfit] = list(misfits(document))
        self.groups: dict[str, tuple[str, ...]] = {}
        self.bases: set[str] = set()
        self._wrong_variables: set[str] = set()
        self._wrong = {each.path for each in self.misfits}
        self._parents: dict[str, list[tuple[str, Path]]] = {}
        self._own: dict[str, dict[str, Any]] = {}
        self._done: dict[str, dict[str, Any]] = {}

    def tables(self) -> dict[str, dict[str, Any]]:
        """The keys of each image, with those that it inherits; without a meaning where there are misfits."""
        declared = self._document.get(VARIABLES)
        if isinstance(declared, dict):
            for name, value in declared.items():
                self._expanded(value, (VARIABLES, name), {})
            self._wrong_variables = {name for name in declared if (VARIABLES, name) in self._wrong}
        tables = self._document.get(IMAGES)
        if not isinstance(tables, dict):
            return {"": self._values(self._document, (), {})}
        for name, table in tables.items():
            if isinstance(table, dict):
                self._read_table(name, table, (IMAGES, name))
        self._read_groups(tables)
        for parents in self._parents.values():
            self.bases |= {name for name, _ in parents}
        return {name: self._whole(name, ()) for name in self._own}

    def _read_table(self, name: str, table: Mapping[str, Any], path: Path) -> None:
        for combination in self._combinations(table, path):
            called = name
            if MATRIX in table:
                template = table.get(NAMED, "")
                text = self._expanded(template, (*path, NAMED), combination) if isinstance(template, str) else ""
                called = plain_name(text or usual_name(name, combination))
                self.groups[name] = (*self.groups.get(name, ()), called)
            self._parents[called] = self._named(table.get(INHERITS), (*path, INHERITS), combination)
            if called in self._own or not called:
                self._refuse(
                    (*path, NAMED if NAMED in table else MATRIX if MATRIX in table else name),
                    f"Two images have the name {called!r}." if called else "An image of the matrix has no name.",
                    f'Write `{NAMED}` with each name of the matrix in it, e.g. {NAMED} = "{name}-${{...}}".',
                )
                return
            self._own[called] = self._values(table, path, combination)
        if NAMED in table and MATRIX not in table:
            self._refuse(
                (*path, NAMED),
                f"`{NAMED}` is for the images of a `{MATRIX}`.",
                "Leave it out: the table has a name.",
            )

    def _combinations(self, table: Mapping[str, Any], path: Path) -> list[dict[str, str]]:
        matrix = table.get(MATRIX)
        if not isinstance(matrix, dict):
            return [{}]
        inner = (*path, MATRIX)
        if any(each[: len(inner)] == inner for each in self._wrong):
            return []
        count = 1
        for name, values in matrix.items():
            count *= len(values)
            if not values:
                self._refuse((*inner, name), "This has no values.", f'Write it as {name} = ["..."].')
        if count > COMBINATIONS_MAX:
            self._refuse(inner, f"The matrix has {count} combinations.", f"Have at most {COMBINATIONS_MAX}.")
            return []
        plain = {name: self._expanded(values, (*inner, name), {}) for name, values in matrix.items()}
        return list(combinations(plain))

    def _read_groups(self, tables: Mapping[str, Any]) -> None:
        groups = self._document.get(GROUPS)
        found = {} if not isinstance(groups, dict) else groups
        read = {name: self._named(value, (GROUPS, name), {}) for name, value in found.items()}
        known = [*self._own, *read, *self.groups]
        for name, listed in read.items():
            if name in tables:
                self._refuse(
                    (GROUPS, name), f"An image has the name {name!r} too.", "Rename one of them.", is_key=True
                )
                continue
            for member, path in listed:
                # What could not be read of an image is told already.
                if member not in known and member not in tables:
                    self._refuse(path, f"There is no image or group {member!r}.", _near(member, known))
            self.groups[name] = tuple(member for member, _ in listed)

    def _named(self, value: object, path: Path, combination: Mapping[str, str]) -> list[tuple[str, Path]]:
        """The names in a value, one or several, each with where it stands."""
        listed: list[tuple[object, Path]] = [(value, path)] if isinstance(value, str) else []
        if isinstance(value, list):
            listed = [(each, (*path, at)) for at, each in enumerate(value)]
        # What is no string is told already, by its own place or by that of the list.
        named = [(each, where) for each, where in listed if isinstance(each, str) and where not in self._wrong]
        return [(self._expanded(each, where, combination), where) for each, where in named]

    def _whole(self, name: str, within: tuple[str, ...]) -> dict[str, Any]:
        """The values of an image with those that it inherits."""
        if name in self._done:
            return self._done[name]
        found: dict[str, Any] = {}
        for parent, path in self._parents.get(name, ()):
            if parent in (*within, name):
                circle = " -> ".join((*within, name, parent))
                self._refuse(path, f"The image {name!r} inherits from itself: {circle}.", "Take one of them out.")
            elif len(within) == _DEPTH_MAX:
                self._refuse(path, f"{name!r} is behind {_DEPTH_MAX} others.", "Inherit from fewer.")
            elif parent in self._own:
                found = inherited(found, self._whole(parent, (*within, name)))
            elif parent in self.groups:
                listed = ", ".join(self.groups[parent])
                self._refuse(path, f"{parent!r} stands for several images.", f"Name one of them: {listed}.")
            else:
                self._refuse(path, f"There is no image {parent!r}.", _near(parent, list(self._own)))
        self._done[name] = inherited(found, self._own[name])
        return self._done[name]

    def _values(self, table: Mapping[str, Any], path: Path, combination: Mapping[str, str]) -> dict[str, Any]:
        known = {key: value for key, value in table.items() if key in KEYS and (*path, key) not in self._wrong}
        plain = {key: self._expanded(value, (*path, key), combination) for key, value in known.items()}
        for key, value in plain.items():
            for unit in units(key, value, (*path, key)):
                if not any(unit.path[:end] in self._wrong for end in range(len(unit.path) + 1)):
                    self._try(unit.path, lambda unit=unit: require_value(unit))
        return plain

    def _expanded(self, value: Any, path: Path, local: Mapping[str, str]) -> Any:  # noqa: ANN401 - of TOML
        """The value with what its strings refer to; below what is wrong nothing is looked at."""
        if path in self._wrong:
            return value
        if isinstance(value, str) and path[0] != VARIABLES and self._wrong_variables & {*references(value)}:
            # What is wrong with the variable is in the faults already.
            self._wrong.add(path)
            return value
        if isinstance(value, str):
            text = self._try(path, lambda: self._variables.expanded(value, local))
            return value if text is None else text
        if isinstance(value, list):
            return [self._expanded(item, (*path, index), local) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self._expanded(item, (*path, key), local) for key, item in value.items()}
        return value

    def _try(self, path: Path, read: Any) -> Any:  # noqa: ANN401 - what it reads
        try:
            return read()
        except ScratchError as error:
            self._refuse(path, error.message, error.fix)
            return None

    def _refuse(self, path: Path, message: str, fix: str, *, is_key: bool = False) -> None:
        # Several images of a matrix may have one fault.
        if not any(each.path == path and each.message == message for each in self.misfits[-8:]):
            self.misfits.append(Misfit(path, message, fix, is_key=is_key))
        self._wrong.add(path)


def _near(name: str, known: list[str]) -> str:
    return did_you_mean(name, known, otherwise=f"There are {', '.join(known)}.")
