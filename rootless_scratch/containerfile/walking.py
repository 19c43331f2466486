"""What a source of COPY names in its origin: by a path or a pattern, without what an ignore file leaves out."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.data import Data
from rootless_scratch.expressions import expression
from rootless_scratch.image.exclusions import Exclusions, name_pattern
from rootless_scratch.image.paths import encoded
from rootless_scratch.image.rootfs import Directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.containerfile.origins import Attributes, Found, Origin

_META = expression(r"[*?\[\\]")
_DEEP = "**"
_RETURNED_MODE = 0o755


class _Branch(Data):
    """A directory under way: in the origin, and below the source. `ignored` and `excluded` are the patterns met.

    `above` are directories that are left out unless something below returns.
    """

    real: str
    below: str
    ignored: int
    excluded: int
    above: tuple[tuple[str, Found], ...] = ()


class Walk:
    """One instruction's way through an origin: `exclude` are the patterns of `--exclude`, relative to each source.

    Directories that are left out and hold something that is not get the mode 0755, as builders make them, unless
    `keeps_modes`.
    """

    def __init__(
        self, origin: Origin, exclude: Sequence[str], *, attributes: Attributes, keeps_modes: bool = False
    ) -> None:
        self._origin = origin
        self._attributes = attributes
        self._keeps_modes = keeps_modes
        self._ignore = Exclusions(origin.ignore.patterns if origin.ignore else ())
        self._exclude = Exclusions(exclude)
        self._has_patterns = bool(exclude) or bool(origin.ignore and origin.ignore.patterns)

    def matches(self, pattern: str, *, deep: bool = False) -> list[str]:
        """The paths that a path or a pattern names, in order, as they are named; raises UsageError.

        With `deep` the name `**` stands for any number of directories, else it is `*`.
        """
        if not is_pattern(pattern):
            return [pattern] if self._origin.follow(pattern) is not None else []
        paths = [""]
        names = pattern.split("/")[1:]
        for number, name in enumerate(names):
            if not is_pattern(name):
                paths = [f"{path}/{name}" for path in paths]
                continue
            if deep and name == _DEEP and number < len(names) - 1:
                return [path for each in paths for path in self._deep(each, "/".join(names[number:]))]
            matcher = name_pattern(name)
            paths = [f"{path}/{each}" for path in paths for each in self._names(path) if matcher.fullmatch(each)]
        if not is_pattern(names[-1]):
            return [path for path in paths if self._origin.follow(path) is not None]
        return paths

    def is_left_out(self, path: str, name: str) -> tuple[bool, bool]:
        """Whether a path that a source names is ignored, and whether it is excluded, with all below."""
        met = self._ignore.met_on_the_way(path[1:])
        ignored = bool(path) and self._ignore.excludes(met) and not self._ignore.may_return(path[1:], met)
        return ignored, self._exclude.excludes(self._exclude.met_on_the_way(name))

    def is_ignored(self, path: str) -> bool:
        """Whether the ignore file leaves out this very path."""
        return bool(path) and self._ignore.excludes(self._ignore.met_on_the_way(path[1:]))

    def contents(self, real: str, below: str = "") -> Iterator[tuple[str, Found]]:
        """All that a real directory holds, by paths behind `below`, directories first.

        At `below` it lies for the patterns of `--exclude`.
        """
        met_here = self._ignore.met_on_the_way(real[1:]), self._exclude.met_on_the_way(below)
        pending = [_Branch(real, below, *met_here)]
        returned: set[str] = set()
        while pending:
            branch = pending.pop()
            met: dict[str, tuple[int, int, bool]] = {}
            for found in self._listing(branch, met):
                path = f"{branch.below}/{found.name}" if branch.below else found.name
                ignored, excluded, out = met.get(found.name, (0, 0, False))
                if isinstance(found.entry, Directory):
                    above = (*branch.above, (path, self._returning(found))) if out else ()
                    step = f"{branch.real}/{found.name}"
                    pending.append(_Branch(step, path, ignored, excluded, above))
                if out:
                    continue
                for each, directory in branch.above:
                    if each not in returned:
                        returned.add(each)
                        yield each, directory
                yield path, found

    def _listing(self, branch: _Branch, met: dict[str, tuple[int, int, bool]]) -> list[Found]:
        """What is in a directory and not left out; `met` is filled by the patterns met."""
        if not self._has_patterns:
            return self._origin.listing(branch.real, None, self._attributes)

        def is_wanted(name: str, is_directory: bool) -> bool:
            real = f"{branch.real}/{name}"[1:]
            below = f"{branch.below}/{name}" if branch.below else name
            ignored = self._ignore.met(real, branch.ignored)
            excluded = self._exclude.met(below, branch.excluded)
            is_out = self._ignore.excludes(ignored), self._exclude.excludes(excluded)
            met[name] = ignored, excluded, any(is_out)
            return not any(is_out) or (
                is_directory
                and (not is_out[0] or self._ignore.may_return(real, ignored))
                and (not is_out[1] or self._exclude.may_return(below, excluded))
            )

        return self._origin.listing(branch.real, is_wanted, self._attributes)

    def _returning(self, found: Found) -> Found:
        """A directory that is left out itself, as it is made for what it holds."""
        entry = found.entry
        if self._keeps_modes or not isinstance(entry, Directory):
            return found
        made = Directory(path=entry.path, mode=_RETURNED_MODE, uid=0, gid=0)
        return msgspec.structs.replace(found, entry=made, mtime=None)

    def _names(self, path: str) -> list[str]:
        """The names that a directory holds, if it is one and is not left out as a whole."""
        real = self._origin.follow(path)
        if real is None or not self._origin.is_directory(real) or self.is_left_out(real, "")[0]:
            return []
        names: list[str] = []

        def note(name: str, _is_directory: bool) -> bool:
            names.append(name)
            return False

        self._origin.listing(real, note)
        return sorted(names, key=encoded)

    def _deep(self, base: str, pattern: str) -> Iterator[str]:
        """What a pattern with `**` names below a directory; where it names a directory, nothing below."""
        chosen = Exclusions((_DEEP, f"!{pattern}"))
        pending = [("", chosen.met("x", 0) & 1)]
        while pending:
            below, above = pending.pop()
            found = []
            for name in self._names(base + below):
                path = f"{below}/{name}"
                met = chosen.met(path[1:], above)
                if not chosen.excludes(met):
                    yield base + path
                elif self._origin.follow(base + path) == base + path and self._origin.is_directory(base + path):
                    found.append((path, met))
            pending += reversed(found)


def is_pattern(source: str) -> bool:
    """Whether a path has characters that match others."""
    return _META.search(source) is not None


def clean(source: str) -> str:
    """The path that a source names in its origin, which it never leaves; "" is all of it."""
    return posixpath.normpath(f"/{source.lstrip('/')}").rstrip("/")
