"""Entries that a layer has below a symbolic link: they are where the link leads, as storage unpacks them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import hostile_layouts
import pytest
import tars

import rootless_scratch as rs
from rootless_scratch.backends.open_image import read_any
from rootless_scratch.errors import ScratchError

if TYPE_CHECKING:
    from pathlib import Path


def layout(path: Path, *layers: bytes) -> str:
    made = hostile_layouts.Layout(path)
    made.write([made.image(*(tars.packed(layer + tars.END) for layer in layers))])
    return f"oci:{path}"


def link(name: bytes, target: bytes) -> bytes:
    return tars.header(name=name, kind=b"2", link=target)


DIRECTORY = tars.header(name=b"usr/lib/", kind=b"5")
FILE = tars.entry(b"x", name=b"lib/a/x")


@pytest.mark.parametrize(
    "layers",
    [
        (DIRECTORY + link(b"lib", b"usr/lib") + FILE,),
        (DIRECTORY + link(b"lib", b"/usr/lib"), FILE),
        (DIRECTORY + link(b"s", b"usr") + link(b"lib", b"s/lib"), FILE),
        (DIRECTORY + link(b"lib", b"../../usr/./lib/"), FILE),
    ],
)
def test_a_file_below_a_link_is_where_the_link_leads(tmp_path: Path, layers: tuple[bytes, ...]) -> None:
    stored = read_any(layout(tmp_path, *layers), None, limits=None)
    paths = [file.path for file in stored.files]
    assert "/usr/lib/a/x" in paths
    assert not [path for path in paths if path.startswith("/lib/")]


@pytest.mark.parametrize("layers", [1, 2])
def test_a_program_below_a_link_is_found_by_both_of_its_paths(tmp_path: Path, layers: int) -> None:
    system = tars.header(name=b"usr/bin/", kind=b"5") + link(b"bin", b"usr/bin")
    program = tars.program(b"bin/hello") + link(b"hello", b"/bin/hello")
    word = layout(tmp_path, *((system + program,) if layers == 1 else (system, program)))
    assert rs.check(word).verdict == "starts"


@pytest.mark.slow
def test_links_in_a_circle_and_many_of_them_end(tmp_path: Path) -> None:
    circle = link(b"a", b"b") + link(b"b", b"a") + tars.entry(b"x", name=b"a/x")
    stored = read_any(layout(tmp_path / "circle", tars.program() + circle), None, limits=None)
    assert "/a" in [file.path for file in stored.files]
    chain = b"".join(link(b"l%d" % number, b"l%d" % (number + 1)) for number in range(38))
    chain += link(b"l38", b"d") + tars.header(name=b"d/", kind=b"5")
    entries = b"".join(tars.header(name=b"l0/" + b"d/" * 40 + b"%d" % number) for number in range(24_000))
    word = layout(tmp_path / "chain", tars.program() + chain + entries)
    began = time.process_time()
    with pytest.raises(ScratchError, match="more symbolic links than any image has"):
        rs.check(word)
    assert time.process_time() - began < 20
