"""The values of the options of `build -f`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rootless_scratch.errors import UsageError
from rootless_scratch.image.arguments import text, texts

BUILDERS = ("buildah", "docker")
_SECRET_KEYS = ("id", "src", "source", "env", "type")


class _FlagValues(tuple[str, ...]):
    """The values of `--build-arg`: one without a value takes the environment's."""

    __slots__ = ()


def argument_values(_flag: str, values: Iterable[str]) -> tuple[str, ...]:
    """The values of `--build-arg` as `build_arguments` takes them."""
    return _FlagValues(values)


def build_arguments(name: str, value: object) -> tuple[tuple[str, str | None], ...]:
    """Names with their values, None for that of the environment; raises UsageError."""
    if isinstance(value, _FlagValues):
        pairs = [(each.partition("=")[0], each.partition("=")[2] if "=" in each else None) for each in value]
    elif isinstance(value, Mapping):
        pairs = [
            (text(f"a name in {name}", key), None if each is None else text(f"{name}[{key!r}]", each))
            for key, each in value.items()
        ]
    else:
        raise UsageError(f"{name} is not a mapping.", fix=f'Write it as {name}={{"NAME": "value"}}.')
    for key, _ in pairs:
        if not key:
            raise UsageError("--build-arg has no name.", fix="Write it as NAME=VALUE.")
    return tuple(pairs)


def platforms(name: str, value: object) -> tuple[str, ...]:
    """Platforms, one or several, each also as a list with commas; raises UsageError."""
    from rootless_scratch.elf.platforms import parse_platform

    values = (value,) if isinstance(value, str) else texts(name, value)
    listed = [each for part in values for each in part.split(",")]
    for each in listed:
        if "=" in each:
            raise UsageError(
                f"--platform {each!r} names a program, and a Containerfile brings its own.",
                fix="Write the platform alone, e.g. linux/arm64, or leave -f out.",
            )
    return tuple(dict.fromkeys(str(parse_platform(each)) for each in listed))


def secrets(name: str, value: object) -> tuple[str, ...]:
    """Secrets in the syntax of buildah-build(1); raises UsageError."""
    listed = texts(name, value)
    for each in listed:
        keys = [part.partition("=")[0] for part in each.split(",")]
        if "id" not in keys or not set(keys) <= set(_SECRET_KEYS):
            raise UsageError(f"--secret {each!r} has no ID.", fix="Write it as id=ID,src=FILE or id=ID,env=NAME.")
    return listed


def compat(name: str, value: object) -> str:
    """A builder; raises UsageError."""
    builder = text(name, value)
    if builder not in BUILDERS:
        raise UsageError(f"--compat {builder!r} is not a builder.", fix=f"Use {' or '.join(BUILDERS)}.")
    return builder
