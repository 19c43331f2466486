"""Unit files read as systemd.syntax(7) and systemd.service(5) have it, by a reader that is not ours."""

from __future__ import annotations

import re

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_DIGITS = {"x": 2, "u": 4, "U": 8}


def sections(text: str) -> dict[str, list[tuple[str, str]]]:
    """The keys of each section with their values, in their order; a backslash at its end continues a line."""
    found: dict[str, list[tuple[str, str]]] = {}
    here: list[tuple[str, str]] = []
    whole = ""
    for line in text.split("\n"):
        if not whole and (not line.strip() or line.lstrip()[0] in "#;"):
            continue
        whole += line
        if whole.endswith("\\"):
            whole = whole[:-1] + " "
            continue
        if whole.startswith("["):
            here = found.setdefault(whole.strip("[]"), [])
        else:
            key, equals, value = whole.partition("=")
            assert equals, f"no key: {whole!r}"
            here.append((key, value.strip()))
        whole = ""
    return found


def arguments(value: str, specifiers: dict[str, str] | None = None) -> list[str]:
    """The arguments of a command; `specifiers` are those that it may have. No variable may be in it."""
    found: list[str] = []
    rest = value.lstrip()
    while rest:
        assert not re.match(r";(\s|$)", rest), f"a second command: {rest!r}"
        text, rest = _argument(rest)
        found.append(_expanded(text, specifiers or {}))
        rest = rest.lstrip()
    return found


def _argument(rest: str) -> tuple[str, str]:
    quote, text, at = "", "", 0
    while at < len(rest):
        char = rest[at]
        if char == "\\":
            piece, at = _unescaped(rest, at + 1)
            text += piece
            continue
        if char == quote:
            quote = ""
        elif not quote and char in "\"'":
            quote = char
        elif not quote and char.isspace():
            break
        else:
            text += char
        at += 1
    assert not quote, f"a quote is not closed: {rest!r}"
    return text, rest[at:]


def _unescaped(rest: str, at: int) -> tuple[str, int]:
    char = rest[at]
    if char in _DIGITS:
        end = at + 1 + _DIGITS[char]
        return chr(int(rest[at + 1 : end], 16)), end
    return _ESCAPES.get(char, char), at + 1


def _expanded(text: str, specifiers: dict[str, str]) -> str:
    def replaced(match: re.Match[str]) -> str:
        char = match[0]
        if char in ("%%", "$$"):
            return char[0]
        assert char in specifiers, f"{char!r} in {text!r} means something"
        return specifiers[char]

    return re.sub(r"%.?|\$\$|\$", replaced, text)
