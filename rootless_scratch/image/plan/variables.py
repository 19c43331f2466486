"""`${NAME}` in the strings of a file: a value of the command line, the environment or the file's own table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from rootless_scratch.errors import SpecError
from rootless_scratch.expressions import expression

NAME = "^[A-Za-z_][A-Za-z0-9_]*$"
"""In JSON Schema, and so for Python too."""

_DEPTH_MAX = 32
_LENGTH_MAX = 1 << 24
"""Characters that all references of a file may bring: each may stand for others, and twice for each."""

_REFERENCE = expression(r"\$(?P<literal>\$)?\{(?P<name>[^${}]*)\}")


def references(text: str) -> Iterator[str]:
    """The names that a text refers to."""
    return (found["name"] for found in _REFERENCE.finditer(text) if not found["literal"])


def literal(text: str) -> str:
    """The text so that a file which has it means it as it is."""
    return re.sub(r"\$(?=\{[^${}]*\})", "$$", text)


class Variables:
    """What names stand for: `values` first, then `environ`, then what the file has `declared`.

    Only values of the file refer to others.
    """

    def __init__(
        self, declared: Mapping[str, object], *, values: Mapping[str, str], environ: Mapping[str, str]
    ) -> None:
        self._declared = {name: str(value) for name, value in declared.items()}
        self._fixed = values
        self._environ = environ
        self._known: dict[str, str] = {}
        self._left = _LENGTH_MAX

    def expanded(self, text: str, local: Mapping[str, str] | None = None) -> str:
        """The text with each reference replaced, and `$${` as `${`; `local` names come first. Raises SpecError."""
        return self._expanded(text, (), local or {})

    def _expanded(self, text: str, within: tuple[str, ...], local: Mapping[str, str]) -> str:
        return _REFERENCE.sub(
            lambda found: found.group()[1:] if found["literal"] else self._counted(found["name"], within, local),
            text,
        )

    def _counted(self, name: str, within: tuple[str, ...], local: Mapping[str, str]) -> str:
        value = local[name] if name in local else self._value(name, within)
        self._left -= len(value)
        if self._left < 0:
            raise SpecError(
                f"The variables make more than {_LENGTH_MAX} characters of the file.",
                fix="Look for variables that hold others several times.",
            )
        return value

    def _value(self, name: str, within: tuple[str, ...]) -> str:
        if not re.fullmatch(NAME, name):
            raise SpecError(
                f"{f'${{{name}}}'!r} does not name a variable.",
                fix="Write `$${` for these characters themselves; names have letters, digits and `_`.",
            )
        for values in (self._fixed, self._environ, self._known):
            if name in values:
                return values[name]
        if name not in self._declared:
            raise self._unknown(name)
        if name in within or len(within) == _DEPTH_MAX:
            circle = " -> ".join((*within[within.index(name) if name in within else 0 :], name))
            trouble = "refers to itself" if name in within else f"is behind {_DEPTH_MAX} others"
            raise SpecError(
                f"The variable {name!r} {trouble}: {circle}.", fix="Write the value of one of them out."
            )
        self._known[name] = self._expanded(self._declared[name], (*within, name), {})
        return self._known[name]

    def _unknown(self, name: str) -> SpecError:
        from difflib import get_close_matches

        near = get_close_matches(name, self._declared, n=1)
        way = f"Did you mean {near[0]!r}? If not, add" if near else "Add"
        return SpecError(
            f"There is no variable {name!r}.",
            fix=f"{way} it to [variables], set it in the environment, or pass `--set {name}=VALUE`; "
            f"for the characters themselves write `$${{{name}}}`.",
        )
