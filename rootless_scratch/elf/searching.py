"""Where a loader looks for one library: ld.so(8) and elf/dl-load.c of glibc, ldso/dynlink.c of musl."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from rootless_scratch.elf.ldcache import CACHE as _CACHE
from rootless_scratch.elf.ldcache import CacheEntry, by_name, read_path_file
from rootless_scratch.elf.roots import HostRoot, Root
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rootless_scratch.elf.facts import ElfFacts

How = Literal["interpreter", "path", "rpath", "runpath", "library-path", "cache", "conf", "default"]

_GLIBC_DIRECTORIES: Final = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/lib32", "/usr/lib32")
_MUSL_DIRECTORIES: Final = ("/lib", "/usr/local/lib", "/usr/lib")
TRIPLETS: Final = {
    "x86_64": ("x86_64-linux-gnu",),
    "i386": ("i386-linux-gnu",),
    "x32": ("x86_64-linux-gnux32",),
    "aarch64": ("aarch64-linux-gnu",),
    "arm": ("arm-linux-gnueabihf", "arm-linux-gnueabi"),
    "riscv64": ("riscv64-linux-gnu",),
    "ppc64le": ("powerpc64le-linux-gnu",),
    "s390x": ("s390x-linux-gnu",),
    "loongarch64": ("loongarch64-linux-gnu",),
}
_PLATFORMS: Final = {"x86_64": "x86_64", "aarch64": "aarch64", "i386": "i686"}
"""What the kernel and the loader give for `$PLATFORM`, where that is the same on every processor of the kind."""

_MUSL_OWN: Final = ("c", "pthread", "rt", "m", "dl", "util", "xnet")
"""Libraries that musl's loader is itself: load_library() in ldso/dynlink.c."""

_HWCAPS: Final = {"x86_64": ("x86-64-v2", "x86-64-v3", "x86-64-v4")}
_TOKEN: Final = expression(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")
BEST_LEVEL: Final = 4
"""Of x86-64: the psABI, "Micro-Architecture Levels"."""

_ITEMS_LIMIT = 100
"""A hostile file could name thousands of directories for thousands of libraries."""


class Object(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded file as the search sees it; `loader` is the one that asked for it first, None for the program."""

    path: str
    origin: str
    elf: ElfFacts | None
    loader: Object | None


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What a loader is told besides the program: LD_LIBRARY_PATH, LD_PRELOAD, LD_AUDIT, as they are written.

    `working_dir` is an absolute path; None where nobody knows it.
    """

    library_path: str = ""
    preload: str = ""
    audit: str = ""
    working_dir: str | None = None

    @classmethod
    def of(cls, env: Iterable[tuple[str, str]], working_dir: str) -> Start:
        """Take it from environment variables and a working directory."""
        known = dict(env)
        return cls(
            library_path=known.get("LD_LIBRARY_PATH", ""),
            preload=known.get("LD_PRELOAD", ""),
            audit=known.get("LD_AUDIT", ""),
            working_dir=posixpath.join("/", working_dir),
        )


class SearchPath(msgspec.Struct, frozen=True, kw_only=True):
    """One path to try, and by which rule; `item` is the directory as its `owner` (a path) has it written."""

    path: str
    how: How
    item: str = ""
    owner: str = ""


def is_musl(interpreter: str | None) -> bool:
    """Tell whether a loader is musl's, by the name that musl fixes for it."""
    return posixpath.basename(interpreter or "").startswith("ld-musl-")


class Search:
    """The search of one loader in one root, for one program.

    `isa_level` chooses among glibc-hwcaps subdirectories; at level 1 none
    counts, as on the oldest processor of the kind. `$PLATFORM` and the subdirectories of glibc before 2.37
    (`tls`, `haswell`) depend on the processor too, and only the same value for all is used.
    """

    def __init__(
        self, root: Root, program: ElfFacts, interpreter: ElfFacts | None, *, start: Start, isa_level: int
    ) -> None:
        self._root = root
        self._program = program
        self._loader_path = program.interpreter or ""
        self._loader_name = posixpath.basename(self._loader_path)
        self.musl = is_musl(program.interpreter)
        self.defaults = self._default_directories(interpreter)
        self._working_dir = start.working_dir
        self._library_path = re.split(r"[:;]", start.library_path) if start.library_path else []
        levels = _HWCAPS.get(program.machine, ())[: max(isa_level - 1, 0)]
        self._hwcaps = levels[::-1]
        self._by_name: Mapping[str, list[CacheEntry]] = {}
        self._conf: tuple[str, ...] = ()
        if isinstance(root, HostRoot) and not self.musl:
            self._by_name, self._conf = root.lists()
        elif not self.musl:
            self._by_name = by_name(root.content(_CACHE))

    @property
    def list_unread(self) -> bool:
        """Whether the root has a file by which this loader may look elsewhere, and what it says is not known."""
        path = self._path_file() if self.musl else _CACHE
        return self._root.locate(path) is not None and self._root.content(path) is None

    def is_own(self, name: str) -> bool:
        """Tell whether the loader, once there, is that library."""
        if self.musl:
            return name.startswith("lib") and name[3:].partition(".")[0] in _MUSL_OWN and "." in name
        return name == self._loader_name

    def candidates(self, name: str, wanted_by: Object) -> Iterator[SearchPath]:
        """List the paths where it is looked for, in order."""
        if "/" in name:
            path = self._absolute(self.expanded(name, wanted_by.origin))
            if path is not None:
                yield SearchPath(path=path, how="path", item=name, owner=wanted_by.path)
            return
        yield from self._musl_paths(name, wanted_by) if self.musl else self._glibc_paths(name, wanted_by)

    def expanded(self, text: str, origin: str) -> str | None:
        """Replace `$ORIGIN`, `$LIB` and `$PLATFORM`; None where a value is not known."""
        if "$" not in text:
            return text
        known = {"ORIGIN": origin, "LIB": self._lib(), "PLATFORM": _PLATFORMS.get(self._program.machine)}
        if self.musl:
            known = {"ORIGIN": origin}
        found = [known.get(match[1] or match[2]) for match in _TOKEN.finditer(text)]
        if None in found:
            return None
        done = _TOKEN.sub(lambda match: known[match[1] or match[2]] or "", text)
        return None if self.musl and "$" in done else done

    def _glibc_paths(self, name: str, wanted_by: Object) -> Iterator[SearchPath]:
        elf = wanted_by.elf
        if elf is None or elf.runpath is None:
            yield from self._rpath_paths(name, wanted_by)
        yield from self._listed(name, self._library_path, wanted_by, "library-path")
        if elf is not None and elf.runpath:
            yield from self._listed(name, elf.runpath.split(":"), wanted_by, "runpath")
        nodeflib = elf is not None and elf.nodeflib
        for entry in self._cached(name):
            # The loader compares the beginnings of the texts: _dl_map_object().
            if not (nodeflib and entry.path.startswith(tuple(f"{directory}/" for directory in self.defaults))):
                yield SearchPath(path=entry.path, how="cache")
        if not nodeflib:
            yield from self._in(self._conf, name, "conf")
            yield from self._in(self.defaults, name, "default")

    def _rpath_paths(self, name: str, wanted_by: Object) -> Iterator[SearchPath]:
        """DT_RPATH of the one that asks, of the one that asked for it, and so on; RUNPATH turns an own one off."""
        each: Object | None = wanted_by
        while each is not None:
            if each.elf is not None and each.elf.rpath and each.elf.runpath is None:
                yield from self._listed(name, each.elf.rpath.split(":"), each, "rpath")
            each = each.loader

    def _musl_paths(self, name: str, wanted_by: Object) -> Iterator[SearchPath]:
        yield from self._listed(name, self._library_path, wanted_by, "library-path")
        each: Object | None = wanted_by
        while each is not None:
            elf = each.elf
            paths = None if elf is None else elf.rpath if elf.runpath is None else elf.runpath
            if paths is not None and self.expanded(paths, each.origin) is not None:
                yield from self._listed(name, paths.split(":"), each, "rpath")
            each = each.loader
        yield from self._in(self.defaults, name, "default")

    def _listed(self, name: str, items: Sequence[str], owner: Object, how: How) -> Iterator[SearchPath]:
        for item in items[:_ITEMS_LIMIT]:
            # An empty one is the working directory to glibc, and nothing to musl.
            directory = self._absolute(self.expanded(item, owner.origin)) if item or not self.musl else None
            if directory is not None:
                for variant in self._variants(directory.rstrip("/")):
                    yield SearchPath(path=f"{variant}/{name}", how=how, item=item, owner=owner.path)

    def _absolute(self, path: str | None) -> str | None:
        """Let a relative path begin at the working directory; None where that is not known."""
        if path is None or path.startswith("/"):
            return path
        if self._working_dir is None:
            return None
        return "/" + "/".join(name for name in f"{self._working_dir}/{path}".split("/") if name not in ("", "."))

    def _in(self, directories: Sequence[str], name: str, how: How) -> Iterator[SearchPath]:
        for directory in directories:
            for variant in self._variants(directory):
                yield SearchPath(path=f"{variant}/{name}", how=how, item=directory)

    def _variants(self, directory: str) -> Iterator[str]:
        if not self.musl:
            yield from (f"{directory}/glibc-hwcaps/{level}" for level in self._hwcaps)
        yield directory

    def _cached(self, name: str) -> list[CacheEntry]:
        """The entries of that name, the best first; those for processors beyond the level are left out."""
        entries = [
            entry for entry in self._by_name.get(name, ()) if entry.hwcaps is None or entry.hwcaps in self._hwcaps
        ]
        if len(entries) < 2:  # noqa: PLR2004 - there is nothing to choose from
            return entries
        order = {level: rank for rank, level in enumerate(self._hwcaps)}
        return sorted(entries, key=lambda entry: order.get(entry.hwcaps or "", len(order)))

    def _default_directories(self, interpreter: ElfFacts | None) -> tuple[str, ...]:
        if self.musl:
            content = self._root.content(self._path_file())
            return _MUSL_DIRECTORIES if content is None else read_path_file(content)
        if interpreter is not None and interpreter.system_directories:
            return interpreter.system_directories
        triplets = TRIPLETS.get(self._program.machine, ())
        multiarch = tuple(f"{root}/{triplet}" for triplet in triplets for root in ("/lib", "/usr/lib"))
        return (*multiarch, *_GLIBC_DIRECTORIES)

    def _path_file(self) -> str:
        """Below the directory that is two above the loader: `ldso.name` in ldso/dynlink.c."""
        prefix = posixpath.dirname(posixpath.dirname(self._loader_path)).rstrip("/")
        architecture = posixpath.basename(self._loader_path).removeprefix("ld-musl-").partition(".")[0]
        return f"{prefix}/etc/ld-musl-{architecture}.path"

    def _lib(self) -> str:
        """DL_DST_LIB of glibc: the directory of its own libraries, without the slash before it."""
        return next((each for each in self.defaults if not each.startswith("/usr/")), "/lib").lstrip("/")
