"""`scratch.toml`: images in a file, by the names of the command line's options."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rootless_scratch.errors import Fault, SourceError, SpecFileError, UsageError
from rootless_scratch.expressions import expression
from rootless_scratch.image.host_files import open_regular
from rootless_scratch.image.plan.filevalues import units
from rootless_scratch.image.plan.inheriting import SpecFile, unknown
from rootless_scratch.image.plan.overrides import Override, overridden
from rootless_scratch.image.plan.positions import Position, Positions, positions
from rootless_scratch.image.plan.specschema import IMAGES, KEYS, MATRIX, VARIABLES, Misfit, dotted
from rootless_scratch.image.plan.tables import TableReader
from rootless_scratch.image.plan.variables import Variables, references
from rootless_scratch.image.references import REGISTRY
from rootless_scratch.image.spec import OUTPUT, Copy, NamedSpec, Spec, spec_of

_SIZE_MAX = 1 << 20
_PLATFORMS = Spec.options["platforms"].key
_WHERE = expression(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)\Z")


def read_images(
    path: str, *, values: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> tuple[NamedSpec, ...]:
    """All images of a file, bases included; otherwise as `read_file`."""
    return read_file(path, values=values, environ=environ).images


def read_file(
    path: str,
    *,
    values: Mapping[str, str] | None = None,
    overrides: Sequence[Override] = (),
    environ: Mapping[str, str] | None = None,
) -> SpecFile:
    """Read a file of TOML, all its images in its order; what it names of the host is relative to its directory.

    `values` are of variables, before those of `environ` (the process's by default), `overrides` of keys. Raises
    SourceError, UsageError for values that it has no variables, images or keys for, and SpecFileError, which has
    all that is wrong with the file.
    """
    environ = os.environ if environ is None else environ
    return file_of(_content(path), path, values=values, overrides=overrides, environ=environ)


def images_of(text: str, path: str, *, environ: Mapping[str, str]) -> tuple[NamedSpec, ...]:
    """The images of a text that lies, or is to lie, at `path`; otherwise as `read_images`."""
    return file_of(text, path, environ=environ).images


def file_of(
    text: str,
    path: str,
    *,
    values: Mapping[str, str] | None = None,
    overrides: Sequence[Override] = (),
    environ: Mapping[str, str],
) -> SpecFile:
    """What a text that lies at `path` has; otherwise as `read_file`."""
    values = values or {}
    document = _document(path, text)
    read = TableReader(document, Variables(_declared(document), values=values, environ=environ))
    tables = read.tables()
    if read.misfits:
        found = positions(text)
        raise SpecFileError([_fault(path, found, each) for each in _in_order(found, read.misfits)])
    _require_known(path, document, values)
    directory = os.path.dirname(os.path.abspath(path))
    tables = overridden(tables, overrides, path)
    images = [_beside(_image(name, dict(table)), directory) for name, table in tables.items()]
    bases = tuple(each.name for each in images if each.name in read.bases and not (each.spec.names or each.output))
    return SpecFile(
        images=tuple(images), groups=tuple(read.groups.items()), bases=bases, tables=tuple(tables.items())
    )


def combined(file: Spec, options: Mapping[str, object]) -> Spec:
    """What a file says, and options beside it: they add to lists, and stand in the place of single values."""
    spec, changes = spec_of(options), {}
    for option in (option for name, option in Spec.options.items() if name in options):
        value = getattr(spec, option.field)
        adds = option.kind.many and (option.name != "tag" or not value)
        changes[option.field] = (*getattr(file, option.field), *value) if adds else value
    return file.but(**changes)


def _image(name: str, plain: dict[str, Any]) -> NamedSpec:
    """The image of these values, each of which was read already."""
    platforms = plain.pop(_PLATFORMS, {})
    output = OUTPUT.kind.value(OUTPUT.key, plain.pop(OUTPUT.key, ()))
    spec = spec_of({KEYS[key].name: value for key, value in plain.items()})
    found = [unit.parsed() for unit in units(_PLATFORMS, platforms, ())]
    programs = tuple(value for value in found if not isinstance(value, Copy))
    copies = tuple(value for value in found if isinstance(value, Copy))
    return NamedSpec(
        name=name, spec=spec.but(platforms=programs, copies=(*spec.copies, *copies)), output=tuple(output)
    )


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
    tables = document.get(IMAGES)
    local = {name for table in (tables or {}).values() for name in table.get(MATRIX, ())}
    used = (name for text in _strings(document) for name in references(text))
    known = dict.fromkeys((*_declared(document), *(name for name in used if name.partition(".")[0] not in local)))
    for name in values:
        if name not in known:
            raise unknown("variable", path, name, list(known))


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
        sboms=tuple(
            (form, None if file is None else os.path.join(directory, file)) for form, file in image.spec.sboms
        ),
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
