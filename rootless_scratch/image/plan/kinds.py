"""What an option is, and the kinds of values that options take on the command line, in a file and in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rootless_scratch.data import Data
from rootless_scratch.errors import UsageError
from rootless_scratch.image.plan.arguments import flag, pairs, text, texts
from rootless_scratch.image.syntax import parse_exec_form, parse_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Kind(Data):
    """What values an option takes.

    `value` reads one of Python or of a file, by the option's name. `from_flag` makes such a value of those of
    the command line, by the flag; None where that is one already. Both raise UsageError. `schema` is for files, in
    JSON Schema. With `many` the flag is repeated; `type` is what its value is for click, text by default.
    """

    value: Callable[[str, Any], Any]
    schema: Mapping[str, Any]
    from_flag: Callable[[str, Any], Any] | None = None
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
        return [part.rstrip(",") for part in self.usage.split() if part.startswith("-")]

    @property
    def metavar(self) -> str | None:
        """What stands for a value in the help."""
        return next((part for part in self.usage.split() if not part.startswith("-")), None)

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


_STRING = {"type": ["string", "integer"]}
"""A number stands for its digits."""

FLAG = Kind(flag, {"type": "boolean"})
TEXT = Kind(text, _STRING)
COMMAND = Kind(texts, {"type": "array", "items": _STRING}, parse_exec_form)
TEXTS = Kind(texts, {"type": "array", "items": _STRING}, many=True)
PAIRS = Kind(
    pairs,
    {"type": "object", "additionalProperties": _STRING},
    lambda flag, values: dict(parse_pair(flag, value) for value in values),
    many=True,
)


def each(parse: Callable[[str], Any], *, one: str = "") -> Kind:
    """Several values, each of which has a syntax; an error calls it `one`."""
    return TEXTS.but(value=lambda name, values: tuple(parse(value) for value in texts(name, values, one=one)))


def parsed(parse: Callable[[str], Any]) -> Kind:
    """A value that has a syntax."""
    return TEXT.but(value=lambda name, value: parse(text(name, value)))


def fields_of(
    options: Mapping[str, Option], values: Mapping[str, object], bare: object, *, what: str
) -> dict[str, Any]:
    """The fields of `bare` that are set by values given by Python's names; raises UsageError.

    None is the same as nothing where `bare` has None.
    """
    fields = {}
    for name, value in values.items():
        if name not in options:
            raise UsageError(f"{what} has no option {name!r}.", fix=f"There are {', '.join(options)}.")
        option = options[name]
        if value is not None or getattr(bare, option.field) is not None:
            fields[option.field] = option.kind.value(name, value)
    return fields
