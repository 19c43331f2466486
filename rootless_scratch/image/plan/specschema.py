"""The shape of `scratch.toml`: one JSON Schema, for editors and for the reader, made of the rows of options."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rootless_scratch.data import Data
from rootless_scratch.errors import did_you_mean
from rootless_scratch.image.plan.variables import NAME
from rootless_scratch.image.spec import OUTPUT, Spec

if TYPE_CHECKING:
    from rootless_scratch.image.kinds import Option
    from rootless_scratch.image.plan.positions import Path

IMAGES = "image"
GROUPS = "group"
VARIABLES = "variables"
NAMED, MATRIX, INHERITS = OF_SEVERAL = ("name", "matrix", "inherits")
"""Keys of a table of an image that say what several images have to do with each other."""

KEYS: dict[str, Option] = {
    option.key: option for option in sorted((*Spec.options.values(), OUTPUT), key=lambda option: option.key)
}
"""All keys that an image may have."""

_IMAGE_NAME = "^[A-Za-z0-9_-]+$"
"""A bare key of TOML, and a part of a command line that no shell reads."""

_KINDS = {
    str: ("string", "a string"),
    bool: ("boolean", "true or false"),
    int: ("integer", "an integer"),
    list: ("array", "an array"),
    dict: ("object", "a table"),
    float: ("number", "a float"),
    dt.datetime: ("", "a time"),
    dt.date: ("", "a date"),
    dt.time: ("", "a time"),
}
"""By type of Python: that of JSON Schema, and what TOML calls it."""

_NAME_FIX = {
    NAME: "Write letters, digits and `_`, and no digit first.",
    _IMAGE_NAME: "Write letters, digits, `_` and `-`.",
}

_NAMES = {"type": ["string", "array"], "items": {"type": "string"}}
_PLAIN = {"type": ["string", "integer"]}

_SEVERAL: dict[str, dict[str, Any]] = {
    NAMED: {
        "description": "Names of the images of a matrix, of its values; what a name may not have becomes a dash.",
        "type": "string",
    },
    MATRIX: {
        "description": "An image for each combination of these values, for which ${NAME} stands in the table.",
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": NAME},
        "additionalProperties": {
            "type": "array",
            "items": {"type": ["string", "integer", "object"], "additionalProperties": _PLAIN},
        },
    },
    INHERITS: {"description": "Images whose keys this one has too, the last one first.", **_NAMES},
}

_EXAMPLES = {"string": '"..."', "integer": "1", "array": '["..."]', "object": '{NAME = "..."}', "boolean": "true"}


def schema() -> dict[str, Any]:
    """The JSON Schema of a file, for editors and for those that write one by a program."""
    image = {key: {"description": option.help, **option.kind.schema} for key, option in KEYS.items()}
    of_several = {**image, **_SEVERAL}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "scratch.toml",
        "type": "object",
        "properties": {
            VARIABLES: {
                "description": "What ${NAME} stands for in strings; the environment and --set come before it.",
                "type": "object",
                "propertyNames": {"pattern": NAME},
                "additionalProperties": _PLAIN,
            },
            GROUPS: {
                "description": "Names for several images or groups; `default` is built where none is named.",
                "type": "object",
                "propertyNames": {"pattern": _IMAGE_NAME},
                "additionalProperties": _NAMES,
            },
            IMAGES: {
                "description": "Several images by their names, each with the keys of one.",
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": _IMAGE_NAME},
                "additionalProperties": {
                    "type": "object",
                    "properties": of_several,
                    "additionalProperties": False,
                },
            },
            **image,
        },
        "additionalProperties": False,
        "if": {"required": [IMAGES]},
        "then": {"propertyNames": {"enum": [IMAGES, GROUPS, VARIABLES]}},
        "else": {"propertyNames": {"not": {"const": GROUPS}}},
    }


class Misfit(Data):
    """What a document has and may not have: where, why and what to do; `is_key` where the key itself is wrong."""

    path: Path
    message: str
    fix: str
    is_key: bool = False


def misfits(document: Mapping[str, Any]) -> Iterator[Misfit]:
    """All that `schema` does not allow in a document, as tomllib reads it."""
    yield from _misfits(schema(), document, ())
    if IMAGES in document:
        for key in document:
            if key in KEYS:
                yield Misfit(
                    (key,),
                    f"Beside [{IMAGES}.NAME] there can be no key of a single image.",
                    f"Move it into the table of the image that it is for, or leave [{IMAGES}.NAME] out.",
                    is_key=True,
                )
    elif GROUPS in document:
        yield Misfit(
            (GROUPS,),
            f"There are no tables [{IMAGES}.NAME] to be grouped.",
            f"Give each image a table [{IMAGES}.NAME], or leave [{GROUPS}] out.",
            is_key=True,
        )


def misfits_of(key: str, value: object) -> Iterator[Misfit]:
    """All that the schema does not allow in the value of one key of an image."""
    yield from _misfits(KEYS[key].kind.schema, value, (key,))


def _misfits(expected: Mapping[str, Any], value: object, path: Path) -> Iterator[Misfit]:
    types = expected.get("type", ())
    types = (types,) if isinstance(types, str) else tuple(types)
    kind, name = _KINDS.get(type(value), ("", "a value"))
    if types and kind not in types:
        yield _of_type(types, name, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _misfits(expected.get("items", {}), item, (*path, index))
    elif isinstance(value, dict):
        yield from _of_table(expected, value, path)


def _of_type(types: tuple[str, ...], name: str, path: Path) -> Misfit:
    named = {kind: text for kind, text in _KINDS.values() if kind}
    wanted = [named[kind] for kind in types]
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    example = _EXAMPLES[types[0]]
    fix = f"Write it as {example}." if isinstance(path[-1], int) else f"Write it as {shown_key(key)} = {example}."
    return Misfit(path, f"This is {name}, and not {' or '.join(wanted)}.", fix)


def _of_table(expected: Mapping[str, Any], value: Mapping[str, Any], path: Path) -> Iterator[Misfit]:
    if len(value) < expected.get("minProperties", 0):
        yield Misfit(path, "This has no tables.", f"Write one, e.g. [{dotted(path)}.server].")
    properties = expected.get("properties", {})
    others = expected.get("additionalProperties", {})
    pattern = expected.get("propertyNames", {}).get("pattern", "")
    for key, item in value.items():
        inner = (*path, key)
        if pattern and not re.fullmatch(pattern, key):
            yield Misfit(inner, f"{key!r} is not a name for {_named_in(path)}.", _NAME_FIX[pattern], is_key=True)
        elif key in properties:
            yield from _misfits(properties[key], item, inner)
        elif others is False:
            yield Misfit(inner, "There is no such key.", _meant(key, properties), is_key=True)
        else:
            yield from _misfits(others, item, inner)


def _named_in(path: Path) -> str:
    return {VARIABLES: "a variable", GROUPS: "a group", MATRIX: "a variable"}.get(str(path[-1]), "an image")


def _meant(key: str, known: Iterable[str]) -> str:
    listed = f"The keys are {', '.join(known)}."
    return did_you_mean(key.lower().replace("_", "-"), known, otherwise=listed)


def dotted(path: Path) -> str:
    """A path as TOML writes it, an element by its index: `image.web.copy[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{shown_key(part)}" for part in path)
    return text.removeprefix(".")


def shown_key(key: str) -> str:
    """A key as TOML writes it."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
