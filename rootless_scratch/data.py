"""Records of named fields for what is loaded before anything else: `typing` alone costs 8 ms, msgspec more."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_how: bool) -> Any:  # noqa: ANN401 - typing's own
        """What typing's does at run time: nothing."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Data:
    """What has the fields that its class annotates, in their order or by name; type checkers see to the rest."""

    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls, *, frozen: bool = True) -> None:
        """Type checkers let only those be changed that are not `frozen`."""
        cls._fields = (*cls._fields, *cls.__annotations__)

    def __init__(self, *values: Any, **fields: Any) -> None:  # noqa: ANN401 - as annotated
        self.__dict__.update(zip(self._fields, values, strict=False), **fields)

    def but(self, **changes: Any) -> Self:  # noqa: ANN401 - as annotated
        """The same with these changes."""
        return type(self)(**{**self.__dict__, **changes})


class Value(Data):
    """Data that is equal to what has equal fields."""

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name!r} stays.")

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({fields})"
