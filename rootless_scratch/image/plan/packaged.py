"""Files of installed packages as entries: what their lists name, where it really lies, without documentation."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from typing import TYPE_CHECKING, Final

from rootless_scratch.errors import SourceError, UsageError
from rootless_scratch.expressions import expression
from rootless_scratch.host.installed import databases, near
from rootless_scratch.host.packages import install_line
from rootless_scratch.image.plan.copies import brought_entries
from rootless_scratch.image.plan.entries import is_same
from rootless_scratch.image.rootfs import Directory, Symlink
from rootless_scratch.image.spec import Copy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.host.installed import Packages
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.rootfs import Entry

_NAME: Final = expression(r"[A-Za-z0-9][\w+.-]*(?::[\w-]+)?\Z", re.ASCII)

_LEFT_OUT: Final = expression(
    r"/usr/(?:local/)?share/(?:doc|doc-base|man|info|lintian|bug|reportbug|gtk-doc|help)(?:/|\Z)"
    r"|/usr/(?:local/)?share/locale/[^/]+/LC_MESSAGES(?:/|\Z)|/usr/(?:local/)?share/locale/[^/]+\Z"
)
"""What nobody reads in a container, unless a package has nothing else."""


def with_packages(
    entries: Sequence[Entry],
    own: Iterable[Entry],
    names: Iterable[str],
    root: HostRoot,
    files: HostFiles,
    *,
    exclude: Sequence[str] = (),
) -> tuple[list[Entry], tuple[tuple[str, str], ...]]:
    """Entries, completed by those of packages; and which of the user's `own` were in their place: option and path.

    Raises SourceError for a package that is not installed in `root`, and for a file that cannot be read.
    """
    mine_by_path = {entry.path: entry for entry in own}
    present = {entry.path for entry in entries}
    added: dict[str, Entry] = {}
    aliases: dict[str, Symlink] = {}
    covered: dict[tuple[str, str], None] = {}
    known = databases(root.on_host("/"))
    for name in dict.fromkeys(names):
        package = _Package(root, files, exclude)
        listed = _listed(name, known)
        directories = {above for path in listed for above in _above(path)}
        for path in listed:
            package.take(path, holds_files=path in directories)
        for entry in package.entries():
            mine = mine_by_path.get(entry.path)
            if entry.path not in present:
                added.setdefault(entry.path, entry)
            elif mine is not None and not isinstance(mine, Directory) and not is_same(mine, entry):
                covered[f"--bundle-package {name}", entry.path] = None
        aliases |= package.aliases
    links = {entry.path for entry in (*entries, *added.values()) if isinstance(entry, Symlink)}
    for path, link in aliases.items():
        if path not in present and path not in added and links.isdisjoint(_above(path)):
            added[path] = link
    return [*entries, *added.values()], tuple(covered)


def _listed(name: str, known: Sequence[Packages]) -> tuple[str, ...]:
    for database in known:
        found = database.files(name)
        if found is not None:
            return found
    if not known:
        raise SourceError(
            f"--bundle-package {name}: there is no database of dpkg, rpm or apk to look it up in.",
            fix="Bring its files by `--copy`, or name a system that has the package by `--sysroot DIR`.",
        )
    if not _NAME.match(name):
        raise UsageError(
            f"--bundle-package {name!r}: that is not the name of a package.",
            fix="Write NAME as the package manager lists it, or NAME:ARCHITECTURE.",
        )
    alike = near(name, tuple(each for database in known for each in database.names()))
    meant = f"Did you mean {', '.join(alike)}? " if alike else ""
    raise SourceError(
        f"--bundle-package {name}: no package of that name is installed.", fix=meant + install_line(name)
    )


class _Package:
    """Collects the entries of one package."""

    def __init__(self, root: HostRoot, files: HostFiles, exclude: Sequence[str]) -> None:
        self._root = root
        self._files = files
        self._exclude = exclude
        self._entries: dict[str, Entry] = {}
        self._documents: dict[str, Entry] = {}
        self._directories: set[str] = set()
        self.aliases: dict[str, Symlink] = {}
        """Links where the package has a path through a linked directory, such as /bin."""

    def take(self, path: str, *, holds_files: bool) -> None:
        """Add what lies at a listed path; what does not is passed over, as are devices, sockets and pipes.

        What `holds_files` is a directory for the package, also where this system has a link to one there: /bin.
        """
        real = self._root.followed(path)
        if real is None or posixpath.basename(path) in ("", "."):
            return
        host = self._root.on_host(real)
        try:
            mode = os.lstat(host).st_mode
        except OSError:
            return
        kept = self._documents if _LEFT_OUT.match(real) else self._entries
        if holds_files:
            return
        if stat.S_ISLNK(mode):
            kept[real] = Symlink(path=real, target=os.readlink(host))
        elif stat.S_ISREG(mode):
            found = brought_entries(Copy(source=host, destination=real), self._files, self._exclude)
            kept.update((each.path, each) for each in found)
            if not found:
                return
        elif stat.S_ISDIR(mode):
            if kept is self._entries:
                self._directories.add(real)
            return
        else:
            return
        if real != path and kept is self._entries:
            self.aliases[path] = Symlink(path=path, target=real)

    def entries(self) -> tuple[Entry, ...]:
        """All of them; directories are named where nothing lies in them."""
        found = self._entries or self._documents
        filled = {above for path in found for above in _above(path)}
        filled |= {above for path in self._directories for above in _above(path)}
        filled |= {above for path in self._documents for above in _above(path)}
        bare = self._directories - filled - found.keys()
        return (*found.values(), *(Directory(path=path, mode=0o755, uid=0, gid=0) for path in sorted(bare)))


def _above(path: str) -> tuple[str, ...]:
    """The directories above a path."""
    parts = path.split("/")
    return tuple("/".join(parts[:count]) for count in range(2, len(parts)))
