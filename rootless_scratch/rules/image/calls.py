"""What a program calls, itself or by the libraries that it loads: the evidence of rules on what it will want."""

from __future__ import annotations

import functools
import posixpath
from typing import TYPE_CHECKING, Final

from rootless_scratch.expressions import expression
from rootless_scratch.rules.advice import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.elf.libraries import Closure, Library

_SHOWN = 2
_LIBRARY: Final = expression(r"lib([A-Za-z]+)")
_PROGRAM: Final = expression(r"([A-Za-z]+)[0-9.]*[a-z]?")
"""Not one of a family that shares a library, as llvm-ar and systemd-cat do."""


class Calls:
    """The calls of one program; `closure` is None where what it loads is not known."""

    def __init__(self, elf: ElfFacts, paths: Iterable[str], closure: Closure | None) -> None:
        self.elf = elf
        self._libraries = closure.libraries if closure is not None else ()
        self._names = [posixpath.basename(path) for path in paths]

    def own(self, functions: Iterable[str]) -> Iterator[str]:
        """Those that the program calls, or the library of its own that it is a thin face of: svn of libsvn."""
        return self._of(functions, self._own_libraries)

    def anywhere(self, functions: Iterable[str]) -> Iterator[str]:
        """Those that the program calls, or any library that it loads."""
        return self._of(functions, self._libraries)

    @functools.cached_property
    def _own_libraries(self) -> tuple[Library, ...]:
        return tuple(each for each in self._libraries if self._is_own(each))

    def _of(self, functions: Iterable[str], libraries: Iterable[Library]) -> Iterator[str]:
        wanted = tuple(functions)
        known = frozenset(wanted)
        found = [name for name in wanted if name in self.elf.functions]
        yield from found
        if found:
            return
        for library in libraries:
            imports = library.elf.imports if library.elf is not None else ()
            if not known.isdisjoint(imports):
                called = [name for name in wanted if name in imports]
                yield f"{library.name} calls {listed(called[:_SHOWN])}"

    def _is_own(self, library: Library) -> bool:
        """Whether the program links it itself, and has its name: aria2c of libaria2, ruby3.1 of libruby-3.1."""
        if library.name not in self.elf.needed:
            return False
        stem = _LIBRARY.match(posixpath.basename(library.name))
        if stem is None:
            return False
        names = (found.group(1) for name in self._names if (found := _PROGRAM.fullmatch(name)))
        return stem.group(1).lower() in (name.lower() for name in names)
