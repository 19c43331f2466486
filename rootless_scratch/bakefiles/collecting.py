"""Functions of HCL on lists, sets and maps."""

from __future__ import annotations

import math
from itertools import product

from rootless_scratch.bakefiles.values import (
    Misfit,
    as_set,
    equal,
    integer,
    items,
    kind_of,
    listed,
    mapped,
    number,
    text,
    whole,
)

LONGEST = 1024
"""Elements that a list of numbers may have."""


def length(value: object) -> int:
    """How many elements a list or a map has; raises Misfit."""
    if isinstance(value, (list, dict)):
        return len(value)
    raise Misfit(f"a list or a map is wanted, and it is a {kind_of(value)}")


def element(values: object, at: object) -> object:
    """The element at a position, which goes round; raises Misfit."""
    found = listed(values)
    if not found:
        raise Misfit("the list is empty")
    return found[integer(at) % len(found)]


def index_of(values: object, key: object) -> object:
    """The element of a list or a map; raises Misfit."""
    if isinstance(values, dict):
        if text(key) not in values:
            raise Misfit(f"there is no key {text(key)!r}")
        return values[text(key)]
    found, at = listed(values), integer(key)
    if not 0 <= at < len(found):
        raise Misfit(f"there is no element {at} of {len(found)}")
    return found[at]


def has_index(values: object, key: object) -> bool:
    """Whether `index_of` has one."""
    try:
        index_of(values, key)
    except Misfit:
        return False
    return True


def index_in(values: object, value: object) -> int:
    """The position of a value; raises Misfit."""
    for at, each in enumerate(listed(values)):
        if equal(each, value):
            return at
    raise Misfit("the value is not in the list")


def lookup(values: object, key: object, default: object) -> object:
    """The value of a key, or another."""
    return mapped(values).get(text(key), default)


def merged(*values: object) -> dict[str, object]:
    """Maps in one, the later before the earlier."""
    return {key: each for value in values if value is not None for key, each in mapped(value).items()}


def flattened(values: object) -> list[object]:
    """The elements of lists inside each other."""
    found: list[object] = []
    for each in listed(values):
        found += flattened(each) if isinstance(each, list) else [each]
    return found


def coalesce(*values: object) -> object:
    """The first that is not null; raises Misfit."""
    for value in values:
        if value is not None:
            return value
    raise Misfit("all values are null")


def coalesce_list(*values: object) -> object:
    """The first list that is not empty; raises Misfit."""
    for value in values:
        if value:
            return listed(value)
    raise Misfit("all lists are empty")


def chunks(values: object, size: object) -> list[object]:
    """A list cut into such pieces."""
    found, step = listed(values), integer(size) or max(1, len(listed(values)))
    return [found[at : at + step] for at in range(0, len(found), step)]


def numbers(*values: object) -> list[object]:
    """Numbers as range() has them, towards the end; raises Misfit."""
    bounds = [number(each) for each in values]
    if not 1 <= len(bounds) <= 3:  # noqa: PLR2004 - as range() of Python
        raise Misfit("it takes one to three numbers")
    begin, end = (0, bounds[0]) if len(bounds) == 1 else bounds[:2]
    step = bounds[2] if len(bounds) == 3 else (1 if begin <= end else -1)  # noqa: PLR2004 - likewise
    count = math.ceil((end - begin) / step)
    if count > LONGEST:
        raise Misfit(f"it would have more than {LONGEST} elements")
    return [whole(begin + step * at) for at in range(max(0, count))]


def part_of(values: object, begin: object, end: object) -> list[object]:
    """The elements between two positions; raises Misfit."""
    found = listed(values)
    first, last = integer(begin), integer(end)
    if not 0 <= first <= last <= len(found):
        raise Misfit(f"there is no slice from {first} to {last} of {len(found)} elements")
    return found[first:last]


def zip_map(keys: object, values: object) -> dict[str, object]:
    """A map of keys and values."""
    return dict(zip(map(text, listed(keys)), listed(values), strict=True))


def set_union(*lists: object) -> list[object]:
    """What any of the lists has."""
    return as_set([each for values in lists for each in listed(values)])


def set_intersection(first: object, *others: object) -> list[object]:
    """What all of the lists have."""
    return as_set([each for each in listed(first) if all(contains(other, each) for other in others)])


def set_subtract(one: object, other: object) -> list[object]:
    """What the second list has not."""
    return as_set([each for each in listed(one) if not contains(other, each)])


def set_difference(first: object, *others: object) -> list[object]:
    """What one list has and the others have not."""
    found = listed(first)
    for other in others:
        found = [*set_subtract(found, other), *set_subtract(other, found)]
    return as_set(found)


def set_product(*lists: object) -> list[object]:
    """All combinations of elements."""
    return [list(each) for each in product(*map(listed, lists))]


def contains(values: object, value: object) -> bool:
    """Whether a list has a value."""
    return any(equal(each, value) for each in listed(values))


def keys_of(values: object) -> list[object]:
    """The keys of a map, sorted."""
    return [key for key, _ in items(mapped(values))]


def values_of(values: object) -> list[object]:
    """The values of a map, by sorted keys."""
    return [value for _, value in items(mapped(values))]


def compact(values: object) -> list[object]:
    """A list without what is empty."""
    return [each for each in listed(values) if each not in (None, "")]
