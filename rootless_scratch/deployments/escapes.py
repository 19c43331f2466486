"""Characters that a text in quotes cannot have as they are: systemd and YAML write them alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_BYTE, _BASIC = 0x80, 0x10000


def escaped(text: str, short: Mapping[str, str]) -> str:
    """The text between quotes; `short` has what is written in a way of its own."""
    return "".join(short.get(char) or _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if char.isprintable():
        return char
    if code < _BYTE:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < _BASIC else f"\\U{code:08x}"
