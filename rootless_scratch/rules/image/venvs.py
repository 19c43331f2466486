"""Rules on virtual environments of Python: their interpreter needs the standard library that `home` leads to.

Where the image has none at all, the recipe of Python says so (rules/image/runtimes.py).
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

from rootless_scratch.expressions import expression
from rootless_scratch.findings import Finding
from rootless_scratch.image.rootfs import File
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rootless_scratch.rules.view import ImageView

_SETTING: Final = expression(r"^\s*([\w-]+)\s*=\s*(.*?)\s*$", re.MULTILINE)
_VERSION: Final = expression(r"(\d+)\.(\d+)")
_LANDMARK: Final = expression(r"/python\d+\.\d+/os\.pyc?\Z")
_PREFIXES: Final = ("/usr", "/usr/local")
"""Where a Python looks that finds nothing beside its own path."""


def judge_venvs(
    view: ImageView, started: Iterable[File], content: Callable[[File], bytes | None]
) -> Iterator[Finding]:
    """Judge whether a venv that is started finds the standard library, where the image has one."""
    for file in started:
        venv = posixpath.dirname(posixpath.dirname(file.path))
        settings = _settings(view, venv, content)
        home, version = settings.get("home", ""), _VERSION.match(settings.get("version", ""))
        version = version or _VERSION.match(settings.get("version_info", ""))
        cpython = settings.get("implementation", "CPython").lower() == "cpython"
        if not posixpath.basename(file.path).startswith("python") or not home.startswith("/") or not cpython:
            continue
        if version is None or "PYTHONHOME" in dict(view.config.env):
            continue
        yield from _judge_library(view, file, home, version)


def _judge_library(view: ImageView, file: File, home: str, version: re.Match[str]) -> Iterator[Finding]:
    name = f"python{version[1]}.{version[2]}"
    landmarks = [f"{name}/os.py", f"{name}/os.pyc", f"python{version[1]}{version[2]}.zip"]
    places = (f"{prefix}/lib/{mark}" for prefix in (*_upwards(home), *_PREFIXES) for mark in landmarks)
    if any(map(view.is_file, places)):
        return
    library = posixpath.join(posixpath.dirname(home), "lib", name)
    others = [posixpath.dirname(entry.path) for entry in view.rootfs if _LANDMARK.search(entry.path)]
    same = next((path for path in others if posixpath.basename(path) == name), None)
    if not others:
        return
    fix = f"Add it by `--copy {shown(library)}:{shown(library)}`, with `--bundle-libraries` for its modules."
    if same is not None:
        fix = f"Copy it to {shown(library)}, or add `--symlink {shown(same)}:{shown(library)}`."
    yield Finding(
        rule="venv-without-library",
        severity="error" if same is None else "warning",
        subject=file.path,
        message=f"{shown(file.path)} is the interpreter of a virtual environment whose home is {shown(home)}, and "
        f"the image has the standard library of Python at {shown(same or others[0])}, not at {shown(library)}.",
        fix=fix,
    )


def _settings(view: ImageView, venv: str, content: Callable[[File], bytes | None]) -> dict[str, str]:
    """What pyvenv.cfg says; nothing where there is none, or it is not known."""
    found = view.tree.resolve(f"{venv}/pyvenv.cfg")
    settings = content(found) if isinstance(found, File) else None
    text = (settings or b"").decode("utf-8", "replace")
    return {key.lower(): value for key, value in _SETTING.findall(text)}


def _upwards(directory: str) -> Iterator[str]:
    """A directory, and those above it, as Python looks for its library."""
    while directory not in ("", "/"):
        yield directory
        directory = posixpath.dirname(directory)
    yield ""
