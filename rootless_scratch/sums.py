"""SHA-256 without OpenSSL where there is little to sum: that is six times as fast, and takes 2 ms to be loaded."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing costs 8 ms, and a build's worker loads this
if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash as Sum
    from io import BufferedReader

_MUCH = 1 << 19
"""Bytes from which on OpenSSL is faster with its loading: 0.75 MB take 0.4 ms with it, 2.3 ms without."""


def sha256(content: bytes = b"", *, size: int = 0) -> Sum:
    """A sum that begins with these bytes; `size` is how many there will be in all, as far as that is known."""
    if max(len(content), size) < _MUCH and "hashlib" not in sys.modules:
        own = _of_python()
        if own is not None:
            return own(content)
    import hashlib

    return hashlib.sha256(content)


def digest(content: bytes) -> str:
    """The sum in hexadecimal."""
    return sha256(content).hexdigest()


def file_digest(file: BufferedReader) -> str:
    """The sum of a file from where it stands, in hexadecimal; raises OSError."""
    if os.fstat(file.fileno()).st_size < _MUCH:
        # It may have grown since.
        return digest(file.read())
    import hashlib

    return hashlib.file_digest(file, "sha256").hexdigest()


def _of_python() -> Callable[[bytes], Sum] | None:
    try:
        if sys.version_info >= (3, 12):
            from _sha2 import sha256 as own  # type: ignore[import-not-found]
        else:
            from _sha256 import sha256 as own  # type: ignore[import-not-found]
    except ImportError:
        # A Python that was built without it.
        return None
    found: Callable[[bytes], Sum] = own
    return found
