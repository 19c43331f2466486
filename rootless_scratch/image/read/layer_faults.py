"""What containers/storage refuses of layers that are sound tars, as `podman load` of each has shown.

It keeps what a tar was by tar-split, as docker does, and that takes each path once, in the form of Go's
filepath.Clean: `hello` and `./hello` are one, `/hello` is another. The rest is refused where a file is made.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rootless_scratch.image.limits import Budget
    from rootless_scratch.image.read.tarread import Member

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_NAMELESS = ("", ".", "..")
_DIRECTORY, _SYMBOLIC = ord("5"), ord("2")


class Refused(str):
    """A fault that is none of the bytes: storage refuses what they say, and `save --repair` mends it."""

    __slots__ = ()


class LayerFacts(NamedTuple):
    """What one layer does to those below it, and `faults`, which it has by itself.

    `parents` are directories that it needs and does not name before it needs them, each with what it needs it for.
    """

    faults: tuple[str, ...]
    files: frozenset[str]
    directories: frozenset[str]
    hidden: frozenset[str]
    opaque: frozenset[str]
    parents: dict[str, str]


def read_entries(members: Iterable[Member], budget: Budget, *, are_counted: bool = False) -> LayerFacts:
    """Read all entries of a layer, without their content; raises TarFault, LimitError.

    With `are_counted` they were read before; the directories that they imply are counted all the same.
    """
    found = _Entries(budget, are_counted=are_counted)
    for member in members:
        found.add(member)
    return found.facts()


class _Entries:
    """The entries of a layer by now."""

    def __init__(self, budget: Budget, *, are_counted: bool) -> None:
        self._budget = budget
        self._are_counted = are_counted
        self._seen: set[str] = set()
        self._kinds: dict[str, int] = {}
        self._hidden: set[str] = set()
        self._opaque: set[str] = set()
        self._parents: dict[str, str] = {}
        self._twice, self._below, self._nameless, self._root = _Found(), _Found(), _Found(), _Found()

    def add(self, member: Member) -> None:
        """One more; raises LimitError."""
        if not self._are_counted:
            self._budget.add_entry(member.name)
            self._budget.check_path(member.link)
        cleaned = cleaned_path(member.name)
        if cleaned in self._seen:
            self._twice.add(member.name)
        self._seen.add(cleaned)
        path = os.path.normpath(f"/{member.name.lstrip('/')}")
        above, _, name = path.rpartition("/")
        if self._needs_file(above, member.name):
            self._below.add(member.name)
        if name.startswith(_WHITEOUT):
            self._hide(above, name, member.name)
        elif path != "/":
            self._kinds[path] = member.kind
            if member.kind != _DIRECTORY:
                self._parents.pop(path, None)
        elif member.kind != _DIRECTORY:
            self._root.add(member.name)

    def _hide(self, above: str, name: str, whiteout: str) -> None:
        hidden = name.removeprefix(_WHITEOUT)
        if name == _OPAQUE:
            self._opaque.add(above)
        elif hidden in _NAMELESS:
            self._nameless.add(whiteout)
        else:
            self._hidden.add(f"{above}/{hidden}")

    def _needs_file(self, directory: str, what: str) -> bool:
        """Note the directories that are needed for `what`; whether one of them is a file of this layer."""
        while directory and directory not in self._parents:
            kind = self._kinds.get(directory)
            if kind is not None:
                return kind not in (_DIRECTORY, _SYMBOLIC)
            self._budget.add_entry(directory)
            self._parents[directory] = what
            directory = directory.rpartition("/")[0]
        return False

    def facts(self) -> LayerFacts:
        """What they are, all in all."""
        kinds = self._kinds.items()
        return LayerFacts(
            faults=(
                *self._twice.sentence("has", "twice, which podman and docker refuse"),
                *self._below.sentence("has", "below a file of the same layer, which podman refuses"),
                *self._nameless.sentence("has the whiteout", "that names nothing, which podman refuses"),
                *self._root.sentence("has", "for the root directory and as a file, which podman refuses"),
            ),
            files=frozenset(path for path, kind in kinds if kind not in (_DIRECTORY, _SYMBOLIC)),
            directories=frozenset(path for path, kind in kinds if kind == _DIRECTORY),
            hidden=frozenset(self._hidden),
            opaque=frozenset(self._opaque),
            parents=self._parents,
        )


def dropped(members: Sequence[Member]) -> frozenset[int]:
    """The numbers of the entries without which a layer has no fault of its own: the last of each path stays."""
    last = {cleaned_path(member.name): number for number, member in enumerate(members)}
    gone: set[int] = set()
    files: dict[str, int] = {}
    for number, member in enumerate(members):
        path = os.path.normpath(f"/{member.name.lstrip('/')}")
        above, _, name = path.rpartition("/")
        is_root = path == "/" and member.kind != _DIRECTORY
        is_nameless = name.startswith(_WHITEOUT) and name.removeprefix(_WHITEOUT) in _NAMELESS
        if last[cleaned_path(member.name)] != number or is_root or is_nameless:
            gone.add(number)
            continue
        while above:
            if above in files:
                gone.add(files.pop(above))
            above = above.rpartition("/")[0]
        if member.kind not in (_DIRECTORY, _SYMBOLIC):
            files[path] = number
    return frozenset(gone)


def cleaned_path(name: str) -> str:
    """A path as Go's filepath.Clean leaves it; os.path.normpath keeps two slashes at the front."""
    cleaned = os.path.normpath(name)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


class _Found:
    """Entries that have one fault: the first, and how many there are."""

    def __init__(self) -> None:
        self._first = ""
        self._count = 0

    def add(self, name: str) -> None:
        """One more."""
        self._first = self._first or name
        self._count += 1

    def sentence(self, before: str, behind: str) -> Iterator[str]:
        """A sentence of them, where there are any."""
        more = f" (and {self._count - 1} more)" if self._count > 1 else ""
        if self._count:
            yield f"{before} {self._first!r}{more} {behind}"


class Strata:
    """The files of the layers of one image so far, as far as it matters for the next one.

    For each path the number of the layer that has it last is kept, so that nothing is searched for below it.
    """

    def __init__(self) -> None:
        self._number = 0
        self._files: dict[str, int] = {}
        self._gone: dict[str, int] = {}
        self._opaque: dict[str, int] = {}

    def add(self, layer: LayerFacts) -> Iterator[str]:
        """What is wrong with the next layer because of those below it."""
        self._number += 1
        self._gone |= dict.fromkeys(layer.hidden, self._number)
        self._gone |= dict.fromkeys(layer.directories & self._files.keys(), self._number)
        self._opaque |= dict.fromkeys(layer.opaque, self._number)
        found = _Found()
        for directory in self._under(layer):
            found.add(layer.parents[directory])
        yield from found.sentence(
            "has", "below a file of a layer under it, which podman refuses with the storage driver vfs"
        )
        self._files |= dict.fromkeys(layer.files, self._number)

    def needed(self, layer: LayerFacts) -> tuple[str, ...]:
        """The directories that the next layer must name to put them in the place of files, from the outside in."""
        following = self._number + 1
        self._gone |= dict.fromkeys(layer.hidden, following)
        self._opaque |= dict.fromkeys(layer.opaque, following)
        return tuple(sorted(self._under(layer)))

    def _under(self, layer: LayerFacts) -> Iterator[str]:
        for directory in layer.parents:
            if directory in self._files and self._is_there(directory):
                yield directory

    def _is_there(self, path: str) -> bool:
        put = self._files[path]
        if self._gone.get(path, 0) > put:
            return False
        while path:
            path = path.rpartition("/")[0]
            if max(self._gone.get(path, 0), self._opaque.get(path, 0), self._files.get(path, 0)) > put:
                return False
        return True
