"""Functions of HCL that `docker buildx bake` has; docs/bake.md lists those that are missing here."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from rootless_scratch.bakefiles.collecting import (
    chunks,
    coalesce,
    coalesce_list,
    compact,
    contains,
    element,
    flattened,
    has_index,
    index_in,
    index_of,
    keys_of,
    length,
    lookup,
    merged,
    numbers,
    part_of,
    set_difference,
    set_intersection,
    set_product,
    set_subtract,
    set_union,
    values_of,
    zip_map,
)
from rootless_scratch.bakefiles.values import (
    Misfit,
    distinct,
    equal,
    integer,
    listed,
    number,
    text,
    truth,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Function = Callable[..., object]

LACKING = frozenset(
    {
        "bcrypt",
        "byteslen",
        "bytesslice",
        "cidrhost",
        "cidrnetmask",
        "cidrsubnet",
        "cidrsubnets",
        "csvdecode",
        "formatdate",
        "formatlist",
        "formattimestamp",
        "rsadecrypt",
        "semvercmp",
        "timeadd",
        "unixtimestampparse",
        "uuidv4",
        "uuidv5",
    }
)
"""Those of buildx that are not here."""

_VERB = re.compile(r"%(?P<flags>[-+ 0#]*)(?P<width>\d{0,4})(?:\.(?P<digits>\d{1,4}))?(?P<verb>[%a-zA-Z])")
_GROUP = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def call(name: str, values: list[object]) -> object:
    """What a function makes of these; raises Misfit."""
    try:
        return FUNCTIONS[name](*values)
    except (TypeError, IndexError, KeyError, OverflowError, ZeroDivisionError, re.error) as error:
        if isinstance(error, TypeError) and "positional argument" in str(error):
            raise Misfit(f"{name}() takes another number of arguments") from error
        raise Misfit(f"{name}() cannot be called with these values: {error}") from error
    except Misfit as error:
        raise Misfit(f"{name}(): {error}") from error


def _format(template: object, *values: object) -> str:
    left = list(values)

    def one(match: re.Match[str]) -> str:
        verb = match["verb"]
        if verb == "%":
            return "%"
        if not left:
            raise Misfit("the format has more verbs than there are values")
        return _formatted(left.pop(0), match, verb)

    return _VERB.sub(one, text(template))


def _formatted(value: object, match: re.Match[str], verb: str) -> str:
    digits = "" if match["digits"] is None else f".{match['digits']}"
    shape = f"%{match['flags']}{match['width']}"
    if verb in "dxXo":
        return f"{shape}{verb}" % integer(value)
    if verb in "eEfFgG":
        return f"{shape}{digits}{verb}" % number(value)
    if verb not in _SHOWN:
        raise Misfit(f"the verb %{verb} is unknown")
    return f"{shape}{digits if verb == 's' else ''}s" % _SHOWN[verb](value)


def _any(value: object) -> str:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, (list, dict)) else text(value)


_SHOWN: dict[str, Callable[[object], str]] = {
    "s": text,
    "v": _any,
    "q": lambda value: json.dumps(text(value), ensure_ascii=False),
    "t": lambda value: text(truth(value)),
    "b": lambda value: f"{integer(value):b}",
}


def _substr(value: object, offset: object, length: object) -> str:
    found, first, count = text(value), integer(offset), integer(length)
    first = max(0, len(found) + first) if first < 0 else first
    return found[first:] if count < 0 else found[first : first + count]


def _indent(spaces: object, value: object) -> str:
    return text(value).replace("\n", "\n" + " " * integer(spaces))


def _title(value: object) -> str:
    return re.sub(r"(?<![^\W_])[^\W\d_]", lambda match: match[0].upper(), text(value))


def _groups(match: re.Match[str]) -> object:
    if match.re.groupindex:
        return dict(match.groupdict())
    return list(match.groups()) if match.re.groups else match[0]


def _regex(pattern: object, value: object) -> object:
    match = re.search(text(pattern), text(value))
    if match is None:
        raise Misfit("the pattern does not match")
    return _groups(match)


def _regex_all(pattern: object, value: object) -> list[object]:
    return [_groups(match) for match in re.finditer(text(pattern), text(value))]


def _regex_replace(value: object, pattern: object, by: object) -> str:
    shape = _GROUP.sub(lambda match: rf"\g<{match[1] or match[2]}>", text(by).replace("\\", "\\\\"))
    return re.sub(text(pattern), shape, text(value))


def _replace(value: object, part: object, by: object) -> str:
    return text(value).replace(text(part), text(by))


def _split(separator: object, value: object) -> list[object]:
    return [*text(value).split(text(separator))] if text(separator) else [*text(value)]


def _join(separator: object, *lists: object) -> str:
    return text(separator).join(text(each) for values in lists for each in listed(values))


def _sort(values: object) -> list[object]:
    return [*sorted(text(each) for each in listed(values))]


def _hash(name: str) -> Function:
    return lambda value: hashlib.new(name, text(value).encode(), usedforsecurity=False).hexdigest()


def _decode_json(value: object) -> object:
    try:
        found: object = json.loads(text(value))
    except ValueError as error:
        raise Misfit(f"this is not JSON: {error}") from error
    return found


def _decode_base64(value: object) -> str:
    try:
        return base64.b64decode(text(value), validate=True).decode()
    except ValueError as error:
        raise Misfit(f"this is not base64 of a text: {error}") from error


def _parse_int(value: object, base: object) -> int:
    try:
        return int(text(value), integer(base))
    except ValueError as error:
        raise Misfit(f"{text(value)!r} is not a number of the base {integer(base)}") from error


def _modulo(one: object, other: object) -> float:
    return whole(math.fmod(number(one), number(other)))


def _log(value: object, base: object) -> float:
    return whole(math.log(number(value), number(base)))


def _extreme(which: Callable[..., float]) -> Function:
    return lambda *values: which([number(each) for each in values])


def _signum(value: object) -> int:
    return (number(value) > 0) - (number(value) < 0)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


FUNCTIONS: dict[str, Function] = {
    "absolute": lambda value: abs(number(value)),
    "add": lambda one, other: whole(number(one) + number(other)),
    "and": lambda one, other: truth(one) and truth(other),
    "base64decode": _decode_base64,
    "base64encode": lambda value: base64.b64encode(text(value).encode()).decode(),
    "basename": lambda value: os.path.basename(text(value).rstrip("/")) or ("/" if text(value) else "."),
    "ceil": lambda value: math.ceil(number(value)),
    "chomp": lambda value: text(value).rstrip("\r\n"),
    "chunklist": chunks,
    "coalesce": coalesce,
    "coalescelist": coalesce_list,
    "compact": compact,
    "concat": lambda *lists: [each for values in lists for each in listed(values)],
    "contains": contains,
    "dirname": lambda value: os.path.normpath(os.path.dirname(text(value)) or "."),
    "distinct": lambda values: distinct(listed(values)),
    "divide": lambda one, other: whole(number(one) / number(other)),
    "element": element,
    "equal": equal,
    "flatten": flattened,
    "floor": lambda value: math.floor(number(value)),
    "format": _format,
    "greaterthan": lambda one, other: number(one) > number(other),
    "greaterthanorequalto": lambda one, other: number(one) >= number(other),
    "hasindex": has_index,
    "homedir": lambda: os.path.expanduser("~"),
    "indent": _indent,
    "index": index_of,
    "indexof": index_in,
    "int": lambda value: int(number(value)),
    "join": _join,
    "jsondecode": _decode_json,
    "jsonencode": lambda value: json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False),
    "keys": keys_of,
    "length": length,
    "lessthan": lambda one, other: number(one) < number(other),
    "lessthanorequalto": lambda one, other: number(one) <= number(other),
    "log": _log,
    "lookup": lookup,
    "lower": lambda value: text(value).lower(),
    "max": _extreme(max),
    "md5": _hash("md5"),
    "merge": merged,
    "min": _extreme(min),
    "modulo": _modulo,
    "multiply": lambda one, other: whole(number(one) * number(other)),
    "negate": lambda value: -number(value),
    "not": lambda value: not truth(value),
    "notequal": lambda one, other: not equal(one, other),
    "or": lambda one, other: truth(one) or truth(other),
    "parseint": _parse_int,
    "pow": lambda one, other: whole(float(number(one)) ** number(other)),
    "range": numbers,
    "regex": _regex,
    "regex_replace": _regex_replace,
    "regexall": _regex_all,
    "replace": _replace,
    "reverse": lambda value: text(value)[::-1],
    "reverselist": lambda values: listed(values)[::-1],
    "sanitize": lambda value: re.sub(r"[^a-zA-Z0-9_-]", "_", text(value)),
    "sethaselement": contains,
    "setintersection": set_intersection,
    "setproduct": set_product,
    "setsubtract": set_subtract,
    "setsymmetricdifference": set_difference,
    "setunion": set_union,
    "sha1": _hash("sha1"),
    "sha256": _hash("sha256"),
    "sha512": _hash("sha512"),
    "signum": _signum,
    "slice": part_of,
    "sort": _sort,
    "split": _split,
    "strlen": lambda value: len(text(value)),
    "substr": _substr,
    "subtract": lambda one, other: whole(number(one) - number(other)),
    "timestamp": _now,
    "title": _title,
    "trim": lambda value, characters: text(value).strip(text(characters)),
    "trimprefix": lambda value, prefix: text(value).removeprefix(text(prefix)),
    "trimspace": lambda value: text(value).strip(),
    "trimsuffix": lambda value, suffix: text(value).removesuffix(text(suffix)),
    "upper": lambda value: text(value).upper(),
    "urlencode": lambda value: quote_plus(text(value)),
    "values": values_of,
    "zipmap": zip_map,
}
"""By their names; `try`, `can` and `convert` are not called with values, and stand in expressions.py."""
