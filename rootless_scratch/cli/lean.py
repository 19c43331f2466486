"""click and msgspec, imported without what they have for others: a third of the time that every start took.

click imports `inspect` to dedent texts, `uuid` and `datetime` for types of values that no option of ours has, and
`gettext` for translations that it does not bring; with what these import in turn they take longer than click.
While it is imported they are stood in for, each only where nobody has imported it already. For msgspec
these are `uuid`, `decimal` and `textwrap`, and `datetime`, of which it takes what is written in C.
"""

from __future__ import annotations

import sys
from types import FunctionType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _StandIn(ModuleType):
    """Has what click uses of a module while it is imported or prints; whatever else is asked for comes from it."""

    def __init__(self, name: str, known: dict[str, object]) -> None:
        super().__init__(name)
        self.__dict__.update(known)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module has
        if name.startswith("__"):
            raise AttributeError(name)
        from importlib import import_module

        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


class _Unused:
    """In place of a type that values of no option and of no record have."""

    unknown = None


def _is_function(value: object) -> bool:
    return isinstance(value, FunctionType)


def dedented(text: str) -> str:
    """What inspect.cleandoc makes of a text."""
    first, *rest = text.expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip(" ")) for line in rest if line.strip(" ")), default=0)
    lines = [first.lstrip(" "), *(line[margin:] for line in rest)]
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        del lines[0]
    return "\n".join(lines)


def _same(text: str) -> str:
    return text


def _counted(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


_KNOWN: dict[str, dict[str, object]] = {
    "inspect": {"cleandoc": dedented, "isfunction": _is_function},
    "uuid": {"UUID": _Unused},
    "datetime": {"datetime": _Unused},
    "gettext": {"gettext": _same, "ngettext": _counted},
}

_OF_VALUES: dict[str, dict[str, object]] = {
    "uuid": {"UUID": _Unused, "SafeUUID": _Unused},
    "decimal": {"Decimal": _Unused},
    "msgspec.inspect": {},
    "textwrap": {},
}
"""Types that msgspec has forms for, and no record of ours; and what it makes a JSON Schema of, and with."""


def import_click() -> None:
    """Import click, if nobody has; afterwards the modules themselves are imported as ever."""
    if "click" in sys.modules:
        return
    # What these import is to be itself.
    import contextlib  # noqa: F401
    import threading  # noqa: F401
    import typing  # noqa: F401

    standing = _stand_in(_KNOWN)
    try:
        import click  # noqa: F401
    finally:
        _withdraw(standing)


def _stand_in(known: dict[str, dict[str, object]]) -> dict[str, ModuleType]:
    standing: dict[str, ModuleType] = {
        name: _StandIn(name, values) for name, values in known.items() if name not in sys.modules
    }
    sys.modules.update(standing)
    return standing


def _withdraw(standing: dict[str, ModuleType]) -> None:
    for name, module in standing.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]


def import_msgspec() -> None:
    """Import msgspec, if nobody has; it takes from `typing` what it would rather have from `typing_extensions`.

    These are the same since Python 3.11. Where others have installed them, they take as long as msgspec itself. In
    processes of ours nothing has a UUID or a Decimal, whose modules take a third of it.
    """
    extensions = "typing_extensions"
    if "msgspec" in sys.modules:
        return
    import _datetime  # type: ignore[import-not-found] # typeshed has none

    hidden = extensions not in sys.modules
    if hidden:
        sys.modules[extensions] = None  # type: ignore[assignment] # as the import system has it: there is none
    standing = _stand_in({**_OF_VALUES, "datetime": dict(vars(_datetime))})
    try:
        import msgspec  # noqa: F401
    finally:
        if hidden:
            del sys.modules[extensions]
        _withdraw(standing)
