"""Patterns of `${V#p}`, `${V%p}` and `${V/p/r}`: `*` is any text, `?` any character, a backslash escapes both."""

from __future__ import annotations

import re

Segment = tuple[str | None, ...]
"""Characters that follow each other; None is any."""

WORK = 1_000_000
"""The product of the lengths of a value and of a segment with `?` that is still searched for."""


class PatternError(Exception):
    """What is wrong with a pattern: one sentence of cause and one of fix."""

    def __init__(self, message: str, fix: str) -> None:
        self.message = message
        self.fix = fix
        super().__init__(message)


def without_prefix(value: str, pattern: str, *, greedy: bool) -> str:
    """The value without the shortest, or the longest, beginning that matches."""
    return value[_prefix(value, _segments(pattern), greedy=greedy) :]


def without_suffix(value: str, pattern: str, *, greedy: bool) -> str:
    """The value without the shortest, or the longest, end that matches."""
    backwards = [segment[::-1] for segment in reversed(_segments(pattern))]
    return value[: len(value) - _prefix(value[::-1], backwards, greedy=greedy)]


def replaced(value: str, pattern: str, *, replacement: str, every: bool, limit: int) -> str:
    """The value with its first match, or every match, replaced; each is as long as it can be."""
    segments = _segments(pattern)
    pieces: list[str] = []
    size = at = begin = 0
    while at <= len(value) and (found := _search(value, segments, at)):
        start, end = found
        if not (start == end == begin and begin):
            pieces += value[begin:start], replacement
            size += start - begin + len(replacement)
            begin = end
        at = end if end > start else end + 1
        if not every:
            break
        if size > limit:
            raise PatternError("The text with its replacements is too long.", "Shorten the values.")
    return "".join((*pieces, value[begin:]))


def _segments(pattern: str) -> list[Segment]:
    segments: list[list[str | None]] = [[]]
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            segments.append([])
        elif character == "\\":
            following = pattern[at : at + 1]
            if not following or following not in "*?\\/}":
                raise PatternError(
                    f"A pattern cannot escape `{following}`.", "Escape only `*`, `?`, `/`, `}` and the backslash."
                )
            segments[-1].append(following)
            at += 1
        else:
            segments[-1].append(None if character == "?" else character)
    return [tuple(segment) for segment in segments]


def _prefix(value: str, segments: list[Segment], *, greedy: bool) -> int:
    """How long the beginning is that matches, 0 where none does."""
    first = segments[0]
    if not _stands(value, first, 0):
        return 0
    return _rest(value, segments, len(first), greedy=greedy) or 0


def _search(value: str, segments: list[Segment], start: int) -> tuple[int, int] | None:
    """The first match; where the earliest begin leaves no room for the rest, no later one does."""
    begin = _find(value, segments[0], start)
    if begin is None:
        return None
    end = _rest(value, segments, begin + len(segments[0]), greedy=True)
    return None if end is None else (begin, end)


def _rest(value: str, segments: list[Segment], at: int, *, greedy: bool) -> int | None:
    """Where the match ends, its first segment being found: each other one is taken as early as it can be."""
    for segment in segments[1:-1]:
        found = _find(value, segment, at)
        if found is None:
            return None
        at = found + len(segment)
    if len(segments) == 1:
        return at
    found = (_find_last if greedy else _find)(value, segments[-1], at)
    return None if found is None else found + len(segments[-1])


def _stands(value: str, segment: Segment, at: int) -> bool:
    part = value[at : at + len(segment)]
    return len(part) == len(segment) and all(
        wanted in (None, found) for wanted, found in zip(segment, part, strict=True)
    )


def _find(value: str, segment: Segment, at: int) -> int | None:
    if None not in segment:
        found = value.find("".join(map(str, segment)), at)
        return None if found < 0 else found
    match = _compiled(value, segment).search(value, at)
    return match.start() if match else None


def _find_last(value: str, segment: Segment, at: int) -> int | None:
    if None not in segment:
        found = value.rfind("".join(map(str, segment)), at)
        return None if found < 0 else found
    last = None
    for match in _compiled(value, segment).finditer(value, at):
        last = match.start()
    return last


def _compiled(value: str, segment: Segment) -> re.Pattern[str]:
    if len(value) * len(segment) > WORK:
        raise PatternError("The value is too long to search it for a pattern with `?`.", "Shorten the value.")
    return re.compile(
        "(?=" + "".join("." if each is None else re.escape(each) for each in segment) + ")", re.DOTALL
    )
