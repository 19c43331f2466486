"""From the files of an image, or a program's, to what they consist of.

A file belongs to the package of a distribution only where its bytes are those that came with it, and to a package
of a language only where they are those that its list of files names. What is left is listed by its hash.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.elf.contained import Contained, read_contained
from rootless_scratch.elf.identity import FileIdentity, identity_of
from rootless_scratch.elf.records import MAGIC
from rootless_scratch.errors import ElfError, SourceError, ToolMissingError
from rootless_scratch.host.installed import databases
from rootless_scratch.image.host_files import host_trouble, open_regular
from rootless_scratch.inventory.facts import JARS, Component, Composition, Fault, merged
from rootless_scratch.inventory.metadata import is_metadata
from rootless_scratch.inventory.packages import Distribution
from rootless_scratch.inventory.programs import components_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rootless_scratch.elf.roots import HostRoot
    from rootless_scratch.host.owners import Owned, PackageRecord

_BLOCK: Final = 1 << 20
_OLD: Final = ("md5", "sha1")


class ListedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A regular file of an image.

    `source` is where its bytes can be read now, None where that is not needed or they are `content`. `origin` is
    the file of the host that it is a copy of, None where this is not known. `sha256` is None until it is wanted.
    """

    path: str
    size: int
    source: str | None = None
    content: bytes | None = None
    origin: str | None = None
    sha256: str | None = None
    identity: FileIdentity | None = None


def is_read(path: str, head: bytes) -> bool:
    """Whether more of a file is read than its hash; `head` is how it begins."""
    return head.startswith(MAGIC) or is_metadata(path) or path.endswith(JARS)


def compose(root: Component, files: Iterable[ListedFile], system: HostRoot) -> Composition:
    """What these files consist of; `system` is the one whose packages may own them.

    Raises SourceError where a file can no longer be read or has changed, HostError.
    """
    return _Composing(files, system).composition(root)


class _Composing:
    def __init__(self, files: Iterable[ListedFile], system: HostRoot) -> None:
        self._files = {file.path: file for file in sorted(files, key=lambda file: os.fsencode(file.path))}
        self._system = system
        self._hashes: dict[object, str] = {}
        self._found: list[Component] = []
        self._faults: list[Fault] = []
        self._known: set[str] = set()
        self._changed: dict[str, PackageRecord] = {}

    def composition(self, root: Component) -> Composition:
        owned = self._owned()
        packages: dict[PackageRecord, list[str]] = {}
        for path, record in owned.items():
            packages.setdefault(record, []).append(path)
        self._found += Distribution(self._system).components(packages)
        self._known |= owned.keys()
        unnamed = tuple(self._programs(owned))
        others = [path for path in self._files if path not in owned]
        self._languages(others)
        self._archives(others)
        self._found += [self._unknown(path) for path in self._files if path not in self._known]
        components = merged(self._found)
        direct = tuple(each.key for each in components if not each.inner)
        return Composition(
            root=msgspec.structs.replace(root, depends=direct),
            components=components,
            faults=tuple(sorted(self._faults, key=lambda fault: (fault.path, fault.what))),
            unnamed=unnamed,
        )

    def _owned(self) -> dict[str, PackageRecord]:
        """The package of each file whose bytes are those that came with it."""
        places = {path: place for path, file in self._files.items() if (place := self._place(file)) is not None}
        found: dict[str, Owned] = {}
        for database in databases(self._system.on_host("/")):
            try:
                found = {**database.owned(set(places.values())), **found}
            except ToolMissingError as error:
                self._faults.append(Fault(path=self._system.on_host("/"), what=error.message.rstrip(".")))
        owned = {}
        for path, place in places.items():
            owner = found.get(place)
            if owner is None:
                continue
            if self._is_unchanged(self._files[path], place, owner):
                owned[path] = owner.package
            elif self._files[path].origin is not None:
                self._changed[path] = owner.package
        return owned

    def _place(self, file: ListedFile) -> str | None:
        """Where the file lies in the system, or where one of the same size does that it may be a copy of."""
        if file.origin is not None:
            return self._system.inside(file.origin)
        located = self._system.locate(file.path) if file.content is None else None
        if located is None:
            return None
        try:
            same = os.stat(self._system.on_host(located.real)).st_size == file.size
        except OSError:
            return None
        return located.real if same else None

    def _is_unchanged(self, file: ListedFile, place: str, owner: Owned) -> bool:
        digest = owner.digest
        if file.origin is not None:
            return digest is None or self._hash_of(file, digest[0]) == digest[1]
        kinds = ("sha256",) if digest is None else ("sha256", digest[0])
        try:
            hashes = _hashed(self._system.on_host(place), kinds, None)
        except (OSError, SourceError):
            return False
        return hashes["sha256"] == self._sha256(file) and (digest is None or hashes[digest[0]] == digest[1])

    def _programs(self, owned: dict[str, PackageRecord]) -> Iterator[str]:
        """Add what programs name; the Go programs of which nothing names any module."""
        for path, file in self._files.items():
            contained = self._contained(file)
            if contained is None:
                continue
            self._faults += [Fault(path=path, what=what) for what in contained.faults]
            names_itself = bool(contained.modules or contained.crates)
            found = list(components_of(path, self._sha256(file) if names_itself else "", contained))
            self._found += found
            if names_itself or contained.note is not None:
                self._known.add(path)
            record = owned.get(path)
            if contained.go is not None and not contained.modules and not (record and record.built_using):
                yield path

    def _contained(self, file: ListedFile) -> Contained | None:
        if file.source is None or file.size < len(MAGIC):
            return None
        with _opening(file.source):
            with open_regular(file.source) as opened:
                if opened.read(len(MAGIC)) != MAGIC:
                    return None
            with open_regular(file.source) as opened:
                try:
                    return read_contained(opened, name=repr(file.path))
                except ElfError as error:
                    what = error.message.partition("program: ")[2].rstrip(".")
                    self._faults.append(Fault(path=file.path, what=f"it cannot be read as an ELF file: {what}"))
                    return None

    def _languages(self, paths: Sequence[str]) -> None:
        if not any(map(is_metadata, paths)):
            return
        from rootless_scratch.inventory.distributions import distributed

        lying = self._files.keys()
        for each in distributed(paths, self._read):
            if each.fault is not None:
                self._faults.append(each.fault)
            if each.component is None:
                continue
            self._found.append(each.component)
            for path, digest in each.files.items():
                if path in lying and path not in self._known and digest in (None, self._sha256(self._files[path])):
                    self._known.add(path)
            if each.below is not None:
                self._known.update(_below(each.below, paths))

    def _archives(self, paths: Sequence[str]) -> None:
        for path in paths:
            file = self._files[path]
            if not path.endswith(JARS) or file.source is None:
                continue
            from rootless_scratch.inventory.jars import jar_components

            with _opening(file.source), open_regular(file.source) as opened:
                components, fault = jar_components(opened, path)
            self._found += components
            self._faults += [] if fault is None else [fault]
            if components:
                self._known.add(path)

    def _unknown(self, path: str) -> Component:
        file = self._files[path]
        before = self._changed.get(path)
        return Component(
            key=f"file:{path}",
            kind="file",
            name=path,
            found_by="its bytes alone" if file.content is None else "the build, which made it",
            hashes=(("sha256", self._sha256(file)),),
            paths=(path,),
            more=() if before is None else (("changed-since", f"{before.name} {before.version}"),),
        )

    def _read(self, path: str, limit: int) -> bytes | None:
        file = self._files.get(path)
        if file is None:
            return None
        if file.content is not None:
            return file.content[:limit]
        if file.source is None or file.size > limit:
            return None
        with _opening(file.source), open_regular(file.source) as opened:
            return opened.read(limit)

    def _sha256(self, file: ListedFile) -> str:
        return file.sha256 or self._hash_of(file, "sha256")

    def _hash_of(self, file: ListedFile, kind: str) -> str:
        if file.content is not None or file.source is None:
            return hashlib.new(kind, file.content or b"", usedforsecurity=kind not in _OLD).hexdigest()
        known = (kind, file.identity or file.source)
        if known not in self._hashes:
            with _opening(file.source):
                self._hashes[known] = _hashed(file.source, (kind,), file.identity)[kind]
        return self._hashes[known]


class _opening:  # noqa: N801 - reads as a function
    """Errors of reading a file of the host as ours."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise host_trouble(error, self._path) or SourceError(
                f"{self._path!r} can no longer be read: {error.strerror}.",
                fix="Do not change the file meanwhile.",
            ) from error


def _hashed(path: str, kinds: Sequence[str], identity: FileIdentity | None) -> dict[str, str]:
    """Digests of a file in one go; raises OSError, and SourceError where it is not the one of `identity`."""
    found = [hashlib.new(kind, usedforsecurity=kind not in _OLD) for kind in kinds]
    with open_regular(path) as file:
        while block := file.read(_BLOCK):
            for each in found:
                each.update(block)
        if identity is not None and identity_of(os.fstat(file.fileno())) != identity:
            raise SourceError(f"{path!r} changed while it was read.", fix="Wait until whatever writes it is done.")
    return {kind: each.hexdigest() for kind, each in zip(kinds, found, strict=True)}


def _below(directory: str, paths: Sequence[str]) -> Iterator[str]:
    """Those of the sorted paths that lie in a directory."""
    start = f"{directory}/"
    for path in paths[bisect_left(paths, os.fsencode(start), key=os.fsencode) :]:
        if not path.startswith(start):
            return
        yield path
