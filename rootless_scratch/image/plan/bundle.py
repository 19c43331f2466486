"""Loader and libraries of an image's programs as entries: placed where the loader inside the image finds them.

    the loader        at the path that the program names (PT_INTERP)
    by RPATH, RUNPATH in the same directory; `$ORIGIN` is where the one that asks lies in the image
    by default        in the same directory of the loader's own
    by ld.so.cache    likewise, if the loader searches its directory by itself; else in the first that it searches

No cache is written: it would have to be made anew whenever the image changes, and musl reads none. A file
exists once; a second path to it is a symbolic link, as is a soname that differs from the file's own name. What
the user has put at a path stays. Programs of a Containerfile may come from several systems (stages, images, the
host): each has the libraries of its own.
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.elf.libraries import Closure, Library, Unresolved, resolve
from rootless_scratch.elf.opened import opened_later
from rootless_scratch.elf.program import ProgramFacts  # noqa: TC001 - msgspec resolves it for JSON
from rootless_scratch.errors import ElfError, SourceError, SpecError, UsageError
from rootless_scratch.expressions import expression
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink
from rootless_scratch.image.syntax import ESSENTIALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.elf.searching import Start
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.spec import Spec

_HWCAPS: Final = expression(r"/glibc-hwcaps/[^/]+\Z")
_LINKS_LIMIT = 40
_ALWAYS_SEARCHED_BY_MUSL: Final = ("/lib", "/usr/local/lib", "/usr/lib")
"""Also without the path file, which is not taken along."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """The entries that were added, and the libraries that are not on this host.

    `facts` is what the added files say. `unresolved` keep a program from starting; `incomplete` are wanted by
    libraries that were copied or included.
    """

    entries: tuple[Entry, ...] = ()
    facts: tuple[tuple[str, ProgramFacts], ...] = ()
    unresolved: tuple[Unresolved, ...] = ()
    incomplete: tuple[Unresolved, ...] = ()


def require_bundle(spec: Spec) -> None:
    """Raise UsageError for options without effect if nothing is bundled, SpecError for what is no sysroot."""
    is_sysroot_bare = spec.sysroot is not None and not spec.bundle_packages
    for flag, is_set in (("--include-library", spec.include_libraries), ("--sysroot", is_sysroot_bare)):
        if is_set and not spec.bundle_libraries:
            raise UsageError(f"{flag} has no effect, as nothing is bundled.", fix="Add `--bundle-libraries`.")
    if spec.sysroot is not None and not os.path.isdir(spec.sysroot):
        raise SpecError(
            f"The sysroot {spec.sysroot!r} is not a directory.",
            fix="Name the root directory of a system for the program's architecture.",
        )


def require_one_system(spec: Spec, roots: Sequence[str]) -> None:
    """Raise UsageError where programs come from several systems, of which `roots` are some, and more is wanted."""
    named = [f"--with {each.name}" for each in spec.essentials if each.name not in ESSENTIALS]
    named += [f"--bundle-package {name}" for name in spec.bundle_packages]
    if roots and named:
        raise UsageError(
            f"{named[0]} takes files of one system, and the programs of this image come from several.",
            fix="Copy all programs from one image or stage, or name the system by `--sysroot DIR`.",
        )


def bundle(
    entries: Sequence[Entry],
    programs: Mapping[str, ProgramFacts],
    *,
    include: Sequence[str] = (),
    root: HostRoot,
    apart: Sequence[HostRoot] = (),
    files: HostFiles,
    start: Start,
    isa_level: int = 1,
) -> Bundle:
    """Find and place what the programs among `entries` load; `programs` are those already read, by path.

    `include` are further libraries, by name or by path on the host; `root` is where all is looked for, but for
    programs that lie in one of those `apart`; `start` is what the image tells its loaders, `isa_level` the level
    of x86-64 that it is for. Raises SpecError where there is nothing to bundle for, SourceError and ElfError for
    files that cannot be read, and SourceError where roots have different libraries for one path.
    """
    linked = [
        (entry, facts) for entry in entries if isinstance(entry, File) if (facts := _facts(entry, programs, files))
    ]
    roots = (*apart, root)
    placing = _Placing(roots, entries)
    started = [(file, facts) for file, facts in linked if facts.interpreter is not None]
    if include and not started:
        raise SpecError(
            "There is no dynamically linked program that could use an included library.",
            fix="Leave --include-library out, or name the program that opens it.",
        )
    unresolved: dict[str, Unresolved] = {}
    incomplete: dict[str, Unresolved] = {}
    met: set[int] = set()
    for file, facts in started:
        number, path = _where(roots, file)
        own_root = roots[number]
        resolver = _Resolver(root=own_root, start=start, isa_level=isa_level)
        # Shared objects that were copied are opened by a program of their image: the first one stands for all.
        others = [] if number in met else [other for other, elf in linked if elf.interpreter is None]
        met.add(number)
        opened = [inside for at, inside in (_where(roots, other) for other in others) if at == number and inside]
        wanted = [*(_included(own_root, name) for name in include), *opened]
        path = path or file.path
        closure = _whole_closure(facts, path, resolver, wanted)
        placing.place_all(closure, file, path, number=number, included=frozenset(wanted))
        own = {each.name for each in resolver.resolve(facts, path).unresolved} if closure.unresolved else ()
        for each in closure.unresolved:
            if each.name in wanted[: len(include)]:
                raise _not_there(each)
            (unresolved if each.name in own else incomplete).setdefault(each.name, each)
    return Bundle(
        entries=tuple(placing.entries()),
        facts=tuple(placing.facts.items()),
        unresolved=tuple(unresolved.values()),
        incomplete=tuple(incomplete.values()),
    )


def _not_there(library: Unresolved) -> SourceError:
    if library.variant is not None:
        return SourceError(
            f"The library {library.name!r} to include exists only for newer processors, as {library.variant!r}.",
            fix=f"Use `--include-library {library.variant}` to have it in an image that needs such a processor.",
        )
    if library.unfit:
        why = f"{library.unfit[0]!r} is not a library for the program's processor"
    else:
        why = (
            f"it is none of {', '.join(map(repr, library.searched[:5]))}"
            if library.searched
            else "it is not there"
        )
    return SourceError(
        f"The library {library.name!r} to include is not found: {why}.",
        fix="Name the file by its path, or install the package that has it.",
    )


def _facts(file: File, programs: Mapping[str, ProgramFacts], files: HostFiles) -> ElfFacts | None:
    """What an ELF file of the image says; None for others, and for what cannot be linked dynamically."""
    known = programs.get(file.path)
    if known is None:
        try:
            if file.source is None or not files.is_elf(file):
                return None
            known = files.program(file.source)
        except (OSError, ElfError, SourceError):
            # A data file may look like anything; what is started is read, and refused, by the plan.
            return None
    elf = known.elf
    return elf if elf is not None and elf.dynamic and elf.type in {"EXEC", "DYN"} and not elf.truncated else None


def _where(roots: Sequence[HostRoot], file: File) -> tuple[int, str | None]:
    """The root that a file of the image comes from, by its number, and where it lies in there; else the last."""
    source = file.source
    inside = (None if source is None else root.inside(source) for root in roots)
    return next(((number, path) for number, path in enumerate(inside) if path), (len(roots) - 1, None))


def _included(root: HostRoot, library: str) -> str:
    """A name is looked for like any other; a path is one of the host, or of the sysroot."""
    if "/" not in library:
        return library
    absolute = os.path.abspath(library)
    return library if library.startswith("/") and root.locate(library) else root.inside(absolute) or absolute


class _Resolver(msgspec.Struct, frozen=True, kw_only=True):
    """How everything of one image is looked for."""

    root: HostRoot
    start: Start
    isa_level: int

    def resolve(self, elf: ElfFacts, path: str, also: Sequence[str] = ()) -> Closure:
        return resolve(elf, path=path, root=self.root, start=self.start, isa_level=self.isa_level, also=also)


def _whole_closure(elf: ElfFacts, path: str, resolver: _Resolver, wanted: Sequence[str]) -> Closure:
    """With what it opens later, as far as that is known and there: the first of the names that is."""
    closure = resolver.resolve(elf, path, wanted)
    needs = [need for need in opened_later(elf, path, closure) if need.priority != "suggested"]
    if not needs:
        return closure
    names = [name for need in needs for name in need.names]
    every = resolver.resolve(elf, path, names)
    lost = {each.name for each in every.unresolved}
    there = [next(found, None) for need in needs for found in [(name for name in need.names if name not in lost)]]
    chosen = [*wanted, *filter(None, there)]
    return every if chosen == names else resolver.resolve(elf, path, chosen)


class _Placing:
    """Collects entries; knows where in the image each file of the roots is."""

    def __init__(self, roots: Sequence[HostRoot], entries: Iterable[Entry]) -> None:
        self._roots = roots
        self._planned = {entry.path: entry for entry in entries}
        self._added: dict[str, Entry] = {}
        self._files: dict[tuple[int, str], str] = {}
        self._number = 0
        self._program = ""
        self._wanted_by: dict[str, str] = {}
        self.facts: dict[str, ProgramFacts] = {}
        for entry in self._planned.values():
            number, inside = _where(roots, entry) if isinstance(entry, File) else (0, None)
            if inside is not None:
                self._files.setdefault((number, inside), entry.path)

    def entries(self) -> Iterator[Entry]:
        """What was added."""
        return iter(self._added.values())

    def place_all(
        self, closure: Closure, program: File, path: str, *, number: int, included: frozenset[str]
    ) -> None:
        """Place the loader and the libraries of one program, which lies at `path` of the root of this number."""
        self._number, self._program = number, program.path
        located = self._roots[number].locate(path)
        origins = {path: posixpath.dirname(located.real if located else path)}
        homes = {path: posixpath.dirname(program.path)}
        if closure.interpreter is not None:
            self._place(closure.interpreter.real, closure.interpreter.path, plain=True)
        for library in closure.libraries:
            if (number, library.real) in self._files and library.name in included:
                # It was copied into the image by the user, and is where it is to be.
                target = self._files[number, library.real]
            else:
                directory = self._directory(library, closure, origins, homes, included)
                name = posixpath.basename(library.path)
                target = self._place(library.real, f"{directory}/{name}", plain=library.how == "path")
            origins[library.path] = posixpath.dirname(library.path)
            homes[library.path] = posixpath.dirname(target)

    def _directory(
        self,
        library: Library,
        closure: Closure,
        origins: Mapping[str, str],
        homes: Mapping[str, str],
        included: frozenset[str],
    ) -> str:
        """The directory of the image in which its loader will look for the library."""
        # What better processors find in a directory of glibc-hwcaps, all of them find beside it.
        directory = _HWCAPS.sub("", posixpath.dirname(library.path))
        searched = _ALWAYS_SEARCHED_BY_MUSL if closure.musl else closure.defaults
        if library.how in {"rpath", "runpath"} or (library.how == "path" and library.name not in included):
            origin = origins.get(library.owner)
            if "ORIGIN" in library.item and origin is not None and directory.startswith(origin):
                directory = homes[library.owner].rstrip("/") + directory[len(origin) :]
                self._make_passable(directory)
            return directory
        return directory if directory in searched else searched[0]

    def _make_passable(self, directory: str) -> None:
        """The kernel opens every directory before a `..`, so they have to be there."""
        reached: list[str] = []
        for name in directory.split("/"):
            if name == "..":
                path = "/" + "/".join(reached)
                if reached and path not in self._planned:
                    self._added.setdefault(path, Directory(path=path, mode=0o755, uid=0, gid=0))
                del reached[-1:]
            elif name not in ("", "."):
                reached.append(name)

    def _place(self, real: str, path: str, *, plain: bool) -> str:
        """Put the file at `path`, or a link to where it is already; `plain`: under that name alone."""
        path = self._through_links(posixpath.normpath(path))
        root = self._roots[self._number]
        if path in self._planned:
            return path
        if path in self._added:
            self._require_same(path, root.on_host(real))
            return path
        known = self._files.get((self._number, real))
        if known is not None:
            self._added[path] = Symlink(path=path, target=_shortest(known, path))
            return path
        own_name = posixpath.basename(real)
        target = path
        if not plain and own_name != posixpath.basename(path):
            own = f"{posixpath.dirname(path).rstrip('/')}/{own_name}"
            if own not in self._planned and own not in self._added:
                self._added[path] = Symlink(path=path, target=own_name)
                target = own
        facts = root.program(real)
        self._added[target] = File(
            path=target, mode=0o755, uid=0, gid=0, source=root.on_host(real), identity=facts.identity
        )
        self._wanted_by[target] = self._program
        self._files[self._number, real] = target
        self.facts[target] = facts
        return path

    def _require_same(self, path: str, source: str) -> None:
        """Raise SourceError where another root has brought another file to this path."""
        target = path
        while isinstance(entry := self._added.get(target) or self._planned.get(target), Symlink):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(target), entry.target))
        if not isinstance(entry, File) or entry.source in (None, source):
            return
        import filecmp

        if not filecmp.cmp(str(entry.source), source, shallow=False):
            first = self._wanted_by.get(target, target)
            raise SourceError(
                f"{first!r} and {self._program!r} come from different systems, each with a {path!r} of its own.",
                fix="Copy both from one image or stage, link one of them statically, or build an image for each.",
            )

    def _through_links(self, path: str) -> str:
        """Nothing is written through links of the image, so a path that leads through one is followed here."""
        for _ in range(_LINKS_LIMIT):
            parts = path.split("/")
            for count in range(2, len(parts)):
                link = self._planned.get("/".join(parts[:count]))
                if isinstance(link, Symlink):
                    above = posixpath.dirname(link.path)
                    path = posixpath.normpath(posixpath.join(above, link.target, *parts[count:]))
                    break
            else:
                return path
        return path


def _shortest(target: str, path: str) -> str:
    """A link within one directory needs no more than the name."""
    same = posixpath.dirname(target) == posixpath.dirname(path)
    return posixpath.basename(target) if same else target
