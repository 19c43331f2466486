"""The attributes `user.*` of a file of an image, as one digest: however many there are, they take no room."""

from __future__ import annotations

import hashlib

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterable

OF_USERS = "user."
_OF_STORAGE = ("user.overlay.", "user.containers.")
"""What storage drivers note at their files."""


def attributes_digest(pairs: Iterable[tuple[str, bytes]]) -> str | None:
    """The digest of those attributes of a file that are its own; None where it has none."""
    found = sorted(pair for pair in pairs if is_own(pair[0]))
    if not found:
        return None
    total = hashlib.sha256()
    for name, value in found:
        key = name.encode("utf-8", "surrogateescape")
        total.update(b"%d %d " % (len(key), len(value)) + key + value)
    return f"sha256:{total.hexdigest()}"


def is_own(name: str) -> bool:
    """Whether an attribute belongs to the file, and not to the host or its storage."""
    return name.startswith(OF_USERS) and not name.startswith(_OF_STORAGE)
