"""What a copied directory leaves out, by the rules of docker's and podman's .dockerignore.

Libraries for ignore files (pathspec) follow git, which differs: there a name without a slash counts at any depth,
and nothing comes back from below a directory that is left out. Here every pattern begins at the copied directory,
one that matches a directory matches all below it, and the last that matches counts (docs.docker.com, "dockerignore
file"; github.com/moby/patternmatcher).
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator

from rootless_scratch.data import Data
from rootless_scratch.elf.program import unreadable
from rootless_scratch.errors import SpecError, UsageError
from rootless_scratch.expressions import expression
from rootless_scratch.image.host_files import open_regular

_IN_NAME, _ANYTHING, _ABOVE = "[^/]*", ".*", "(?:.*/)?"
_REPEATED = (_IN_NAME, _ANYTHING)

_STARS = 2
"""With more of these `re` may take hours, for it tries each of them at each place."""

IGNORE_FILES = (".containerignore", ".dockerignore")
"""The first that a copied directory has is read."""

_SIZE_MAX = 1 << 20
_SPECIAL = expression(r"[*?\[\]\\]")
_ONE = r"(?:\\.|[^\\\]\-])"
_RANGE = expression(rf"({_ONE})(?:-({_ONE}))?", re.DOTALL)
_CLASS = expression(rf"\[(\^?)((?:{_ONE}(?:-{_ONE})?)+)\]", re.DOTALL)
_NOTHING = expression(r"(?!)")
_MANY_STARS = expression(r"(\\.)|\*+", re.DOTALL)
_TOKEN = expression(r"\*\*/?|\*|\?|\\.|\[|[^*?\\\[]+", re.DOTALL)


class _Pattern(Data):
    """One pattern; `back` is whether it takes back what others leave out.

    `levels` match the names on the way to what it matches, one by one; None where it may match at any depth.
    """

    matches: re.Pattern[str] | Steps
    back: bool
    levels: tuple[re.Pattern[str] | Steps, ...] | None


class Exclusions:
    """The patterns of one copied directory; what they say of a path depends on the directories above it.

    `met` gives the patterns that match a path or a directory above it, as bits: the last one counts.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns = [_pattern(source) for source in patterns]

    def met(self, path: str, above: int) -> int:
        """The patterns that match `path`, relative to the copied directory, with those that match `above` it."""
        for number, pattern in enumerate(self._patterns):
            if pattern.matches.fullmatch(path):
                above |= 1 << number
        return above

    def met_on_the_way(self, path: str) -> int:
        """The patterns that match a path, or a directory above it."""
        met = 0
        for end in (*(found.start() for found in re.finditer("/", path)), len(path)):
            met = self.met(path[:end], met) if path else met
        return met

    def excludes(self, met: int) -> bool:
        """Whether a path that these patterns match is left out."""
        return met != 0 and not self._patterns[met.bit_length() - 1].back

    def counts_before(self, met: int, count: int) -> bool:
        """Whether the pattern that counts is among the first so many."""
        return met.bit_length() <= count

    def may_return(self, directory: str, met: int) -> bool:
        """Whether a later pattern may take back something below a directory that is left out."""
        names = directory.split("/")
        return any(
            pattern.back and (pattern.levels is None or _leads_below(pattern.levels, names))
            for pattern in self._patterns[met.bit_length() :]
        )


def require_pattern(source: str) -> str:
    """A pattern as it stands in `--exclude`; raises UsageError where it is none."""
    _pattern(source)
    return source


def literal(path: str) -> str:
    """The pattern that matches this path alone."""
    escaped = _SPECIAL.sub(r"\\\g<0>", path)
    return "\\" + escaped if escaped.startswith("!") else escaped


def ignored_by(directory: str) -> tuple[str, tuple[str, ...]]:
    """The path of the ignore file of a directory, and its patterns; raises SourceError, SpecError."""
    for name in IGNORE_FILES:
        path = os.path.join(directory, name)
        patterns = read_patterns(path)
        if patterns is not None:
            return path, patterns
    return "", ()


def read_patterns(path: str) -> tuple[str, ...] | None:
    """The patterns of an ignore file; None where there is none. Raises SourceError, SpecError."""
    try:
        with open_regular(path) as file:
            content = file.read(_SIZE_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from error
    if len(content) > _SIZE_MAX:
        raise SpecError(
            f"{path!r} has more than {_SIZE_MAX} bytes, which no list of patterns has.",
            fix="Shorten it, or remove it and name the patterns by `--exclude`.",
        )
    return tuple(_lines(path, content))


def name_pattern(source: str) -> re.Pattern[str] | Steps:
    """What one name must match, as Go's filepath.Match reads it: `**` is `*` there. Raises UsageError."""
    return _expression(_MANY_STARS.sub(lambda found: found[1] or "*", source), source)


def _lines(path: str, content: bytes) -> Iterator[str]:
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith("#") or not line.strip():
            continue
        source = line.strip()
        source = "!" + source[1:].strip() if source.startswith("!") else source
        try:
            yield require_pattern(source)
        except UsageError as error:
            raise SpecError(f"{path!r}, line {number}: {error.message}", fix=error.fix) from error


def _pattern(source: str) -> _Pattern:
    back = source.startswith("!")
    text = source[1:] if back else source
    if back and not text:
        raise UsageError("`!` alone takes back nothing.", fix="Write the pattern behind it, e.g. `!keep.txt`.")
    if "\0" in text:
        raise UsageError(f"The pattern {source!r} contains a NUL byte.", fix="Remove the NUL byte.")
    text = posixpath.normpath(text).lstrip("/")
    if text in ("", "."):
        # The directory itself, which is what was asked for.
        return _Pattern(_NOTHING, back, ())
    # A class may match a slash too.
    deep = "**" in text or "[" in text
    levels = None if deep else tuple(_expression(each, source) for each in text.split("/"))
    return _Pattern(_expression(text, source), back, levels)


class Steps:
    """A pattern as `re` would match it, in time that grows with the text alone: it goes back nowhere.

    Each step is a part of a regular expression: one character, `_IN_NAME`, `_ANYTHING` or `_ABOVE`.
    """

    def __init__(self, steps: Iterable[str]) -> None:
        self._steps = tuple(re.compile(step, re.DOTALL) for step in steps)

    def fullmatch(self, text: str) -> bool:
        """Whether it matches all of the text."""
        begun = self._reached({0})
        # Within the directories that an _ABOVE may stand for.
        inside: set[int] = set()
        for character in text:
            after: set[int] = set()
            for number in begun:
                step = self._steps[number] if number < len(self._steps) else None
                if step is None:
                    continue
                if step.pattern == _ABOVE:
                    inside.add(number)
                elif step.pattern in _REPEATED:
                    after |= {number} if step.fullmatch(character) else set()
                elif step.fullmatch(character):
                    after.add(number + 1)
            if character == "/":
                after |= {number + 1 for number in inside}
            begun = self._reached(after)
        return len(self._steps) in begun

    def _reached(self, numbers: set[int]) -> set[int]:
        """The same, with those that are reached by steps that stand for nothing."""
        found: set[int] = set()
        for number in numbers:
            while number not in found:
                found.add(number)
                if number < len(self._steps) and self._steps[number].pattern in (*_REPEATED, _ABOVE):
                    number += 1  # noqa: PLW2901 - walked on
        return found


def _expression(text: str, source: str) -> re.Pattern[str] | Steps:
    """A pattern as Go's filepath.Match reads it, with `**` for any number of directories."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        found = _CLASS.match(text, at) if token is not None and token[0] == "[" else token
        if token is None or found is None:
            raise UsageError(
                f"{source!r} is not a pattern: its `{text[at]}` has no end.",
                fix="Write `\\[` for a `[` of a name, and `\\\\` for a `\\`.",
            )
        at = found.end()
        piece = found[0]
        if piece.startswith("["):
            parts.append(_characters(found))
        elif piece.startswith("**"):
            parts.append(_ANYTHING if at == len(text) else _ABOVE)
        elif piece in ("*", "?"):
            parts.append(_IN_NAME if piece == "*" else "[^/]")
        else:
            parts += map(re.escape, piece.removeprefix("\\"))
    if sum(part in (*_REPEATED, _ABOVE) for part in parts) > _STARS:
        return Steps(parts)
    return re.compile("".join(parts), re.DOTALL)


def _characters(found: re.Match[str]) -> str:
    """`[a-z]` or `[^a-z]` as a regular expression has it; a range that ends before it begins matches nothing."""
    items = []
    for item in _RANGE.finditer(found[2]):
        first = item[1][-1]
        last = item[2][-1] if item[2] else first
        if first <= last:
            items.append(f"{re.escape(first)}-{re.escape(last)}")
    if not items:
        return "." if found[1] else "(?!)"
    return f"[{found[1]}{''.join(items)}]"


def _leads_below(levels: tuple[re.Pattern[str] | Steps, ...], names: list[str]) -> bool:
    """Whether what a pattern matches may lie below a directory."""
    return len(levels) > len(names) and all(
        level.fullmatch(name) for level, name in zip(levels, names, strict=False)
    )
