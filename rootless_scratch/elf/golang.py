"""What the Go linker wrote into a program: the compiler's version, the main package, modules and settings.

The format is that of Go's own debug/buildinfo: inline strings since Go 1.18, pointers to strings before.
It survives `-ldflags '-s -w'` and strip(1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from rootless_scratch.elf.records import ByteOrder, Records

_MAGIC: Final = expression(rb"\xff Go buildinf:")
_ALIGN = 16
_BLOB = 32
_SCAN_LIMIT = 16 << 20
_TEXT_LIMIT = 1 << 20
_SENTINEL = 16
_FLAG_BIG_ENDIAN = 1
_FLAG_INLINE = 2


class GoBuild(msgspec.Struct, frozen=True, kw_only=True):
    """How a Go program was built; what could not be read is None or empty.

    `settings` are pairs such as ("CGO_ENABLED", "0") and ("-buildmode", "pie"), `modules` (path, version).
    """

    version: str | None
    path: str | None
    modules: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]

    def setting(self, key: str) -> str | None:
        """Return the value of one setting, or None."""
        return dict(self.settings).get(key)


class GoModule(msgspec.Struct, frozen=True, kw_only=True):
    """A module that was linked in; `version` and `sum` are empty where Go knew none.

    `replaced` is path and version of the one that it stands in for (`replace` of go.mod), None for most.
    """

    path: str
    version: str = ""
    sum: str = ""
    replaced: tuple[str, str] | None = None
    main: bool = False


def read_go_build(records: Records, *, noted: bool) -> GoBuild | None:
    """Read the build info of a Go program; None for other programs.

    `noted` says that a note of the Go linker was seen: then a program without readable build info (Go before
    1.13, or a garbled one) still is a Go program, of unknown version.
    """
    address = _find(records)
    if address is not None:
        return _read(records, address)
    if noted:
        return GoBuild(version=None, path=None, modules=(), settings=())
    return None


def module_info(records: Records) -> tuple[str, bool]:
    """The lines on the main package, modules and settings, and whether they are longer than what is read."""
    address = _find(records)
    if address is None:
        return "", False
    _, raw, is_cut = _texts(records, address)
    return _inner(raw), is_cut


def modules_of(info: str) -> tuple[GoModule, ...]:
    """The modules in these lines, the main one first: `mod`, `dep`, and `=>` for what replaces the one before."""
    found: list[GoModule] = []
    for line in info.splitlines():
        kind, *parts = line.split("\t")
        path, version, checksum = (*parts, "", "", "")[:3]
        if kind in {"mod", "dep"}:
            found.append(GoModule(path=path, version=version, sum=checksum, main=kind == "mod"))
        elif kind == "=>" and found:
            last = found.pop()
            found.append(
                GoModule(
                    path=path, version=version, sum=checksum, replaced=(last.path, last.version), main=last.main
                )
            )
    return tuple(found)


def _find(records: Records) -> int | None:
    """Find the address of the blob: in a writable data segment, aligned to 16 (debug/buildinfo).

    Of a PIE the first of these is what the loader relocates and protects, and the blob is in the next one.
    """
    left = _SCAN_LIMIT
    for segment in records.segments:
        if segment.type != "LOAD" or not segment.writable or segment.executable:
            continue
        size = min(segment.file_size, left)
        left -= size
        for start, chunk in records.source.chunks(segment.offset, size, overlap=_BLOB):
            for found in _MAGIC.finditer(chunk):
                address = segment.address + (start - segment.offset) + found.start()
                if address % _ALIGN == 0:
                    return address
    return None


def _read(records: Records, address: int) -> GoBuild:
    version, modules, _ = _texts(records, address)
    return _parse(version, modules)


def _texts(records: Records, address: int) -> tuple[bytes, bytes, bool]:
    """The version and the module info, and whether the latter is longer than what is read of it."""
    blob = records.at(address, _BLOB)
    version = modules = b""
    length = 0
    if len(blob) == _BLOB:
        if blob[15] & _FLAG_INLINE:
            version, next_address = _inline(records, address + _BLOB)
            modules, end = _inline(records, next_address)
            length = end - next_address
        else:
            size = blob[14]
            order: ByteOrder = "big" if blob[15] & _FLAG_BIG_ENDIAN else "little"
            if size in {4, 8}:
                version = _pointed(records, int.from_bytes(blob[16 : 16 + size], order), size, order)
                head = int.from_bytes(blob[16 + size : 16 + 2 * size], order)
                modules = _pointed(records, head, size, order)
                length = int.from_bytes(records.at(head + size, size), order)
    return version, modules, length > _TEXT_LIMIT


def _inline(records: Records, address: int) -> tuple[bytes, int]:
    """Read a length as a varint, then so many bytes; return them and the address behind them."""
    length = 0
    for position, byte in enumerate(records.at(address, 5)):
        length |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit of a varint
            start = address + position + 1
            return records.at(start, min(length, _TEXT_LIMIT)), start + length
    return b"", address


def _pointed(records: Records, address: int, size: int, order: ByteOrder) -> bytes:
    """Read what a Go string header points to; in PIEs the loader would fill it in, so it is 0."""
    head = records.at(address, 2 * size)
    if len(head) < 2 * size:
        return b""
    start = int.from_bytes(head[:size], order)
    length = int.from_bytes(head[size:], order)
    return records.at(start, min(length, _TEXT_LIMIT))


def _parse(version: bytes, module_info: bytes) -> GoBuild:
    path = None
    modules = []
    settings = []
    for line in _inner(module_info).splitlines():
        kind, _, rest = line.partition("\t")
        if kind == "path":
            path = rest
        elif kind in {"mod", "dep"}:
            module, _, tail = rest.partition("\t")
            modules.append((module, tail.partition("\t")[0]))
        elif kind == "build":
            key, _, value = rest.partition("=")
            settings.append((key, _unquoted(value)))
    return GoBuild(
        version=version.decode("utf-8", "replace") or None,
        path=path,
        modules=tuple(modules),
        settings=tuple(settings),
    )


def _inner(module_info: bytes) -> str:
    """Two sentinels of 16 bytes stand around the module info: cmd/go/internal/modload."""
    if len(module_info) >= 2 * _SENTINEL and module_info[-_SENTINEL - 1 : -_SENTINEL] == b"\n":
        return module_info[_SENTINEL:-_SENTINEL].decode("utf-8", "replace")
    return ""


def _unquoted(value: str) -> str:
    """Undo the quoting of values with spaces: Go's rules are JSON's for what occurs here, or back-quotes."""
    if len(value) > 1 and value[0] == value[-1] == "`":
        return value[1:-1]
    if value.startswith('"'):
        try:
            return msgspec.json.decode(value, type=str)
        except msgspec.DecodeError:
            return value
    return value
