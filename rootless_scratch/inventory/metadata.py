"""Which files are metadata of packages of a language, by their names."""

from __future__ import annotations

from typing import Final

PYTHON: Final = (".dist-info/METADATA", ".egg-info/PKG-INFO")


def is_metadata(path: str) -> bool:
    """Whether a file is read here: metadata, or the list of files beside it."""
    return (
        path.endswith((*PYTHON, ".dist-info/RECORD"))
        or npm_directory(path) is not None
        or (path.endswith(".gemspec") and "/specifications/" in path)
    )


def npm_directory(path: str) -> str | None:
    """The directory of a package of npm, or of the program that is not below node_modules; else None."""
    directory, _, name = path.rpartition("/")
    if name != "package.json":
        return None
    if "/node_modules/" not in path:
        return directory
    last = directory.rpartition("/node_modules/")[2]
    return directory if last.count("/") == int(last.startswith("@")) else None
