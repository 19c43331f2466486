"""`--set IMAGE.KEY=VALUE`: values of the command line in place of those of a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from rootless_scratch.data import Value
from rootless_scratch.errors import ScratchError, UsageError
from rootless_scratch.image.plan.filevalues import require_value, units
from rootless_scratch.image.plan.inheriting import unknown
from rootless_scratch.image.plan.specschema import KEYS, misfits_of
from rootless_scratch.image.syntax import parse_pair


class Override(Value):
    """A value for a key of the images whose names a pattern matches; `inner` is the key of a table below it."""

    pattern: str
    key: str
    inner: str
    value: str

    @property
    def text(self) -> str:
        """As the user wrote it, without the value."""
        return ".".join(part for part in (self.pattern, self.key, self.inner) if part)


def parse_settings(texts: Iterable[str]) -> tuple[dict[str, str], tuple[Override, ...]]:
    """The values of `--set`: NAME=VALUE for variables, IMAGE.KEY=VALUE for images; raises UsageError."""
    variables: dict[str, str] = {}
    overrides = []
    for text in texts:
        name, value = parse_pair("--set", text)
        pattern, dot, rest = name.partition(".")
        if not dot:
            variables[name] = value
            continue
        key, _, inner = rest.partition(".")
        overrides.append(Override(pattern=pattern, key=key, inner=inner, value=value))
    return variables, tuple(overrides)


def matching(override: Override, names: Iterable[str], path: str) -> list[str]:
    """The names that an override is for; raises UsageError where there are none."""
    listed = list(names)
    found = [name for name in listed if fnmatchcase(name, override.pattern)]
    if not found:
        raise unknown("image", path, override.pattern, [name for name in listed if name])
    return found


def overridden(
    tables: Mapping[str, dict[str, Any]], overrides: Iterable[Override], path: str
) -> dict[str, dict[str, Any]]:
    """The values of all images with those of the command line; raises UsageError.

    A value takes the place of the file's, several of one key are a list, one below a key stands beside the others.
    """
    found = {name: dict(table) for name, table in tables.items()}
    begun: set[tuple[str, str]] = set()
    for each in overrides:
        if each.key not in KEYS:
            raise unknown("key", path, each.key, list(KEYS))
        for name in matching(each, found, path):
            before = found[name].get(each.key)
            found[name][each.key] = _value(each, before if each.inner or (name, each.key) in begun else None)
            begun.add((name, each.key))
    return found


def _value(override: Override, before: Any) -> Any:  # noqa: ANN401 - values of TOML
    """The value of a key as a file would have it; `before` is what it is added to."""
    schema = KEYS[override.key].kind.schema
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    value: Any = override.value
    if "object" in types:
        if not override.inner:
            raise _wrong(override, "names no entry of the table", f"--set {override.text}.NAME=VALUE")
        value = {**(before or {}), override.inner: value}
    elif override.inner:
        raise _wrong(override, "names an entry, and the key has no table", f"--set {_above(override)}=VALUE")
    elif "array" in types:
        value = [*(before or ()), value]
    elif "boolean" in types:
        if value not in ("true", "false"):
            raise _wrong(override, "is neither true nor false", f"--set {override.text}=true")
        value = value == "true"
    for misfit in misfits_of(override.key, value):
        raise UsageError(f"--set {override.text}: {misfit.message}", fix=misfit.fix)
    for unit in units(override.key, value, (override.key,)):
        try:
            require_value(unit)
        except ScratchError as error:
            raise UsageError(f"--set {override.text}: {error.message}", fix=error.fix) from error
    return value


def _above(override: Override) -> str:
    return f"{override.pattern}.{override.key}"


def _wrong(override: Override, what: str, example: str) -> UsageError:
    return UsageError(f"--set {override.text}={override.value} {what}.", fix=f"Write it as {example}.")
