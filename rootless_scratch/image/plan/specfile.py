"""`scratch.toml`: the options of a build in a file, by the names of the command line's options."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from typing import Any

from rootless_scratch.errors import SourceError, SpecError, UsageError
from rootless_scratch.image.host_files import open_regular
from rootless_scratch.image.spec import Copy, Spec, spec_of

_SIZE_MAX = 1 << 20

KEYS = {option.key: option for option in sorted(Spec.options.values(), key=lambda option: option.key)}
"""All keys that a file may have."""


def schema() -> dict[str, Any]:
    """The JSON Schema of a file, for editors and for those that write one by a program."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "scratch.toml",
        "type": "object",
        "properties": {key: {"description": option.help, **option.kind.schema} for key, option in KEYS.items()},
        "additionalProperties": False,
    }


def read_spec(path: str) -> Spec:
    """Read a file of TOML; what it names of the host is relative to its own directory.

    Raises SourceError, SpecError, UsageError.
    """
    try:
        with open_regular(path) as file:
            content = file.read(_SIZE_MAX + 1)
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{path!r} cannot be read: {getattr(error, 'strerror', None) or error}.",
            fix="Name a file such as scratch.toml.",
        ) from error
    try:
        document: dict[str, Any] = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(
            f"{path!r} is not TOML: {error}.", fix="See https://toml.io, and docs/spec.md for the keys."
        ) from error
    for key in document:
        if key not in KEYS:
            raise SpecError(f"{path!r}: there is no key {key!r}.", fix=f"The keys are {', '.join(KEYS)}.")
    try:
        spec = spec_of({KEYS[key].name: value for key, value in document.items()})
    except UsageError as error:
        raise type(error)(f"{path!r}: {error.message}", fix=error.fix) from error
    return _beside(spec, os.path.dirname(os.path.abspath(path)))


def combined(file: Spec, options: Mapping[str, object]) -> Spec:
    """What a file says, and options beside it: they add to lists, and stand in the place of single values."""
    spec, changes = spec_of(options), {}
    for option in (option for name, option in Spec.options.items() if name in options):
        value = getattr(spec, option.field)
        adds = option.kind.many and (option.name != "tag" or not value)
        changes[option.field] = (*getattr(file, option.field), *value) if adds else value
    return file.but(**changes)


def _beside(spec: Spec, directory: str) -> Spec:
    def moved(copy: Copy) -> Copy:
        return copy.but(source=os.path.join(directory, copy.source))

    return spec.but(
        programs=tuple(map(moved, spec.programs)),
        copies=tuple(map(moved, spec.copies)),
        platforms=tuple((platform, moved(program)) for platform, program in spec.platforms),
        sysroot=None if spec.sysroot is None else os.path.join(directory, spec.sysroot),
    )
