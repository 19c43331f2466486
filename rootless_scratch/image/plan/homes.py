"""Where programs of the system go by default: to the path that they have on this host, where they find themselves.

Programs look for their files beside themselves, or above (git, java, python3), and are called by their paths. What
is taken along for them is at the host's paths too. A link `/NAME` leads to each, as to all other programs.
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.image.rootfs import Directory, File, Symlink
from rootless_scratch.image.syntax import ESSENTIALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.image.rootfs import Entry
    from rootless_scratch.image.spec import Spec

_SYSTEM: Final = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/opt/")
_OWNERS: Final = (0, 65534)
"""Root, also as a user namespace shows it that does not know root: user_namespaces(7), overflowuid."""


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """A program's path of this host as it was named, and where the file really lies."""

    named: str
    real: str


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A program in the image: its file, the path that starts it, a link that this needs, and the link `/NAME`."""

    file: File
    started: str
    link: Symlink | None = None
    alias: Symlink | None = None

    def entries(self) -> tuple[Entry, ...]:
        """What is in the image for it; the alias comes last of all (`with_aliases`)."""
        return (self.file,) if self.link is None else (self.file, self.link)


def brings_surroundings(spec: Spec) -> bool:
    """Whether a Spec takes files of this host along for its programs: libraries, packages, recipes."""
    recipes = (essential for essential in spec.essentials if essential.name not in ESSENTIALS)
    return spec.bundle_libraries or bool(spec.bundle_packages) or next(recipes, None) is not None


def home_of(source: str, root: HostRoot) -> Home | None:
    """Where a program of the system lies in `root`; None for a file that somebody made."""
    above, name = os.path.split(os.path.abspath(source))
    named = root.inside(os.path.join(above, "."))
    real = root.inside(source)
    if named is None or real is None:
        return None
    home = Home(named=posixpath.join(named, name), real=real)
    if not all(path.startswith(_SYSTEM) for path in (home.named, home.real)):
        return None
    try:
        return home if os.stat(source).st_uid in _OWNERS else None
    except OSError:
        return None


def at_home(file: File, others: Iterable[Entry], root: HostRoot) -> Placed:
    """Place a program of the system at its path of the host, unless something else of the image is there."""
    stays = Placed(file=file, started=file.path)
    home = home_of(file.source or "", root)
    if home is None:
        return stays
    present = {entry.path: entry for entry in others}
    moved = msgspec.structs.replace(file, path=home.real, source=root.on_host(home.real))
    link = None if home.named == home.real else Symlink(path=home.named, target=home.real)
    for entry in (moved, *((link,) if link else ())):
        if present.get(entry.path, entry) != entry or not all(
            _may_hold(present, path) for path in _above(entry.path)
        ):
            return stays
    return Placed(file=moved, started=home.named, link=link, alias=Symlink(path=file.path, target=home.named))


def with_aliases(entries: list[Entry], directories: Iterable[Directory], placed: Iterable[Placed]) -> list[Entry]:
    """Entries, and the links `/NAME` where nothing else has that path or lies below it."""
    aliases = [each.alias for each in placed if each.alias is not None]
    if not aliases:
        return entries
    taken = {path for entry in (*entries, *directories) for path in (entry.path, *_above(entry.path))}
    wanted = {alias.path: alias for alias in aliases if alias.path not in taken}
    return [*entries, *wanted.values()]


def displaced(programs: Mapping[str, ProgramFacts], root: HostRoot) -> Iterator[tuple[str, str]]:
    """Of programs that look for themselves those that do not lie at their path of the host: both paths."""
    for path, facts in programs.items():
        if facts.elf is not None and "its own file" in facts.elf.mentions:
            home = home_of(facts.path, root)
            if home is not None and path != home.real:
                yield path, home.real


def _may_hold(present: Mapping[str, Entry], path: str) -> bool:
    return isinstance(present.get(path), Directory | None)


def _above(path: str) -> tuple[str, ...]:
    parts = path.split("/")
    return tuple("/".join(parts[:count]) for count in range(2, len(parts)))
