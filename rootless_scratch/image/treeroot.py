"""The tree of an image as the loader inside it sees it: the `Root` in which libraries are looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.elf.roots import Located
from rootless_scratch.image.rootfs import File

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.image.tree import Tree


class TreeRoot:
    """Entries of an image; `read` tells the facts of a file (None: not known), `content` all of its bytes."""

    def __init__(
        self,
        tree: Tree,
        *,
        read: Callable[[File], ElfFacts | None],
        content: Callable[[File], bytes | None] = lambda _: None,
    ) -> None:
        self._tree = tree
        self._read = read
        self._content = content
        self._known: dict[str, ElfFacts | None] = {}

    def locate(self, path: str) -> Located | None:
        """See `Root`."""
        entry = self._tree.resolve(path)
        return Located(real=entry.path) if isinstance(entry, File) else None

    def elf(self, real: str) -> ElfFacts | None:
        """See `Root`."""
        if real not in self._known:
            entry = self._tree.resolve(real)
            self._known[real] = self._read(entry) if isinstance(entry, File) else None
        return self._known[real]

    def content(self, path: str) -> bytes | None:
        """See `Root`."""
        entry = self._tree.resolve(path)
        return self._content(entry) if isinstance(entry, File) else None
