"""What an option is, and the kinds of values that options take on the command line, in a file and in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless_scratch.data import Data
from rootless_scratch.errors import UsageError
from rootless_scratch.image.arguments import flag, pairs, text, texts
from rootless_scratch.image.syntax import parse_pair, parse_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Kind(Data):
    """What values an option takes.

    `value` reads one of Python or of a file, by the option's name. `words` makes such a value of what the command
    line gave, by the flag; None where that is one already. Both raise UsageError. `schema` is for files, in JSON
    Schema. With `many` the flag is repeated; `type` is what its word is for click, text by default.
    """

    value: Callable[[str, Any], Any]
    schema: Mapping[str, Any]
    words: Callable[[str, Any], Any] | None = None
    many: bool = False
    type: type | None = None

    def but(self, **changes: Any) -> Kind:  # noqa: ANN401 - as annotated
        """The same kind with these changes."""
        return Kind(**{**self.__dict__, **changes})


class Option(Data):
    """One option, for every surface; `usage` is what the help of the command line shows of it.

    Names follow from the flag, unless Python has it `called` another way, a file has another key, or it is
    `kept_as` something else. Without a flag it is an argument, without a metavar it is on or off.
    """

    usage: str
    kind: Kind
    help: str
    called: str = ""
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
    def name(self) -> str:
        """The keyword in Python."""
        return self.called or self.flags[-1][2:].replace("-", "_")

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
    return TEXTS.but(value=lambda name, words: tuple(parse(word) for word in texts(name, words, one=one)))


def parsed(parse: Callable[[str], Any]) -> Kind:
    """A word that has a syntax."""
    return TEXT.but(value=lambda name, word: parse(text(name, word)))


def fields_of(
    options: Mapping[str, Option], given: Mapping[str, object], bare: object, *, what: str
) -> dict[str, Any]:
    """The fields of `bare` that are set by values given by Python's names; raises UsageError.

    None is the same as nothing where `bare` has None.
    """
    fields = {}
    for name, value in given.items():
        if name not in options:
            raise UsageError(f"{what} has no option {name!r}.", fix=f"There are {', '.join(options)}.")
        option = options[name]
        if value is not None or getattr(bare, option.field) is not None:
            fields[option.field] = option.kind.value(name, value)
    return fields
