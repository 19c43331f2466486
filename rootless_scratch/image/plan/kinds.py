"""What an option is, and the kinds of values that options take on the command line, in a file and in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rootless_scratch.image.plan.arguments import flag, pairs, text, texts
from rootless_scratch.image.syntax import parse_pair, parse_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Kind(NamedTuple):
    """What values an option takes.

    `value` reads one of Python or of a file, by the option's name. `words` makes such a value of what the command
    line gave, by the flag; None where that is one already. Both raise UsageError. `schema` is for files, in JSON
    Schema. With `many` the flag is repeated.
    """

    value: Callable[[str, Any], Any]
    schema: Mapping[str, Any]
    words: Callable[[str, Any], Any] | None = None
    many: bool = False


class Option(NamedTuple):
    """One option, for every surface: `name` is Python's, `usage` what the help of the command line shows.

    `in_file` and `kept_as` say what does not follow from the name. Without a flag it is an argument, without a
    metavar it is on or off.
    """

    name: str
    usage: str
    kind: Kind
    help: str
    in_file: str = ""
    kept_as: str = ""

    @property
    def flags(self) -> list[str]:
        """The long one last."""
        return [word.rstrip(",") for word in self.usage.split() if word.startswith("-")]

    @property
    def metavar(self) -> str | None:
        """The word that stands for a value."""
        return next((word for word in self.usage.split() if not word.startswith("-")), None)

    @property
    def key(self) -> str:
        """What a file calls it."""
        return self.in_file or self.name.replace("_", "-")

    @property
    def field(self) -> str:
        """Where its value is kept."""
        return self.kept_as or self.name


_WORD = {"type": ["string", "integer"]}
"""A number stands for its digits."""

FLAG = Kind(flag, {"type": "boolean"})
TEXT = Kind(text, _WORD)
COMMAND = Kind(texts, {"type": "array", "items": _WORD}, parse_words)
TEXTS = Kind(texts, {"type": "array", "items": _WORD}, many=True)
PAIRS = Kind(
    pairs,
    {"type": "object", "additionalProperties": _WORD},
    lambda flag, words: dict(parse_pair(flag, word) for word in words),
    many=True,
)


def each(parse: Callable[[str], Any], *, one: str = "") -> Kind:
    """Several words, each of which has a syntax; an error calls it `one`."""
    return TEXTS._replace(value=lambda name, words: tuple(parse(word) for word in texts(name, words, one=one)))
