"""`scratch.toml`: the words of a build in a file, by the names of the command line's options."""

from __future__ import annotations

import os
import tomllib
from typing import Any

import msgspec

from rootless_scratch.errors import SourceError, SpecError
from rootless_scratch.image.host_files import open_regular
from rootless_scratch.image.plan.image_arguments import ImageWords, spec_of
from rootless_scratch.image.spec import Copy, Spec

_SIZE_MAX = 1 << 20
_RENAMED = {"with": "essentials"}
_WORDS = {key.replace("_", "-") for key in ImageWords.__annotations__} - {"essentials"}
KEYS = tuple(sorted({"tag", "programs", "with", *_WORDS}))
"""All keys that a file may have."""

_SINGLE = ("names", "entrypoint", "cmd")
"""Several words that are one value."""


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
        said: dict[str, Any] = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SpecError(
            f"{path!r} is not TOML: {error}.", fix="See https://toml.io, and docs/spec.md for the keys."
        ) from error
    for key in said:
        if key not in KEYS:
            raise SpecError(f"{path!r}: there is no key {key!r}.", fix=f"The keys are {', '.join(KEYS)}.")
    words: dict[str, Any] = {_RENAMED.get(key, key.replace("-", "_")): value for key, value in said.items()}
    programs, tag = words.pop("programs", ()), words.pop("tag", ())
    return _beside(spec_of(programs, tag=tag, **words), os.path.dirname(os.path.abspath(path)))


def combined(file: Spec, words: Spec) -> Spec:
    """What a file says, and words beside it: they add to lists, and stand in the place of single values."""
    changes: dict[str, Any] = {}
    usual = Spec()
    for name in Spec.__struct_fields__:
        ours = getattr(words, name)
        if ours == getattr(usual, name):
            continue
        single = name in _SINGLE or not isinstance(ours, tuple)
        changes[name] = ours if single else (*getattr(file, name), *ours)
    return msgspec.structs.replace(file, **changes)


def _beside(spec: Spec, directory: str) -> Spec:
    def located(source: str) -> str:
        return os.path.join(directory, source)

    def moved(copy: Copy) -> Copy:
        return msgspec.structs.replace(copy, source=located(copy.source))

    return msgspec.structs.replace(
        spec,
        programs=tuple(moved(program) for program in spec.programs),
        copies=tuple(moved(copy) for copy in spec.copies),
        platforms=tuple((platform, moved(program)) for platform, program in spec.platforms),
        sysroot=None if spec.sysroot is None else located(spec.sysroot),
    )
