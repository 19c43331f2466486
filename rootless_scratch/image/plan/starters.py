"""Which programs of this host a program names in its texts: those that it starts, by their paths or names.

A call of execvp(3) alone tells nothing. What tells is the path of a program that is there; or the name of one that
lies in a directory of its own, beside the program or below a directory that its texts name (cc1, git-remote-https,
postgres); or one that begins with the program's own name (gpg-agent).
"""

from __future__ import annotations

import os
import posixpath
import stat
from typing import TYPE_CHECKING, BinaryIO, Final
from weakref import WeakKeyDictionary

import msgspec

from rootless_scratch.elf.symbols import STARTING
from rootless_scratch.elf.texts import paths_of, texts_of
from rootless_scratch.errors import ElfError
from rootless_scratch.expressions import expression
from rootless_scratch.image.host_files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.host.installed import Packages

_NAME: Final = expression(r"[A-Za-z0-9][A-Za-z0-9._+-]{2,60}")
_WORD: Final = expression(r"[a-z]{1,5}")
"""Names such as `count` and `not`, which are words of messages too."""

_PROGRAMS: Final = expression(r"/(?:usr|bin|sbin|lib|lib64|opt)/")
_SEARCHED: Final = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/games", "/usr/local/bin", "/usr/local/sbin")
_PRIVATE: Final = expression(r"(?:/usr)?/lib(?:exec|32|64)?/[^/]+(?:/|\Z)|/opt/[^/]+/|/usr/share/[^/]+(?:/|\Z)")
_SHARED: Final = expression(r"(?:/usr)?/lib(?:32|64)?/[^/]*-linux-[^/]*/?\Z")
_COMMON: Final = frozenset(
    {"sh", "bash", "dash", "csh", "ksh", "tcsh", "zsh", "true", "false", "nologin", "ex", "vi", "editor"}
)
"""A shell is a matter of its own, an editor is the user's."""

_DATABASES: Final[WeakKeyDictionary[HostRoot, tuple[Packages, ...]]] = WeakKeyDictionary()
"""Of packages, by the root that they were read below."""

_OWNERS: Final[WeakKeyDictionary[HostRoot, dict[str, tuple[Packages, str] | None]]] = WeakKeyDictionary()
_BELOW: Final[WeakKeyDictionary[HostRoot, dict[str, tuple[str, ...]]]] = WeakKeyDictionary()
"""By the root: what a path is owned by, and the directories below one that belongs to one piece of software."""

_DEPTH = 2
_ENTRIES_LIMIT = 50
_FOUND_LIMIT = 500


class Starter(msgspec.Struct, frozen=True, kw_only=True):
    """A program by its path in the image; the programs that it names, by their paths of the host.

    `package` is the one on this host that those outside of PATH came with, where that is known, `shell` whether it
    names /bin/sh, too.
    """

    path: str
    starts: tuple[str, ...] = ()
    package: str | None = None
    shell: bool = False


def starters_among(programs: Mapping[str, ProgramFacts], root: HostRoot) -> tuple[Starter, ...]:
    """Those of the dynamically linked programs, in C and the like, that name others of `root`."""
    found = []
    for path, facts in programs.items():
        elf, source = facts.elf, root.inside(facts.path)
        if elf is None or elf.interpreter is None or elf.go is not None or source is None:
            continue
        if not STARTING.intersection(elf.functions):
            continue
        try:
            with open_regular(facts.path) as file:
                paths = paths_of(file)
                starts = tuple(sorted(_started(source, posixpath.basename(facts.path), paths, file, root)))
        except (OSError, ValueError, ElfError):
            continue
        shell = "/bin/sh" in paths
        if starts or shell:
            found.append(Starter(path=path, starts=starts, package=_package(starts, root), shell=shell))
    return tuple(found)


def _started(source: str, name: str, paths: set[str], file: BinaryIO, root: HostRoot) -> set[str]:
    found = {
        located
        for path in paths
        if _PROGRAMS.match(path) and (located := _executable(path, root))
        if posixpath.basename(path) not in _COMMON and ".so" not in posixpath.basename(path)
    }
    here = posixpath.dirname(source)
    likely: list[tuple[str, list[str]]] = []
    for directory, start in [
        *((path, f"{name}-") for path in dict.fromkeys((here, *_SEARCHED))),
        *((path, "") for path in (here,) if here not in _SEARCHED),
        *((below, "") for path in sorted(paths) if _PRIVATE.match(path) for below in _private(path, root)),
    ]:
        # A program has far more texts than directories have names that can matter.
        every = root.names(directory, start) if start else root.programs(directory)
        there = [each for each in every if _is_name(each, name, start)]
        if there:
            likely.append((directory, there))
    named = texts_of(file, {each for _, there in likely for each in there}) if likely else set()
    for directory, there in likely:
        found |= {
            located for each in there if each in named and (located := _executable(f"{directory}/{each}", root))
        }
        if len(found) > _FOUND_LIMIT:
            break
    return {path for path in found if (target := root.locate(path)) and target.real != source}


def _is_name(text: str, own: str, start: str) -> bool:
    """Whether a text that begins with `start` can be meant as the name of a program, other than the `own` one."""
    return (
        text.startswith(start)
        and text != own
        and _NAME.fullmatch(text) is not None
        and not _WORD.fullmatch(text)
        and ".so" not in text
    )


def _private(path: str, root: HostRoot) -> tuple[str, ...]:
    """A directory that belongs to one piece of software, and those below it."""
    if _SHARED.match(path) or root.directory(path) is None:
        return ()
    known = _BELOW.setdefault(root, {})
    if path not in known:
        known[path] = tuple(_below(path, root))
    return known[path]


def _below(path: str, root: HostRoot) -> Iterator[str]:
    level = [path.rstrip("/")]
    for _ in range(_DEPTH + 1):
        below = []
        for directory in level:
            if root.directory(directory) != directory:
                continue
            yield directory
            names = root.listing(directory)
            below += [f"{directory}/{name}" for name in names] if len(names) < _ENTRIES_LIMIT else []
        level = below


def _executable(path: str, root: HostRoot) -> str | None:
    """The path, its directories followed, of a program; None for what is no file that can be executed."""
    real = root.followed(path)
    if real is None or root.locate(path) is None:
        return None
    located = root.locate(real)
    try:
        mode = os.stat(root.on_host(located.real)).st_mode if located else 0
    except OSError:
        return None
    return real if stat.S_ISREG(mode) and mode & 0o111 else None


def _package(starts: tuple[str, ...], root: HostRoot) -> str | None:
    """The package that has all those outside of PATH, which nobody would name one by one."""
    private = [path for path in starts if posixpath.dirname(path) not in _SEARCHED]
    if not private:
        return None
    if root not in _DATABASES:
        from rootless_scratch.host.installed import databases

        _DATABASES[root] = databases(root.on_host("/"))
    known = _OWNERS.setdefault(root, {})
    if private[0] not in known:
        found = ((database, database.owner(private[0])) for database in _DATABASES[root])
        known[private[0]] = next(((database, owner) for database, owner in found if owner is not None), None)
    owned = known[private[0]]
    if owned is None:
        return None
    database, owner = owned
    return owner if set(private) <= set(database.files(owner) or ()) else None
