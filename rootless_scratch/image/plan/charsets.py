"""Which modules of gconv a set of characters takes: glibc's gconv-modules, read as iconvconfig(8) reads it."""

from __future__ import annotations

import glob
import os
import posixpath
from typing import TYPE_CHECKING, Final

from rootless_scratch.errors import SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rootless_scratch.elf.roots import HostRoot

_LISTS: Final = ("gconv-modules", "gconv-modules.d")
_BUILT_IN: Final = frozenset(
    [
        *("INTERNAL", "UTF-8", "UTF8", "ASCII", "US-ASCII", "ANSI_X3.4-1968", "UCS-2", "UCS2", "UCS-2LE"),
        *("UCS2LE", "UCS-2BE", "UCS-4", "UCS4", "UCS-4LE", "UCS4LE", "UCS-4BE", "WCHAR_T", "UNICODELITTLE"),
    ]
)
"""Character sets that need no module: iconv/gconv_builtin.h of glibc."""

_MODULE_FIELDS: Final = 4
_ALIAS_FIELDS: Final = 3
_LINES_LIMIT: Final = 16 << 20


def charset_files(charsets: Sequence[str], directories: Iterable[str], root: HostRoot) -> Iterator[str]:
    """The files that iconv(3) of glibc opens for these character sets, by their paths in the root.

    `directories` are those of gconv. The cache, which names all modules, comes along with the lists. Raises
    UsageError for a character set that none of the lists has.
    """
    wanted = [name for name in charsets if name]
    known: set[str] = set()
    for directory in directories:
        aliases, modules = _read(directory, root)
        known |= {*aliases, *modules}
        yield from (path for name in _LISTS if os.path.exists(root.on_host(path := f"{directory}/{name}")))
        yield from _present(f"{directory}/gconv-modules.cache", root)
        for name in wanted:
            yield from _modules(_real(name, aliases), modules, directory, root)
    missing = next((name for name in wanted if _canonical(name) not in known | _BUILT_IN), None)
    if known and missing is not None:
        raise UsageError(
            f"--with gconv={missing}: this host's iconv(3) knows no character set {missing!r}.",
            fix="`iconv --list` has the names.",
        )


def _modules(charset: str, modules: dict[str, dict[str, None]], directory: str, root: HostRoot) -> Iterator[str]:
    """The modules of a character set, and what they load from their own directory."""
    pending = [f"{name.removesuffix('.so')}.so" for name in modules.get(charset, ())]
    for name in pending:
        path = posixpath.normpath(posixpath.join(directory, name))
        if not os.path.exists(root.on_host(path)):
            continue
        yield path
        facts = root.program(path).elf
        for needed in facts.needed if facts is not None else ():
            beside = f"{directory}/{needed}"
            if needed not in pending and os.path.exists(root.on_host(beside)):
                pending.append(needed)


def _present(path: str, root: HostRoot) -> tuple[str, ...]:
    return (path,) if os.path.exists(root.on_host(path)) else ()


def _read(directory: str, root: HostRoot) -> tuple[dict[str, str], dict[str, dict[str, None]]]:
    """What the lists of a directory say: names by alias, modules by name."""
    aliases: dict[str, str] = {}
    modules: dict[str, dict[str, None]] = {}
    for fields in _lines(root.on_host(directory)):
        if fields[0] == "alias" and len(fields) >= _ALIAS_FIELDS:
            aliases[_canonical(fields[1])] = _canonical(fields[2])
        elif fields[0] == "module" and len(fields) >= _MODULE_FIELDS:
            for end in fields[1:3]:
                if _canonical(end) != "INTERNAL":
                    modules.setdefault(_canonical(end), {})[fields[3]] = None
    return aliases, modules


def _lines(directory: str) -> Iterator[list[str]]:
    first, further = (os.path.join(directory, name) for name in _LISTS)
    for path in (first, *sorted(glob.glob(f"{glob.escape(further)}/*.conf"))):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read(_LINES_LIMIT)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SourceError(
                f"{path!r} cannot be read: {error.strerror}.", fix="Make it readable for the user who builds."
            ) from error
        yield from (fields for line in text.splitlines() if (fields := line.partition("#")[0].split()))


def _real(name: str, aliases: dict[str, str]) -> str:
    charset = _canonical(name)
    for _ in range(len(aliases)):
        if charset not in aliases:
            break
        charset = aliases[charset]
    return charset


def _canonical(name: str) -> str:
    """A name as glibc compares it: without what stands behind its slashes, in capitals."""
    return name.partition("//")[0].removesuffix("/").upper()
