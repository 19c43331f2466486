"""What an option is, and the kinds of values that options take on the command line, in a file and in Python.

A table is read for the help too, so what reads a value is named here and loaded at its first use.
"""

from __future__ import annotations

from rootless_scratch.data import Data, Value
from rootless_scratch.errors import UsageError

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, ClassVar, Self


def late(where: str) -> Callable[..., Any]:
    """The function `package.module:name` of ours, whose module is loaded when it is called."""

    def call(*values: Any) -> Any:  # noqa: ANN401 - as that function has them
        from importlib import import_module

        module, _, name = where.partition(":")
        return getattr(import_module(f"rootless_scratch.{module}"), name)(*values)

    return call


class Kind(Data):
    """What values an option takes.

    `value` reads one of Python or of a file, by the option's name. `from_flag` makes such a value of those of the
    command line, by the flag; None where that is one already. Both raise UsageError. `python` is that of Python,
    empty where that has no such option; `schema` is for files, in JSON Schema. With `many` the flag is repeated;
    `type` is what its value is for click, text by default. `default` holds where nothing is set.
    """

    value: Callable[[str, Any], Any]
    python: str
    schema: Mapping[str, Any]
    from_flag: Callable[[str, Any], Any] | None = None
    many: bool = False
    type: type | None = None
    default: Any = None


class Option(Data):
    """One option, for every surface; `usage` is what the help of the command line shows of it.

    Names follow from the flag, unless Python has it `called` another way or a file has another key. Without a flag
    it is an argument, without a metavar it is on or off. `group` is the heading of its help, `keywords` the class
    in keywords.py that declares it, where that is not its table's, `field` where a record keeps its value.
    """

    usage: str
    kind: Kind
    help: str
    called: str = ""
    in_file: str = ""
    group: str = ""
    keywords: str = ""
    field: str = ""

    @property
    def flags(self) -> list[str]:
        """The long one last."""
        return [part.rstrip(",") for part in self.usage.split() if part.startswith("-")]

    @property
    def metavar(self) -> str | None:
        """What stands for a value."""
        return next((part for part in self.usage.split() if not part.startswith("-")), None)

    @property
    def is_negative(self) -> bool:
        """Whether it turns off what Python has by its name."""
        return self.flags[-1] == f"--no-{self.name}"

    @property
    def name(self) -> str:
        """The keyword in Python."""
        return self.called or self.flags[-1][2:].replace("-", "_")

    @property
    def key(self) -> str:
        """What a file calls it."""
        return self.in_file or self.name.replace("_", "-")


class Table(Value):
    """A record of what options say: each field that an option sets is defined by the row of that option."""

    if TYPE_CHECKING:  # it is no field
        options: ClassVar[dict[str, Option]]
        """By their names in Python, in the order of the help."""

    def __init_subclass__(cls) -> None:
        """Take the rows; what is not set is as the kind has it."""
        super().__init_subclass__()
        cls.options = {}
        group = ""
        for field in cls.__annotations__:
            row = cls.__dict__.get(field)
            if isinstance(row, Option):
                group = row.group or group
                option = row.but(field=field, group=group)
                cls.options[option.name] = option
                setattr(cls, field, option.kind.default)

    def with_options(self, values: Mapping[str, object], what: str) -> Self:
        """The same with values set by Python's names; raises UsageError, which speaks of `what`."""
        found = read(self.options, values, what)
        return self.but(**{self.options[name].field: value for name, value in found.items()})


def read(options: Mapping[str, Option], values: Mapping[str, object], what: str) -> dict[str, Any]:
    """Read values by the names that Python has for the options; raises UsageError, which speaks of `what`.

    None is the same as nothing where that is the default.
    """
    for name in values:
        if name not in options:
            raise UsageError(f"{what} has no option {name!r}.", fix=f"There are {', '.join(options)}.")
    return {
        name: options[name].kind.value(name, value)
        for name, value in values.items()
        if value is not None or options[name].kind.default is not None
    }


def options_set(options: Iterable[Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """What the command line gave, as Python would; raises UsageError."""
    found: dict[str, Any] = {}
    for option in options:
        value = values.get(option.name)
        # Where a value is named, false and 0 count.
        if value is None or (value is False and option.metavar is None):
            continue
        if option.kind.from_flag is not None:
            value = option.kind.from_flag(option.flags[-1], value)
        if value is not None:
            found[option.name] = value
    return found


def option(usage: str, kind: Kind, says: str, **more: str) -> Any:  # noqa: ANN401 - as the field is annotated
    """The row of a field of a Table; `more` is as Option has it. The first row of a group names it."""
    return Option(usage, kind, says, **more)


_STRING = {"type": ["string", "integer"]}
"""A number stands for its digits."""

_STRINGS = {"type": "array", "items": _STRING}

FLAG = Kind(late("image.arguments:flag"), "bool", {"type": "boolean"}, default=False)
ON = FLAG.but(value=lambda _name, value: bool(value))
TEXT = Kind(late("image.arguments:text"), "str | None", _STRING)
FILE = TEXT.but(python="str | os.PathLike[str] | None")
INTEGER = TEXT.but(value=late("image.arguments:integer"), python="int", type=int)
COMMAND = Kind(
    late("image.arguments:texts"), "Sequence[str] | None", _STRINGS, late("image.syntax:parse_exec_form")
)
TEXTS = Kind(late("image.arguments:texts"), "Sequence[str]", _STRINGS, many=True, default=())
PAIRS = Kind(
    late("image.arguments:pairs"),
    "Mapping[str, str] | None",
    {"type": "object", "additionalProperties": _STRING},
    late("image.syntax:parse_pairs"),
    many=True,
    default=(),
)


def each(parse: str, *, one: str = "") -> Kind:
    """Several values, each of which has a syntax; an error calls it `one`."""

    def value(name: str, values: object) -> tuple[Any, ...]:
        from rootless_scratch.image.arguments import texts

        return tuple(map(late(parse), texts(name, values, one=one)))

    return TEXTS.but(value=value)


def parsed(parse: str) -> Kind:
    """A value that has a syntax."""
    return TEXT.but(value=lambda name, value: late(parse)(TEXT.value(name, value)))
