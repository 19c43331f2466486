"""Values of HCL, as Python has them: str, int, float, bool, None, lists and dicts; what they convert to."""

from __future__ import annotations

import csv
import json
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Number = int | float

PRIMITIVE = ("string", "number", "bool")
LISTS = ("list", "set")


class Misfit(ValueError):  # noqa: N818 - told with its place by whoever evaluates
    """A value is of another type than it has to be; the message says so."""


class Type:
    """A type: its `kind`, and the types inside, by name or by position; `any` takes every value."""

    def __init__(self, kind: str, inner: dict[str, Type] | None = None) -> None:
        self.kind = kind
        self.inner = inner or {}

    @property
    def each(self) -> Type:
        """The type of what a list, a set or a map has."""
        return next(iter(self.inner.values()), ANY)


ANY = Type("any")


def kind_of(value: object) -> str:
    """What users call it."""
    for kind, types in (("bool", bool), ("number", (int, float)), ("string", str), ("list", list), ("map", dict)):
        if isinstance(value, types):
            return kind
    return "null"


def is_number(value: object) -> bool:
    """Whether it is one already."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def text(value: object) -> str:
    """The string that a primitive value is written as; raises Misfit."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else format(value, ".15g")
    if isinstance(value, int):
        return str(value)
    raise Misfit(f"a string is wanted, and it is {_named(value)}")


def number(value: object) -> Number:
    """The number that a value is or spells; raises Misfit."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if math.isfinite(found) and value == value.strip() and "_" not in value:
            return whole(found) if "e" in value.lower() or "." in value else int(value)
    raise Misfit(f"a number is wanted, and it is {_named(value)}")


def whole(value: float) -> Number:
    """The same as an integer where it is one."""
    return int(value) if math.isfinite(value) and float(value).is_integer() else value


def integer(value: object) -> int:
    """A whole number; raises Misfit."""
    found = number(value)
    if found != int(found):
        raise Misfit(f"a whole number is wanted, and it is {text(found)}")
    return int(found)


def truth(value: object) -> bool:
    """The bool that a value is or spells; raises Misfit."""
    if isinstance(value, bool):
        return value
    if value in ("true", "1"):
        return True
    if value in ("false", "0"):
        return False
    raise Misfit(f"true or false is wanted, and it is {_named(value)}")


def listed(value: object) -> list[object]:
    """A list; raises Misfit."""
    if isinstance(value, list):
        return value
    raise Misfit(f"a list is wanted, and it is {_named(value)}")


def mapped(value: object) -> dict[str, object]:
    """A map; raises Misfit."""
    if isinstance(value, dict):
        return value
    raise Misfit(f"a map is wanted, and it is {_named(value)}")


def distinct(values: list[object]) -> list[object]:
    """Each value once, in the order of the first."""
    found: list[object] = []
    for value in values:
        if not any(equal(value, each) for each in found):
            found.append(value)
    return found


def as_set(values: list[object]) -> list[object]:
    """Each value once, in the order in which sets are iterated over: by value where they are primitive."""
    found = distinct(values)
    if all(isinstance(each, str) for each in found):
        return sorted(found, key=str)
    return sorted(found, key=number) if all(map(is_number, found)) else found


def equal(one: object, other: object) -> bool:
    """Whether both have one type and one value."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(each, other[key]) for key, each in one.items())
    return one == other


def items(value: object) -> Iterator[tuple[object, object]]:
    """What `for` goes over: positions and values of a list, sorted keys and values of a map; raises Misfit."""
    if isinstance(value, list):
        yield from enumerate(value)
    elif isinstance(value, dict):
        yield from sorted(value.items())
    else:
        raise Misfit(f"a list or a map is wanted, and it is {_named(value)}")


def convert(value: object, wanted: Type) -> object:
    """The value as one of the type; null is one of each. Raises Misfit."""
    if value is None or wanted.kind == "any":
        return value
    if wanted.kind in _PRIMITIVE:
        return _PRIMITIVE[wanted.kind](value)
    if wanted.kind in LISTS:
        found = [convert(each, wanted.each) for each in listed(value)]
        return as_set(found) if wanted.kind == "set" else found
    if wanted.kind == "tuple":
        values = listed(value)
        if len(values) != len(wanted.inner):
            raise Misfit(f"{len(wanted.inner)} values are wanted, and there are {len(values)}")
        return [convert(each, kind) for each, kind in zip(values, wanted.inner.values(), strict=True)]
    if wanted.kind == "map":
        return {key: convert(each, wanted.each) for key, each in mapped(value).items()}
    own = mapped(value)
    for name in wanted.inner:
        if name not in own:
            raise Misfit(f"the attribute {name!r} is missing")
    return {name: convert(own[name], kind) for name, kind in wanted.inner.items()}


_PRIMITIVE = {"string": text, "number": number, "bool": truth}


def from_environment(value: str, wanted: Type, *, as_json: bool) -> object:
    """What a value of the environment is as one of the type: JSON, or CSV for lists. Raises Misfit."""
    if as_json:
        try:
            return convert(json.loads(value), wanted)
        except ValueError as error:
            if isinstance(error, Misfit):
                raise
            raise Misfit(f"JSON is wanted: {error}") from error
    if wanted.kind in (*_PRIMITIVE, "any"):
        return convert(value, wanted)
    if wanted.kind in (*LISTS, "tuple"):
        return convert(_fields(value), wanted)
    if wanted.kind == "map" and wanted.each.kind in (*_PRIMITIVE, "any"):
        pairs = [str(field).partition("=") for field in _fields(value)]
        if any(not equals for _, equals, _ in pairs):
            raise Misfit("KEY=VALUE,... is wanted")
        return convert({key: part for key, _, part in pairs}, wanted)
    raise Misfit(f"a {wanted.kind} is taken from the environment as JSON alone, by the name with _JSON behind it")


def _fields(value: str) -> list[object]:
    try:
        return [*next(csv.reader([value]), [])] if value else []
    except csv.Error as error:
        raise Misfit("fields between commas are wanted, those with a new line in quotes") from error


def fields(value: str) -> list[str]:
    """The fields of a line of CSV."""
    return [str(each) for each in _fields(value)]


def _named(value: object) -> str:
    return "null" if value is None else f"a {kind_of(value)}"
