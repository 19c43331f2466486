"""What the tests of plans share: a file on the host, the entries of an image, and how a request is refused."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

import pytest

from rootless_scratch.elf.roots import Located
from rootless_scratch.errors import ScratchError, SpecError
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, NewDirectory, NewSymlink, Spec
from rootless_scratch.image.syntax import parse_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rootless_scratch.image.rootfs import Entry


def put(directory: Path, name: str, content: bytes = b"x") -> str:
    file = directory / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return str(file)


def planned(
    *programs: str,
    copies: tuple[Copy, ...] = (),
    mkdir: tuple[NewDirectory, ...] = (),
    links: tuple[NewSymlink, ...] = (),
) -> dict[str, Entry]:
    """The entries of the image by path."""
    spec = Spec(
        programs=tuple(parse_program(word) for word in programs),
        copies=copies,
        directories=mkdir,
        symlinks=links,
    )
    return {entry.path: entry for entry in plan(spec, environ={}).rootfs}


def refusal(call: Callable[[], object], kind: type[ScratchError] = SpecError) -> ScratchError:
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.kind == kind.kind
    for sentence in (caught.value.message, caught.value.fix):
        assert sentence
        assert sentence.isprintable()
    return caught.value


class Present:
    """A root that has files at these paths, and of which no more is known."""

    def __init__(self, *paths: str) -> None:
        self._paths = paths

    def locate(self, path: str) -> Located | None:
        normal = posixpath.normpath(path)
        return Located(real=normal) if normal in self._paths else None

    def elf(self, real: str) -> None:
        assert real in self._paths

    def content(self, path: str) -> None:
        assert path.startswith("/")
