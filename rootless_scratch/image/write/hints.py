"""Whether a command is likely to build what it has built before: then nothing is begun before that is known.

A hint is all it is: the command's arguments and what stat(2) says of those that are files. Where it is wrong, the
worker is started a little later than it could have been.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_STDIN = ("-", "/dev/stdin", "/dev/fd/0")


def cache_directory(environ: Mapping[str, str]) -> str:
    """Where a user's caches lie: XDG Base Directory Specification; "" where that is not told."""
    base = environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):
        base = f"{environ.get('HOME', '')}/.cache"
    return base if base.startswith("/") else ""


def is_kept(hint: str | None) -> bool:
    """Whether what such a command builds was known when it was called last."""
    return hint is not None and os.path.exists(f"{cache_directory(os.environ)}/rootless-scratch/layers/{hint}")


def hint_of(arguments: Sequence[str]) -> str | None:
    """A name for these arguments with their files as they are now; None where something comes from stdin."""
    # hashlib loads OpenSSL, which takes 2 ms.
    from _blake2 import blake2b

    if any(each.partition(":")[0] in _STDIN for each in arguments):
        return None
    text = repr((os.getcwd(), arguments, [_numbers(each) for each in arguments]))
    return f"hint-{blake2b(text.encode(errors='surrogateescape'), digest_size=16).hexdigest()}"


def numbers_of(status: os.stat_result) -> tuple[int, ...]:
    """What a file is known by."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def numbers_at(path: str) -> tuple[int, ...]:
    """The same of what lies at a path; empty where nothing does, or it is no path."""
    try:
        return numbers_of(os.stat(path))
    except (OSError, ValueError):
        return ()


def _numbers(argument: str) -> tuple[int, ...]:
    return next(filter(None, map(numbers_at, _paths(argument))), ())


def _paths(argument: str) -> Iterator[str]:
    """What of an argument may be a path: `FILE`, `FILE:DEST`, `--option=FILE:DEST`."""
    for each in (argument, argument.partition("=")[2]):
        yield from (each, each.partition(":")[0])
