"""The values of a file one by one, so that each fault is found and not the first alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rootless_scratch.data import Data
from rootless_scratch.image.plan.specschema import KEYS
from rootless_scratch.image.spec import OUTPUT, Copy, Spec

if TYPE_CHECKING:
    from rootless_scratch.image.plan.positions import Path

_PLATFORMS = Spec.options["platforms"].key
_COPY = Spec.options["copy"].key


class Unit(Data):
    """The smallest part of a key's value that its kind reads: an item of an array, an entry of a table, or all.

    `platform` is set for what [platforms.OS/ARCH] holds, whose key is `programs` or `copy`.
    """

    path: Path
    key: str
    single: Any
    platform: str | None = None

    def parsed(self) -> Any:  # noqa: ANN401 - as the option has it
        """What it becomes in a Spec: of a platform a Copy, or a pair for `platforms`; raises what kinds raise."""
        if self.platform is None:
            return KEYS[self.key].kind.value(self.key, self.single)
        from rootless_scratch.elf.platforms import parse_platform
        from rootless_scratch.image.syntax import parse_copy, parse_program

        platform = str(parse_platform(self.platform))
        if self.key == _COPY:
            return parse_copy(str(self.single)).but(platform=platform)
        return platform, parse_program(str(self.single))


def units(key: str, value: object, path: Path) -> Iterator[Unit]:
    """The parts of a value that has the shape of its key."""
    if key == _PLATFORMS and isinstance(value, dict):
        for platform, held in value.items():
            yield from _of_platform(platform, held, (*path, platform))
    elif isinstance(value, list):
        if not value:
            yield Unit(path, key, value)
        yield from (Unit((*path, index), key, [item]) for index, item in enumerate(value))
    elif isinstance(value, dict):
        yield from (Unit((*path, name), key, {name: item}) for name, item in value.items())
    else:
        yield Unit(path, key, value)


def _of_platform(platform: str, held: object, path: Path) -> Iterator[Unit]:
    if not isinstance(held, Mapping):
        yield Unit(path, "programs", held, platform)
        return
    for key, values in held.items():
        yield from (
            Unit((*path, key, index), key, item, platform)
            for index, item in enumerate(values if isinstance(values, list) else ())
        )


def require_value(unit: Unit) -> None:
    """Raise what reading it, or making a config or an entry of it, raises: UsageError, SpecError."""
    value = unit.parsed()
    if unit.key == OUTPUT.key:
        from rootless_scratch.image.references import parse_references

        parse_references(value)
        return
    if unit.platform is not None:
        _require(Spec(copies=(value if isinstance(value, Copy) else value[1],)))
        return
    _require(Spec().but(**{KEYS[unit.key].field: value}))


def _require(spec: Spec) -> None:
    """What a plan would refuse whatever the host has."""
    from rootless_scratch.image.paths import image_path
    from rootless_scratch.image.plan.entries import directory_entry, symlink_entry
    from rootless_scratch.image.plan.settings import pairs, runtime_config, times

    runtime_config(spec, None)
    pairs("--annotation", spec.annotations)
    times(spec.created, {})
    for directory in spec.directories:
        directory_entry(directory)
    for symlink in spec.symlinks:
        symlink_entry(symlink)
    for copy in (*spec.programs, *spec.copies):
        if copy.destination is not None:
            image_path(copy.destination, what="destination")
