"""`scratch.toml`: images in a file, by the names of the command line's options."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rootless_scratch.errors import Fault, ScratchError, SourceError, SpecFileError, UsageError
from rootless_scratch.image.host_files import open_regular
from rootless_scratch.image.plan.filevalues import require_value, units
from rootless_scratch.image.plan.positions import Path, Position, Positions, positions
from rootless_scratch.image.plan.specschema import IMAGES, KEYS, VARIABLES, Misfit, dotted, misfits
from rootless_scratch.image.plan.variables import Variables, references
from rootless_scratch.image.references import REGISTRY
from rootless_scratch.image.spec import OUTPUT, Copy, NamedSpec, Spec, spec_of

_SIZE_MAX = 1 << 20
_PLATFORMS = Spec.options["platforms"].key
_WHERE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)\Z")


def read_images(
    path: str, *, values: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> tuple[NamedSpec, ...]:
    """Read a file of TOML, all its images in its order; what it names of the host is relative to its directory.

    `values` are of variables, before those of `environ` (the process's by default). Raises SourceError, UsageError
    for values that it has no variables for, and SpecFileError, which has all that is wrong with the file.
    """
    return images_of(_content(path), path, values=values, environ=os.environ if environ is None else environ)


def images_of(
    text: str, path: str, *, values: Mapping[str, str] | None = None, environ: Mapping[str, str]
) -> tuple[NamedSpec, ...]:
    """The images of a text that lies, or is to lie, at `path`; otherwise as `read_images`."""
    values = values or {}
    document = _document(path, text)
    read = _Reading(document, Variables(_declared(document), values=values, environ=environ))
    images = read.images()
    if read.misfits:
        found = positions(text)
        raise SpecFileError([_fault(path, found, each) for each in _in_order(found, read.misfits)])
    _require_known(path, document, values)
    directory = os.path.dirname(os.path.abspath(path))
    return tuple(_beside(image, directory) for image in images)


def chosen(path: str, images: tuple[NamedSpec, ...], names: Iterable[str]) -> tuple[NamedSpec, ...]:
    """The images of these names in the order of the file, all if there are none; raises UsageError."""
    wanted, known = tuple(names), [image.name for image in images]
    for name in wanted:
        if name not in known or not name:
            raise _unknown("image", path, name, [each for each in known if each])
    return tuple(image for image in images if not wanted or image.name in wanted)


def combined(file: Spec, options: Mapping[str, object]) -> Spec:
    """What a file says, and options beside it: they add to lists, and stand in the place of single values."""
    spec, changes = spec_of(options), {}
    for option in (option for name, option in Spec.options.items() if name in options):
        value = getattr(spec, option.field)
        adds = option.kind.many and (option.name != "tag" or not value)
        changes[option.field] = (*getattr(file, option.field), *value) if adds else value
    return file.but(**changes)


class _Reading:
    """A document that becomes images; what it may not have is kept."""

    def __init__(self, document: Mapping[str, Any], variables: Variables) -> None:
        self._document = document
        self._variables = variables
        self.misfits: list[Misfit] = list(misfits(document))
        self._wrong_variables: set[str] = set()
        self._wrong = {each.path for each in self.misfits}

    def images(self) -> tuple[NamedSpec, ...]:
        declared = self._document.get(VARIABLES)
        if isinstance(declared, dict):
            for name, value in declared.items():
                self._expanded(value, (VARIABLES, name))
            self._wrong_variables = {name for name in declared if (VARIABLES, name) in self._wrong}
        tables = self._document.get(IMAGES)
        if not isinstance(tables, dict):
            flat = {key: value for key, value in self._document.items() if key in KEYS}
            return (self._image("", flat, ()),)
        return tuple(
            self._image(name, table, (IMAGES, name)) for name, table in tables.items() if isinstance(table, dict)
        )

    def _image(self, name: str, table: Mapping[str, Any], path: Path) -> NamedSpec:
        known = {key: value for key, value in table.items() if key in KEYS and (*path, key) not in self._wrong}
        plain = {key: self._expanded(value, (*path, key)) for key, value in known.items()}
        for key, value in plain.items():
            for unit in units(key, value, (*path, key)):
                if not any(unit.path[:end] in self._wrong for end in range(len(unit.path) + 1)):
                    self._try(unit.path, lambda unit=unit: require_value(unit))
        if self.misfits:
            return NamedSpec(name=name)
        platforms = plain.pop(_PLATFORMS, {})
        output = OUTPUT.kind.value(OUTPUT.key, plain.pop(OUTPUT.key, ()))
        spec = spec_of({KEYS[key].name: value for key, value in plain.items()})
        found = [unit.parsed() for unit in units(_PLATFORMS, platforms, ())]
        programs = tuple(value for value in found if not isinstance(value, Copy))
        copies = tuple(value for value in found if isinstance(value, Copy))
        return NamedSpec(
            name=name, spec=spec.but(platforms=programs, copies=(*spec.copies, *copies)), output=tuple(output)
        )

    def _expanded(self, value: Any, path: Path) -> Any:  # noqa: ANN401 - a value of TOML
        """The value with what its strings refer to; below what is wrong nothing is looked at."""
        if path in self._wrong:
            return value
        if isinstance(value, str) and path[0] != VARIABLES and self._wrong_variables & {*references(value)}:
            # What is wrong with the variable is in the faults already.
            self._wrong.add(path)
            return value
        if isinstance(value, str):
            text = self._try(path, lambda: self._variables.expanded(value))
            return value if text is None else text
        if isinstance(value, list):
            return [self._expanded(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self._expanded(item, (*path, key)) for key, item in value.items()}
        return value

    def _try(self, path: Path, read: Any) -> Any:  # noqa: ANN401 - what it reads
        try:
            return read()
        except ScratchError as error:
            self._wrong.add(path)
            self.misfits.append(Misfit(path, error.message, error.fix))
            return None


def _content(path: str) -> str:
    try:
        with open_regular(path) as file:
            content = file.read(_SIZE_MAX + 1)
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{path!r} cannot be read: {getattr(error, 'strerror', None) or error}.",
            fix="Name a file such as scratch.toml.",
        ) from error
    if len(content) > _SIZE_MAX:
        raise SourceError(f"{path!r} has more than {_SIZE_MAX} bytes.", fix="Name a file such as scratch.toml.")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
        raise SpecFileError(
            [Fault(path, line, column, "", f"Byte {error.object[error.start]:#x} is not UTF-8.", _TOML)]
        ) from error


_TOML = "See https://toml.io, and docs/spec.md for the keys."


def _document(path: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise SpecFileError([Fault(path, 1, 1, "", "The file is nested too deeply.", _TOML)]) from error
    except (tomllib.TOMLDecodeError, ValueError) as error:
        # ValueError: an integer of more digits than Python converts, a date that there is not.
        reason = str(error)
        found = _WHERE.search(reason)
        line, column = text.count("\n") + 1, len(text.rpartition("\n")[2]) + 1
        if found is not None:
            reason = reason[: found.start()]
            if found["line"] is not None:
                line, column = int(found["line"]), int(found["column"])
        elif not isinstance(error, tomllib.TOMLDecodeError):
            line, column = 1, 1
        raise SpecFileError([Fault(path, line, column, "", f"This is not TOML: {reason}.", _TOML)]) from error


def _declared(document: Mapping[str, Any]) -> Mapping[str, object]:
    declared = document.get(VARIABLES)
    return declared if isinstance(declared, dict) else {}


def _in_order(found: Positions, wrong: Iterable[Misfit]) -> list[Misfit]:
    return sorted(wrong, key=lambda each: _position(found, each))


def _position(found: Positions, misfit: Misfit) -> Position:
    return found.of(misfit.path, value=not misfit.is_key)


def _fault(path: str, found: Positions, misfit: Misfit) -> Fault:
    line, column = _position(found, misfit)
    return Fault(path, line, column, dotted(misfit.path), misfit.message, misfit.fix)


def _require_known(path: str, document: Mapping[str, Any], values: Mapping[str, str]) -> None:
    """Raise UsageError for values of variables that the file neither has nor uses: they are mistyped."""
    known = dict.fromkeys(
        (*_declared(document), *(name for text in _strings(document) for name in references(text)))
    )
    for name in values:
        if name not in known:
            raise _unknown("variable", path, name, list(known))


def _unknown(what: str, path: str, name: str, known: list[str]) -> UsageError:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    fix = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(known) or 'none'}."
    return UsageError(f"{path!r} has no {what} {name!r}.", fix=fix)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _beside(image: NamedSpec, directory: str) -> NamedSpec:
    def moved(copy: Copy) -> Copy:
        return copy.but(source=os.path.join(directory, copy.source))

    spec = image.spec.but(
        programs=tuple(map(moved, image.spec.programs)),
        copies=tuple(map(moved, image.spec.copies)),
        platforms=tuple((platform, moved(program)) for platform, program in image.spec.platforms),
        sysroot=None if image.spec.sysroot is None else os.path.join(directory, image.spec.sysroot),
    )
    return image.but(spec=spec, output=tuple(_output_beside(each, directory) for each in image.output))


def _output_beside(reference: str, directory: str) -> str:
    """The reference as the working directory has it; raises UsageError where a colon would cut it short."""
    transport, _, rest = reference.partition(":")
    here = os.path.relpath(directory)
    if transport == REGISTRY or rest.startswith("/") or here == ".":
        return reference
    if ":" in here:
        raise UsageError(
            f"The output {reference!r} is to go to {here!r}, and a colon ends the path of an output.",
            fix="Change to that directory (`cd`) and build there, or pass `-o`.",
        )
    return f"{transport}:{os.path.join(here, rest)}"
