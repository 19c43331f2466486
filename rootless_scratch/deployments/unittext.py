"""Unit files of systemd, and those of quadlet, which become units: systemd.syntax(7), systemd.service(5)."""

from __future__ import annotations

import re

from rootless_scratch.deployments.escapes import escaped

_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@+-]+\Z")
_MEANT = {"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$", "\n": "\\n", "\t": "\\t"}
"""What a command of a unit takes for something else in quotes."""

WAIT = 30
"""Seconds that systemd waits longer than podman does."""


def quoted(text: str) -> str:
    """One argument of a command."""
    return text if _PLAIN.match(text) else f'"{escaped(text, _MEANT)}"'


def command_line(*argv: str) -> str:
    """Arguments of a command."""
    return " ".join(map(quoted, argv))


def unquoted(text: str) -> str:
    """A value that is not split into words, and in which only specifiers and variables mean anything."""
    return text.replace("%", "%%").replace("$", "$$")


def described(text: str) -> str:
    """A value for Description=, where only specifiers mean anything; `text` is one line."""
    return text.replace("%", "%%")


def unit(**sections: list[tuple[str, str]]) -> str:
    """The sections of a unit, each of keys and values, of which those that are empty are left out."""
    texts = (
        "".join((f"[{name}]\n", *(f"{key}={value}\n" for key, value in lines)))
        for name, lines in sections.items()
        if lines
    )
    return "\n".join(texts)
