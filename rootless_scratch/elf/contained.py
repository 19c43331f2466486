"""What a program says it was made of: Go's modules, the crates of `cargo auditable`, the package of its note.

Nothing of it is believed beyond its form: sizes are bounded before anything is unpacked or parsed.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from rootless_scratch.elf.golang import GoModule, module_info, modules_of, read_go_build
from rootless_scratch.elf.notes import read_notes
from rootless_scratch.elf.records import Records
from rootless_scratch.elf.symbols import sections_of
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Iterator

_CRATES: Final = b".dep-v0"
_PACKED_LIMIT = 4 << 20
_CRATES_LIMIT = 16 << 20
_CRATES_MOST = 20_000
_MODULES_MOST = 20_000
_NAMES_LIMIT = 1 << 20
_TEXT_LIMIT = 1024
_PLAIN: Final = expression(r"[^\x00-\x1f\x7f\ud800-\udfff]+\Z")


class Crate(msgspec.Struct, frozen=True, kw_only=True):
    """A package of Rust; `dependencies` are numbers in the list, `kind` is `build` for what is not linked in."""

    name: str
    version: str
    source: str
    kind: str = "runtime"
    dependencies: tuple[int, ...] = ()
    root: bool = False


class PackageNote(msgspec.Struct, frozen=True, kw_only=True):
    """The package that a distribution built the file for: uapi-group.org, "Package Metadata for Executable Files".

    `type` is deb, rpm, apk, alpm ...; `os` and `os_version` are ID and VERSION_ID of os-release(5).
    """

    type: str
    name: str
    version: str | None = None
    architecture: str | None = None
    os: str | None = None
    os_version: str | None = None


class Contained(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `faults` are sentences on what is there and cannot be read.

    `go` is the version of the toolchain, "" where a Go program does not tell it, None for other programs;
    `go_path` is the main package, `go_settings` what it was built with.
    """

    go: str | None = None
    go_path: str | None = None
    go_settings: tuple[tuple[str, str], ...] = ()
    modules: tuple[GoModule, ...] = ()
    crates: tuple[Crate, ...] = ()
    note: PackageNote | None = None
    faults: tuple[str, ...] = ()


def read_contained(file: BinaryIO, *, name: str) -> Contained:
    """Read an ELF file, `name` in messages; raises ElfError."""
    records = Records(file, name=name)
    notes = read_notes(records)
    faults: list[str] = []
    build = read_go_build(records, noted=notes.go)
    modules: tuple[GoModule, ...] = ()
    if build is not None:
        text, is_cut = module_info(records)
        if is_cut:
            faults.append("its Go build information is longer than any that Go writes")
        modules = modules_of(text)
        if len(modules) > _MODULES_MOST or not all(map(_is_sound, modules)):
            faults.append("its Go build information lists what cannot be modules")
            modules = ()
        if build.version is not None and not is_plain(build.version):
            faults.append("its Go build information names a version that is none")
            build = msgspec.structs.replace(build, version=None)
    return Contained(
        go=None if build is None else (build.version or ""),
        go_path=build.path if build is not None and is_plain(build.path) else None,
        go_settings=() if build is None else tuple(pair for pair in build.settings if all(map(is_plain, pair))),
        modules=modules,
        crates=_crates(records, faults),
        note=None if notes.package is None else _note(notes.package, faults),
        faults=tuple(faults),
    )


def _is_sound(module: GoModule) -> bool:
    texts = (module.path, module.version, module.sum, *(module.replaced or ()))
    return bool(module.path) and all(is_plain(text) for text in texts if text)


def is_plain(text: object) -> bool:
    """Whether it is a text that may be a name or a version: short, without control characters."""
    return isinstance(text, str) and len(text) <= _TEXT_LIMIT and _PLAIN.match(text) is not None


def _crates(records: Records, faults: list[str]) -> tuple[Crate, ...]:
    """The section of cargo auditable, of which there is one: packed JSON."""
    section = next(_sections_named(records, _CRATES), None)
    if section is None:
        return ()
    offset, size = section
    if size > _PACKED_LIMIT:
        faults.append("its list of crates (.dep-v0) is larger than any that cargo auditable writes")
        return ()
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(records.source.read(offset, size), _CRATES_LIMIT)
        if unpacking.unconsumed_tail or not unpacking.eof:
            faults.append("its list of crates (.dep-v0) is cut off, or unpacks to more than any real one")
            return ()
        found = msgspec.json.decode(text, type=_Crates).packages
    except (zlib.error, msgspec.MsgspecError, UnicodeError, RecursionError):
        faults.append("its list of crates (.dep-v0) is not what cargo auditable writes")
        return ()
    sound = len(found) <= _CRATES_MOST and all(
        is_plain(each.name)
        and is_plain(each.version)
        and all(0 <= number < len(found) for number in each.dependencies)
        for each in found
    )
    if not sound:
        faults.append("its list of crates (.dep-v0) names what cannot be crates")
        return ()
    return found


class _Crates(msgspec.Struct, frozen=True):
    packages: tuple[Crate, ...]


def _sections_named(records: Records, name: bytes) -> Iterator[tuple[int, int]]:
    """Offset and size of the sections of a name; section headers may be stripped, and then there are none."""
    sections = tuple(sections_of(records))
    wide = records.header.bits == 64  # noqa: PLR2004 - the two word sizes
    at = 62 if wide else 50
    number = int.from_bytes(records.source.read(at, 2), records.byte_order)
    if number >= len(sections):
        return
    names = records.source.read(sections[number].offset, min(sections[number].size, _NAMES_LIMIT))
    for section in sections:
        if names[section.name : section.name + len(name) + 1] == name + b"\0":
            yield section.offset, section.size


def _note(text: str, faults: list[str]) -> PackageNote | None:
    try:
        found: Any = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        found = None
    if not isinstance(found, dict) or not is_plain(found.get("name")):
        faults.append("its package note is not the JSON that distributions write")
        return None
    keys = {
        "type": "type",
        "version": "version",
        "architecture": "architecture",
        "os": "os",
        "osVersion": "os_version",
    }
    texts = {field: found[key] for key, field in keys.items() if is_plain(found.get(key))}
    return PackageNote(name=found["name"], **{"type": "generic", **texts})
