"""Regular expressions that are compiled when they are first used: one takes 0.1 ms, and a start meets sixty."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    import re
    from typing import Any, AnyStr


class _Late:
    """Has what a compiled one has, which it becomes when something of it is asked for."""

    def __init__(self, text: Any, flags: int) -> None:  # noqa: ANN401 - text or bytes
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it has
        if name.startswith("__"):
            raise AttributeError(name)
        import re

        # From then on it is found without this; re keeps what it has compiled.
        found = self.__dict__[name] = getattr(re.compile(self._text, self._flags), name)
        return found


def expression(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """As re.compile has it, for constants of modules; only its methods and attributes are there."""
    return _Late(text, flags)  # type: ignore[return-value] # see there
