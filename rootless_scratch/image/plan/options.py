"""What the options of an image make of a Spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless_scratch.image.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Mapping


def spec_of(given: Mapping[str, object], base: Spec | None = None) -> Spec:
    """What these options, by their names in Python, make of `base`, an empty Spec unless given.

    Raises UsageError.
    """
    return (base or Spec()).but(**Spec.fields_of(given, "An image"))
