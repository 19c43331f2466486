"""The files that a program's loader would open, found by its own rules; nothing is ever executed.

    resolve(facts, path="/usr/bin/curl", root=HostRoot())   a Closure: loader and libraries in load order

What is not found, and what a library lacks, are values; whether that is an error others decide.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from rootless_scratch.elf.facts import ElfFacts  # noqa: TC001 - msgspec resolves it for JSON
from rootless_scratch.elf.roots import HostRoot, Link, Located, Root
from rootless_scratch.elf.searching import BEST_LEVEL, How, Object, Search, SearchPath, Start
from rootless_scratch.errors import ElfError, SourceError

AskedBy = Literal[
    "DT_NEEDED", "DT_FILTER", "DT_AUXILIARY", "DT_AUDIT", "LD_PRELOAD", "LD_AUDIT", "/etc/ld.so.preload", "dlopen"
]
"""Where a library is named; DT_AUDIT stands for DT_DEPAUDIT too."""

PRELOAD_LIST: Final = "/etc/ld.so.preload"
_NOTHING_TOLD: Final = Start()
_NAMES_LIMIT = 100
_FATAL: Final = frozenset({"DT_NEEDED", "DT_FILTER", "dlopen"})
_OBJECTS_LIMIT = 4096
_LOOKUPS_LIMIT = 20_000
_SEARCHED_LIMIT = 40


class Library(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the loader opens.

    name       as it was asked for
    path       as it was opened, links not followed; `real` is the file itself, `links` what lies between
    how        the rule by which it was found, `item` the directory as it is written there, and by whom (`owner`)
    again      another library of the list is the same file, opened under another path
    elf        None where nothing is known of the file
    """

    name: str
    path: str
    real: str
    links: tuple[Link, ...]
    how: How
    item: str = ""
    owner: str = ""
    wanted_by: str = ""
    asked_by: AskedBy = "DT_NEEDED"
    again: bool = False
    elf: ElfFacts | None = None

    @property
    def required(self) -> bool:
        """Whether the loader ends where it cannot load it; it goes on without the others."""
        return self.asked_by in _FATAL


class Unresolved(msgspec.Struct, frozen=True, kw_only=True):
    """A library that is not found: who wants it, and the paths that were tried.

    `unfit` are files of that name that the loader passes over, because they are for another processor, or which
    are no libraries at all. `variant` is one of glibc-hwcaps, where only better processors find it; of several the
    one for the least.
    """

    name: str
    wanted_by: str
    searched: tuple[str, ...]
    unfit: tuple[str, ...] = ()
    variant: str | None = None
    asked_by: AskedBy = "DT_NEEDED"


class MissingVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of symbols that `wanted_by` needs, and that the file found as `library` does not define."""

    version: str
    library: str
    path: str
    wanted_by: str


InterpreterState = Literal["none", "missing", "unfit", "found"]


class Closure(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is loaded, breadth first as the loader does; the loader itself is no part of `libraries`.

    `interpreter` is the loader's file; `interpreter_state` tells why there is none. `passed_over` are libraries
    that are not found, and without which the loader goes on. `incomplete` are paths of files of which nothing is
    known, so that they may need more. `list_unread`: the root has a search list that could not be read.
    `defaults` are the directories that this loader searches by itself.
    """

    interpreter: Library | None
    interpreter_state: InterpreterState
    libraries: tuple[Library, ...]
    unresolved: tuple[Unresolved, ...]
    passed_over: tuple[Unresolved, ...]
    missing_versions: tuple[MissingVersion, ...]
    incomplete: tuple[str, ...]
    list_unread: bool
    defaults: tuple[str, ...]
    musl: bool


def resolve(
    elf: ElfFacts,
    *,
    path: str,
    root: Root,
    start: Start = _NOTHING_TOLD,
    isa_level: int = 1,
    also: Sequence[str] = (),
) -> Closure:
    """Find what the loader would open for the program that lies at `path` of `root`.

    `start` is what it is told by the environment; /etc/ld.so.preload is that of the root, unless this is a
    host's, which no image gets. `also` are names or absolute paths that it opens by itself with dlopen(3). See
    `Search` for the others.
    """
    return _Loading(elf, path, root, start, isa_level).run(also)


class _Wanted(NamedTuple):
    """That a library is to be loaded, and by whom."""

    name: str
    wanted_by: Object
    by: AskedBy


class _Loading:
    """One program being loaded: elf/dl-deps.c and dl_main() of glibc; load_deps() of musl."""

    def __init__(self, elf: ElfFacts, path: str, root: Root, start: Start, isa_level: int) -> None:
        self._root = root
        self._start = start
        self._elf = elf
        located = root.locate(path)
        # The kernel tells the real path: _dl_get_origin(), readlink of /proc/self/exe.
        origin = posixpath.dirname(located.real if located is not None else path)
        self._program = Object(path=path, origin=origin, elf=elf, loader=None)
        self._incomplete: list[str] = []
        self._state, self._interpreter = self._find_interpreter()
        facts = None if self._interpreter is None else self._interpreter.elf
        self._search = Search(root, elf, facts, start=start, isa_level=isa_level)
        self._best: Search | None = None
        self._queue: list[Object] = [self._program]
        self._loaded: list[Library] = []
        self._names: dict[str, Library | None] = {}
        self._reals: dict[str, Library] = {}
        self._unresolved: dict[str, Unresolved] = {}
        self._lookups = 0
        if self._interpreter is not None:
            self._remember(self._interpreter)

    def run(self, also: Sequence[str]) -> Closure:
        for name, owner, asked_by in self._preloaded():
            self._load(name, owner, asked_by)
        self._load_all()
        for name in also:
            self._load(name, self._program, "dlopen")
            self._load_all()
        missing = self._unresolved.values()
        return Closure(
            interpreter=self._interpreter,
            interpreter_state=self._state,
            libraries=tuple(self._loaded),
            unresolved=tuple(each for each in missing if each.asked_by in _FATAL),
            passed_over=tuple(each for each in missing if each.asked_by not in _FATAL),
            missing_versions=() if self._search.musl else tuple(self._check_versions()),
            incomplete=tuple(self._incomplete),
            list_unread=self._search.list_unread,
            defaults=self._search.defaults,
            musl=self._search.musl,
        )

    def _preloaded(self) -> Iterator[tuple[str, Object, AskedBy]]:
        """What is loaded before all that is needed: dl_main() in elf/rtld.c of glibc, load_preload() of musl."""
        preload = re.split(r"[\s:]+", self._start.preload)[:_NAMES_LIMIT]
        if self._search.musl:
            # Nobody asks for these: no RPATH counts.
            nobody = Object(path=self._program.path, origin="", elf=None, loader=None)
            yield from ((name, nobody, "LD_PRELOAD") for name in preload if name)
            return
        # They are opened by the loader, for which the program's DT_RPATH counts, but no DT_RUNPATH.
        rpath = None if self._elf.runpath is not None else self._elf.rpath
        watched = msgspec.structs.replace(self._elf, runpath=None, rpath=rpath)
        auditor = msgspec.structs.replace(self._program, elf=watched)
        yield from ((name, auditor, "DT_AUDIT") for name in self._elf.audits[:_NAMES_LIMIT])
        yield from ((name, auditor, "LD_AUDIT") for name in self._start.audit.split(":")[:_NAMES_LIMIT] if name)
        yield from ((name, self._program, "LD_PRELOAD") for name in preload if name)
        content = None if isinstance(self._root, HostRoot) else self._root.content(PRELOAD_LIST)
        for name in preloaded(content or b"")[:_NAMES_LIMIT]:
            yield name, self._program, PRELOAD_LIST

    def _find_interpreter(self) -> tuple[InterpreterState, Library | None]:
        path = self._elf.interpreter
        if path is None:
            return "none", None
        located = self._root.locate(path) if path.startswith("/") else None
        if located is None:
            return "missing", None
        try:
            elf = self._root.elf(located.real)
        except (ElfError, SourceError):
            return "unfit", None
        if elf is not None and not (_is_for(elf, self._elf) and elf.type in {"EXEC", "DYN"}):
            return "unfit", None
        if elf is None:
            self._incomplete.append(path)
        return "found", Library(
            name=path, path=path, real=located.real, links=located.links, how="interpreter", elf=elf
        )

    def _load_all(self) -> None:
        while self._queue:
            each = self._queue.pop(0)
            if each.elf is None:
                continue
            for name in dict.fromkeys(each.elf.needed):
                if name not in self._names:
                    self._load(name, each, "DT_NEEDED")
            if not self._search.musl:
                for name in each.elf.filtees:
                    self._load(name, each, "DT_FILTER")
                for name in each.elf.auxiliaries:
                    self._load(name, each, "DT_AUXILIARY")

    def _load(self, name: str, wanted_by: Object, asked_by: AskedBy) -> None:
        if name in self._names or self._search.is_own(name):
            self._names.setdefault(name, self._interpreter)
            return
        searched: list[str] = []
        unfit: list[str] = []
        for candidate in self._search.candidates(name, wanted_by):
            self._lookups += 1
            if self._lookups > _LOOKUPS_LIMIT or len(self._loaded) >= _OBJECTS_LIMIT:
                break
            located = self._root.locate(candidate.path)
            if located is None:
                searched.append(candidate.path)
                continue
            try:
                elf = self._root.elf(located.real)
            except (ElfError, SourceError):
                # Where another processor's file is passed over, this ends the search: open_verify().
                unfit.append(candidate.path)
                break
            if elf is not None and not (_is_for(elf, self._elf) and elf.type == "DYN"):
                unfit.append(candidate.path)
                if self._search.musl or _is_for(elf, self._elf):
                    break
                continue
            self._take(_Wanted(name, wanted_by, asked_by), candidate, located, elf)
            return
        missing = Unresolved(
            name=name,
            wanted_by=wanted_by.path,
            searched=tuple(dict.fromkeys(searched[:_SEARCHED_LIMIT])),
            unfit=tuple(unfit),
            variant=self._variant(name, wanted_by),
            asked_by=asked_by,
        )
        known = self._unresolved.get(name)
        if known is None or (known.asked_by not in _FATAL and asked_by in _FATAL):
            self._unresolved[name] = missing

    def _variant(self, name: str, wanted_by: Object) -> str | None:
        if self._search.musl or "/" in name or self._lookups > _LOOKUPS_LIMIT:
            return None
        if self._best is None:
            facts = None if self._interpreter is None else self._interpreter.elf
            self._best = Search(self._root, self._elf, facts, start=self._start, isa_level=BEST_LEVEL)
        every = self._best.candidates(name, wanted_by)
        paths = {each.path for each in every if "/glibc-hwcaps/x86-64-v" in each.path}
        self._lookups += len(paths)
        found = [path for path in paths if self._root.locate(path)]
        return min(found, key=lambda path: path.split("/")[-2:], default=None)

    def _take(self, wanted: _Wanted, candidate: SearchPath, located: Located, elf: ElfFacts | None) -> None:
        self._unresolved.pop(wanted.name, None)
        library = Library(
            name=wanted.name,
            path=candidate.path,
            real=located.real,
            links=located.links,
            how=candidate.how,
            item=candidate.item,
            owner=candidate.owner,
            wanted_by=wanted.wanted_by.path,
            asked_by=wanted.by,
            again=located.real in self._reals,
            elf=elf,
        )
        self._loaded.append(library)
        self._remember(library)
        if library.again:
            return
        if elf is None:
            self._incomplete.append(candidate.path)
        self._queue.append(
            Object(path=candidate.path, origin=_directory_of(candidate.path), elf=elf, loader=wanted.wanted_by)
        )

    def _remember(self, library: Library) -> None:
        """By which names it is known from now on; musl does not look at DT_SONAME."""
        names = [library.name, library.path]
        if library.elf is not None and library.elf.soname and not self._search.musl:
            names.append(library.elf.soname)
        for name in names:
            self._names.setdefault(name, library)
        self._reals.setdefault(library.real, library)

    def _check_versions(self) -> list[MissingVersion]:
        """Compare DT_VERNEED with DT_VERDEF: elf/dl-version.c; a library without versions is let be."""
        found = []
        asking = [(self._program.path, self._elf)]
        asking += [(each.path, each.elf) for each in self._loaded if each.elf is not None and not each.again]
        for wanted_by, elf in asking:
            for need in elf.needed_versions:
                library = self._names.get(need.library)
                if library is None or library.elf is None or library.elf.defined_versions is None or need.weak:
                    continue
                if need.name not in _as_set(library.elf.defined_versions):
                    found.append(
                        MissingVersion(
                            version=need.name, library=need.library, path=library.path, wanted_by=wanted_by
                        )
                    )
        return found


@functools.lru_cache(maxsize=4096)
def _directory_of(path: str) -> str:
    return posixpath.dirname(path)


@functools.lru_cache(maxsize=1024)
def _as_set(versions: tuple[str, ...]) -> frozenset[str]:
    """The same library is asked for each program that loads it."""
    return frozenset(versions)


def preloaded(content: bytes) -> tuple[str, ...]:
    """The libraries that /etc/ld.so.preload names: handle_preload_list() in elf/rtld.c of glibc."""
    text = re.sub(rb"#[^\n]*", b" ", content).partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return tuple(filter(None, re.split(r"[: \t\n]+", text)))


def _is_for(elf: ElfFacts, program: ElfFacts) -> bool:
    """Whether it is for the same processor; others are passed over by the loader: open_verify() of glibc."""
    return elf.machine == program.machine and elf.bits == program.bits and elf.byte_order == program.byte_order
