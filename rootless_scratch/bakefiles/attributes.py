"""The attributes of a target of a bake file: what their values are, and how two of one become one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rootless_scratch.bakefiles.positions import Position
from rootless_scratch.bakefiles.values import Misfit, fields, kind_of, listed, mapped, text, truth
from rootless_scratch.data import Value

Entry = dict[str, Any]


class Attribute(Value):
    """What `read` makes of a value of HCL; of two values the later one holds, or `adds` to the one before.

    `key` is another name of it for `--set`. It has `many` values, or is a `table` of them.
    """

    read: Callable[[object], Any]
    adds: bool = False
    key: str = ""
    many: bool = False
    table: bool = False


def _texts(value: object) -> list[str]:
    return list(dict.fromkeys(found for each in listed(value) if each is not None and (found := text(each))))


def _map(value: object) -> dict[str, str]:
    """A map of texts; what is null in it does not count."""
    return {key: text(each) for key, each in mapped(value).items() if each is not None}


def _entries(read: Callable[[object], Entry]) -> Callable[[object], list[Entry]]:
    def every(value: object) -> list[Entry]:
        values = value if isinstance(value, list) else [value]
        return once([read(each) for each in values if each not in (None, "")])

    return every


def once(values: list[Any]) -> list[Any]:
    """Each value once, in the order of the first."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _pairs(value: object) -> Entry:
    """An entry by its fields, or in one text, as flags of the command line have it: KEY=VALUE,KEY=VALUE."""
    if isinstance(value, dict):
        return {key: text(each) for key, each in value.items() if each is not None}
    if not isinstance(value, str):
        raise Misfit(f"an object or KEY=VALUE,... is wanted, and it is a {kind_of(value)}")
    found = {}
    for field in fields(value):
        key, equals, rest = field.partition("=")
        if not equals:
            raise Misfit(f"KEY=VALUE is wanted, and it is {field!r}")
        found[key.strip().lower()] = rest
    return found


def _typed(entry: Entry) -> Entry:
    if not entry.get("type"):
        raise Misfit("the field `type` is missing")
    return entry


def _output(value: object) -> Entry:
    if isinstance(value, str) and "=" not in value and "," not in value:
        return {"type": "tar" if value == "-" else "local", "dest": value}
    return _typed(_pairs(value))


def _cache(value: object) -> Entry:
    if isinstance(value, str) and "=" not in value and "," not in value:
        return {"type": "registry", "ref": value}
    return _typed(_pairs(value))


def _attest(value: object) -> Entry:
    entry: Entry = _typed(_pairs(value))
    disabled = entry.pop("disabled", None)
    if disabled is not None and truth(disabled):
        entry["disabled"] = True
    return entry


def _secret(value: object) -> Entry:
    entry = _pairs(value)
    kind = entry.pop("type", "") if isinstance(value, str) else ""
    if "source" in entry:
        entry["src"] = entry.pop("source")
    if kind == "env" and "env" not in entry and "src" in entry:
        entry["env"] = entry.pop("src")
    return {key: entry[key] for key in ("id", "src", "env") if entry.get(key)}


def _ssh(value: object) -> Entry:
    if isinstance(value, dict):
        found = {"id": text(value.get("id", ""))}
        paths = _texts(value.get("paths") or [])
    else:
        name, _, rest = text(value).partition("=")
        found, paths = {"id": name}, rest.split(",") if rest else []
    return {**found, "paths": paths} if paths else dict(found)


def _any(value: object) -> Entry:
    return value if isinstance(value, dict) else {"filename": text(value)}


ATTRIBUTES = {
    "description": Attribute(read=text),
    "annotations": Attribute(read=_texts, adds=True, many=True),
    "attest": Attribute(read=_entries(_attest), adds=True, many=True),
    "context": Attribute(read=text),
    "contexts": Attribute(read=_map, adds=True, table=True),
    "dockerfile": Attribute(read=text),
    "dockerfile-inline": Attribute(read=text),
    "args": Attribute(read=_map, adds=True, table=True),
    "labels": Attribute(read=_map, adds=True, table=True),
    "tags": Attribute(read=_texts, many=True),
    "cache-from": Attribute(read=_entries(_cache), adds=True, many=True),
    "cache-to": Attribute(read=_entries(_cache), many=True),
    "target": Attribute(read=text),
    "secret": Attribute(read=_entries(_secret), adds=True, key="secrets", many=True),
    "ssh": Attribute(read=_entries(_ssh), adds=True, many=True),
    "platforms": Attribute(read=_texts, key="platform", many=True),
    "output": Attribute(read=_entries(_output), many=True),
    "pull": Attribute(read=truth),
    "no-cache": Attribute(read=truth),
    "network": Attribute(read=text),
    "no-cache-filter": Attribute(read=_texts, adds=True, many=True),
    "shm-size": Attribute(read=text),
    "ulimits": Attribute(read=_texts, adds=True, many=True),
    "resources": Attribute(read=_map, adds=True, table=True),
    "call": Attribute(read=text),
    "entitlements": Attribute(read=_texts, adds=True, many=True),
    "extra-hosts": Attribute(read=_map, adds=True, table=True),
    "policy": Attribute(read=_entries(_any), adds=True, many=True),
}
"""In the order in which `docker buildx bake --print` has them."""

INHERITS = "inherits"


class Defined(Value):
    """A target as files have it; `values` are of its attributes, `places` say where each was written."""

    name: str
    values: dict[str, Any]
    places: dict[str, Position]
    place: Position = Position()
    inherits: tuple[str, ...] = ()
    base: str = ""
    """The directory of the file, for paths that are to be relative to it."""

    def where(self, name: str) -> Position:
        """Where an attribute was written, else the target itself."""
        return self.places.get(name, self.place)


def joined(one: Defined, other: Defined) -> Defined:
    """The first with what the second has."""
    values = dict(one.values)
    for name, value in other.values.items():
        before = values.get(name)
        if before is None or not ATTRIBUTES[name].adds:
            values[name] = value
        elif isinstance(before, dict):
            values[name] = {**before, **value}
        else:
            values[name] = once([*before, *value])
    return one.but(values=values, places={**one.places, **other.places}, inherits=(*one.inherits, *other.inherits))


def shown(values: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a target as `--print` has them: none that is empty, what looks like a template escaped."""
    found = {}
    for name in ATTRIBUTES:
        value = values.get(name)
        if value is None or value in ([], {}) or (name == "description" and not value):
            continue
        found[name] = _ESCAPED[name](value) if name in _ESCAPED else value
    return found


def _escaped(value: str) -> str:
    return value.replace("${", "$${").replace("%{", "%%{")


def _escaped_map(values: dict[str, str]) -> dict[str, str]:
    return {key: _escaped(value) for key, value in sorted(values.items())}


_ESCAPED: dict[str, Callable[[Any], Any]] = {
    "annotations": lambda values: list(map(_escaped, values)),
    "dockerfile-inline": _escaped,
    "labels": _escaped_map,
    "args": _escaped_map,
    "extra-hosts": _escaped_map,
}
