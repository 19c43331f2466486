"""Which ignore file of a build counts, and what it leaves out of its context."""

from __future__ import annotations

import os

from rootless_scratch.data import Value
from rootless_scratch.image.exclusions import IGNORE_FILES, read_patterns


class IgnoreFile(Value):
    """The patterns of one ignore file, and its `path`."""

    path: str
    patterns: tuple[str, ...]


def ignore_file_of(containerfile: str | None, context: str, *, compat: str = "ours") -> IgnoreFile | None:
    """The ignore file that counts for a build; None where there is none. Raises SourceError, SpecError.

    The one beside the Containerfile that has its name comes first, and only one is read. As for buildah
    `.containerignore` comes before `.dockerignore` in the context, and `.dockerignore` before `.containerignore`
    behind a name; docker knows no `.containerignore`.
    """
    if containerfile is not None:
        for ending in (".dockerignore",) if compat == "docker" else (".dockerignore", ".containerignore"):
            patterns = read_patterns(containerfile + ending)
            if patterns is not None:
                return IgnoreFile(path=containerfile + ending, patterns=patterns)
    for name in (".dockerignore",) if compat == "docker" else IGNORE_FILES:
        path = os.path.join(context, name)
        patterns = read_patterns(path)
        if patterns is not None:
            return IgnoreFile(path=path, patterns=patterns)
    return None
