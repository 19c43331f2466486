"""A directory with what the images of a `scratch.toml` are made of, for tests of several images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tinyelf

if TYPE_CHECKING:
    from pathlib import Path


def make_shop(directory: Path, file: str) -> Path:
    """A program `server`, a `page.html`, an empty directory `out`, and this scratch.toml."""
    tinyelf.write(directory / "server")
    (directory / "page.html").write_text("x")
    (directory / "out").mkdir()
    (directory / "scratch.toml").write_text(file)
    return directory
