"""A context to copy from, and what a Containerfile comes to with it: in this process, without any tool."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING, Any

import tinyelf

import rootless_scratch as rs

if TYPE_CHECKING:
    from pathlib import Path

ANY: dict[str, Any] = {"check": False}
"""For images that are not to start."""


def make_context(top: Path) -> Path:
    """A program, a file, and a directory with a file."""
    top.mkdir()
    tinyelf.write(top / "hello")
    (top / "f").write_text("f")
    (top / "d").mkdir()
    (top / "d/g").write_text("g")
    return top


def made(context: Path, text: str, **options: Any) -> tuple[dict[str, Any], dict[str, tarfile.TarInfo]]:  # noqa: ANN401
    """The config of the image, and its files."""
    layout = context.parent / "layout"
    file = context.parent / "Containerfile"
    file.write_text(text)
    image = rs.build_file(file, context, output=f"oci:{layout}", **options)
    blobs = layout / "blobs/sha256"
    config: dict[str, Any] = json.loads((blobs / image.image_id).read_bytes())
    with tarfile.open(blobs / image.layers[0].digest.removeprefix("sha256:")) as layer:
        return config, {f"/{member.name}": member for member in layer}
