"""Plain values that a caller of the Python surface gave, as the text that a Spec holds.

A type checker sees what is wrong with the others; whoever uses none is told by a sentence, and no string is
ever read letter by letter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from rootless_scratch.errors import UsageError

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from typing import TypeVar

    _T = TypeVar("_T")

_SHOWN = 60


def text(what: str, value: object) -> str:
    """A string or a path as text, a number by its digits; raises UsageError for anything else."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bytes):
        return os.fsdecode(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise UsageError(f"{what} is {_shown(value)}, which is not text.", fix=f"Give {what} as a string.")
    return value


def texts(what: str, values: object, *, one: str = "") -> tuple[str, ...]:
    """Several of what `text` reads; raises UsageError for a single one, and for what cannot be gone through."""
    if isinstance(values, (str, bytes, os.PathLike, int)):
        raise UsageError(
            f"{what} is {_shown(values)} and not a list of strings.", fix=f"Write it as {what}=[{values!r}]."
        )
    if isinstance(values, Mapping) or not isinstance(values, Iterable):
        raise UsageError(
            f"{what} is {_shown(values)} and not a list of strings.", fix=f'Write it as {what}=["..."].'
        )
    return tuple(text(one or f"an item of {what}", value) for value in values)


def pairs(what: str, values: object) -> tuple[tuple[str, str], ...]:
    """The pairs of a mapping; raises UsageError for anything else."""
    if values is None:
        return ()
    if not isinstance(values, Mapping):
        raise UsageError(
            f"{what} is {_shown(values)} and not a mapping.", fix=f'Write it as {what}={{"NAME": "value"}}.'
        )
    return tuple(
        (text(f"a name in {what}", name), text(f"{what}[{name!r}]", value)) for name, value in values.items()
    )


def integer(what: str, value: object) -> int:
    """A whole number; raises UsageError for anything else."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(
            f"{what} is {_shown(value)} and not a number.",
            fix=f"Write it as a number, e.g. {what}={'0o755' if what == 'mode' else 0}.",
        )
    return value


def names(_what: str, tag: object) -> tuple[str, ...]:
    """The names of an image, one or several; raises UsageError where no storage would take one."""
    from rootless_scratch.image.names import image_name

    tags = (tag,) if isinstance(tag, str) else texts("tag", tag)
    for name in tags:
        image_name(name)
    return tags


def outputs(what: str, references: object) -> tuple[str, ...]:
    """The references of `-o`, one or several; raises UsageError."""
    return (references,) if isinstance(references, str) else texts(what, references)


def image_id(image: object) -> str:
    """The ID of what `build` returned; raises UsageError for anything else that is no name either."""
    found = getattr(image, "image_id", None)
    if not isinstance(found, str):
        raise UsageError(
            f"{image!r} is neither the name of an image nor an image.", fix="Give a name, e.g. 'hello'."
        )
    return found


def limits(what: str, values: object) -> dict[str, int]:
    """Limits of what reading an image may cost, by name; raises UsageError."""
    from rootless_scratch.image.limits import parse_limits

    return parse_limits(f"{name}={value}" for name, value in pairs(what, values))


def maybe(read: Callable[[str, object], _T], what: str, value: object) -> _T | None:
    """What `read` makes of it; None stays None."""
    return None if value is None else read(what, value)


def flag(what: str, value: object) -> bool:
    """True or False; raises UsageError for what only counts as one of them."""
    if not isinstance(value, bool):
        raise UsageError(f"{what} is {_shown(value)}, neither True nor False.", fix=f"Write it as {what}=True.")
    return value


def _shown(value: object) -> str:
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
    return f"the {type(value).__name__} {shown}" if value is not None else "None"
