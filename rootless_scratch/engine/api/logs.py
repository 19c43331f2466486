"""What services of ours say, by what is loaded before they are started."""

from __future__ import annotations

_KEPT = 16_384


def logged(path: str) -> str:
    """What a service, or the way to one, has written to its log; empty where that cannot be read."""
    try:
        with open(path, "rb") as log:
            return log.read(_KEPT).decode("utf-8", "replace")
    except OSError:
        return ""
