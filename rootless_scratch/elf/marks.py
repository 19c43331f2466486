"""Marks that compilers and packers leave in a program: good for advice and warnings, not for a judgement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.elf.texts import constants_of
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.elf.records import Records

_TAIL = 4096
_RUSTC: Final = expression(r"rustc version (\S+)")
_PRODUCER: Final = expression(rb"[\x20-\x7e]{4,200}(?=\x00)")
_PRODUCER_WORDS: Final = (
    "GCC:",
    "clang version",
    "rustc version",
    "Linker:",
    "mold ",
    "GNU ",
    "Go cmd/compile",
    "GHC ",
)
_STANDARD_LIBRARY: Final = expression(rb"/rustc[/-][0-9A-Za-z.+~-]{3,60}/library/(?:std|core|alloc)/src/")
_SCAN_LIMIT = 16 << 20
_MATCH_LIMIT = 256
_MARKS_LIMIT = 4 << 20
_UPX: Final = b"UPX!"
_SYSTEM_DIRECTORIES: Final = expression(rb"(?<![A-Za-z0-9._+/-])((?:/[A-Za-z0-9._+/-]{1,200}/\0){2,8})\0")
_LOADERS: Final = ("ld-linux", "ld64.so", "ld.so.1", "ld-2.")


_BUNDLE_TAIL = 16 << 10
"""PyInstaller's cookie is the last of its archive, behind which only a signature may stand."""

_PYINSTALLER: Final = b"MEI\x0c\x0b\x0a\x0b\x0e"
_APPIMAGES: Final = (b"AI\x01", b"AI\x02")
_APPIMAGE_AT = 8
_DOTNET: Final = bytes.fromhex("8b1202b96a612038727b930214d7a03213f5b9e6efae3318ee3b2dce24b36aae")
"""The sum that marks where the 8 bytes before it tell the place of a bundle (0: none): bundle_marker.c of .NET."""

_VSYSCALL: Final = expression(rb"\x48\xc7\xc0\x00[\x00\x04\x08]\x60\xff")
"""mov $0xffffffffff600000 (400, 800), %rax: how glibc called gettimeofday, time and getcpu until 2.13."""


_PATHS: Final = expression(rb"/(?:rustc[/-]|usr/share/zoneinfo|proc/self/exe\0)")
"""One pass for all of them, as re looks for the slash by memchr(3)."""

_ZONES: Final = b"\0/usr/share/zoneinfo"
_ITSELF: Final = b"\0/proc/self/exe\0"
_UTF_8: Final = b"UTF-8"
_INSISTING: Final = (b"need UTF-8 locale", b"needs a UTF-8 native locale")


class RustBuild(msgspec.Struct, frozen=True, kw_only=True):
    """A program with Rust's standard library in it; `version` of the compiler where it is told."""

    version: str | None


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """What the texts of a program tell.

    `mentions` are of programs in C: `time zones`, `its own file` (/proc/self/exe), `a UTF-8 locale` on which it
    insists.
    """

    rust: RustBuild | None = None
    mentions: tuple[str, ...] = ()


def tail_of(records: Records) -> bytes:
    """Read what follows the last loaded byte: linkers put `.comment` and `.ARM.attributes` there.

    It is found without section headers, which may be garbled.
    """
    end = max((load.offset + load.file_size for load in records.segments if load.type == "LOAD"), default=0)
    return records.source.read(end, _TAIL)


def producers_of(tail: bytes) -> tuple[str, ...]:
    """List the compilers that signed in `.comment`; none where it was stripped (Debian's packages)."""
    texts = dict.fromkeys(found.group().decode("ascii") for found in _PRODUCER.finditer(tail))
    return tuple(text for text in texts if text.startswith(_PRODUCER_WORDS))


def marks_of(records: Records, producers: tuple[str, ...], *, scan: bool) -> Marks:
    """Look for Rust's marks: the compiler's signature, else (`scan`) its library's file names; and mentions."""
    for producer in producers:
        found = _RUSTC.search(producer)
        if found is not None:
            return Marks(rust=RustBuild(version=found.group(1)))
    mentions: set[str] = set()
    before, limit = 0, _SCAN_LIMIT if scan else 0
    for segment in constants_of(records):
        size = min(segment.file_size, limit - before)
        for at, chunk in records.source.chunks(segment.offset, size, overlap=_MATCH_LIMIT):
            paths = set(_PATHS.findall(chunk))
            if any(path.startswith(b"/rustc") for path in paths) and _STANDARD_LIBRARY.search(chunk):
                return Marks(rust=RustBuild(version=None))
            room = _MARKS_LIMIT - before - (at - segment.offset)
            if room > 0:
                mentions.update(_mentioned(chunk[:room], paths))
        before += size
    return Marks(mentions=tuple(sorted(mentions)))


def _mentioned(chunk: bytes, paths: set[bytes]) -> Iterator[str]:
    if _ZONES[1:] in paths and _ZONES in chunk:
        yield "time zones"
    if _ITSELF[1:] in paths and _ITSELF in chunk:
        yield "its own file"
    if _UTF_8 in chunk and any(text in chunk for text in _INSISTING):
        yield "a UTF-8 locale"


def is_upx(records: Records) -> bool:
    """Tell whether UPX packed the file: no section headers, and its signature at the begin or the end."""
    if records.header.section_count:
        return False
    source = records.source
    return _UPX in source.read(0, 1024) or _UPX in source.read(max(source.size - 64, 0), 64)


def bundle_of(records: Records) -> str | None:
    """Tell what packed a program that unpacks more of itself when it starts: PyInstaller, .NET, AppImage."""
    source = records.source
    if source.read(_APPIMAGE_AT, 3) in _APPIMAGES:
        return "AppImage"
    if _PYINSTALLER in source.read(max(source.size - _BUNDLE_TAIL, 0), _BUNDLE_TAIL):
        return "PyInstaller"
    for _, piece in records.loaded(_MARKS_LIMIT, overlap=64, wanted=lambda segment: segment.writable):
        at = piece.find(_DOTNET)
        if at > 0 and any(piece[max(at - 8, 0) : at]):
            return ".NET"
    return None


def calls_vsyscall(records: Records) -> bool:
    """Tell whether code for x86_64 calls the kernel by the fixed addresses that vsyscall=none takes away."""
    if records.header.machine != "X86_64":
        return False
    pieces = records.loaded(_MARKS_LIMIT, overlap=16, wanted=lambda segment: segment.executable)
    return any(_VSYSCALL.search(piece) for _, piece in pieces)


def system_directories(records: Records, soname: str | None) -> tuple[str, ...]:
    """Read the default search path that is compiled into a glibc loader; () for any other file.

    It is the one table of texts that all begin and end with a slash: system_dirs[] in elf/dl-load.c. Debian
    has its multiarch directories there, Fedora /lib64, Nix its own store.
    """
    if soname is None or not soname.startswith(_LOADERS):
        return ()
    for segment in records.segments:
        if segment.type == "LOAD" and not segment.writable:
            found = records.source.search(
                _SYSTEM_DIRECTORIES, segment.offset, min(segment.file_size, _SCAN_LIMIT), overlap=4096
            )
            if found is not None:
                texts = found.group(1).decode("ascii").split("\0")
                return tuple(text.rstrip("/") for text in texts if text)
    return ()
