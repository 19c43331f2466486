"""Layers that are sound tars and that storage refuses: each is named, and what storage takes is not.

The expectations are those of `podman load`, which the last tests ask.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import TYPE_CHECKING

import pytest
import tinyelf
from foreign import CONFIG, LAYER, MANIFEST, Layout, config_of, docker_archive, layer_of

import rootless_scratch as rs
from rootless_scratch.image.read.layer_faults import cleaned_path

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

HELLO = ("hello", tinyelf.hello())
TWICE = "twice, which podman and docker refuse"
BELOW = "below a file of the same layer"
UNDER = "below a file of a layer under it, which podman refuses with the storage driver vfs"
NAMELESS = "that names nothing"

REFUSED = {
    "a file twice": ([layer_of(HELLO, HELLO)], TWICE),
    "a file twice, once with a dot": ([layer_of(HELLO, ("./hello", b"x"))], TWICE),
    "a path that leads back": ([layer_of(HELLO, ("x/../hello", b"x"))], TWICE),
    "a directory twice": ([layer_of(HELLO, ("d/", None), ("d/", None))], TWICE),
    "a directory and a file": ([layer_of(HELLO, ("d/", None), ("d", b"1"))], TWICE),
    "the root directory twice": ([layer_of(("./", None), HELLO, (".", None))], TWICE),
    "a whiteout twice": ([layer_of(HELLO, ("a", b"1")), layer_of((".wh.a", b""), (".wh.a", b""))], TWICE),
    "a file below a file": ([layer_of(HELLO, ("d", b"1"), ("d/x", b"1"))], BELOW),
    "far below a file": ([layer_of(HELLO, ("d", b"1"), ("d/e/f/x", b"1"))], BELOW),
    "a directory where a file was": ([layer_of(HELLO, ("d", b"1")), layer_of(("d/x", b"1"))], UNDER),
    "a file, two layers above": (
        [layer_of(HELLO, ("d", b"1")), layer_of(("e", b"")), layer_of(("d/x/y", b""))],
        UNDER,
    ),
    "a whiteout of nothing": ([layer_of(HELLO), layer_of((".wh.", b""))], NAMELESS),
    "a whiteout of nothing, below": ([layer_of(HELLO, ("d/", None)), layer_of(("d/.wh.", b""))], NAMELESS),
    "a whiteout of the directory itself": ([layer_of(HELLO), layer_of((".wh..", b""))], NAMELESS),
    "a whiteout of what is above": ([layer_of(HELLO, ("d/", None)), layer_of(("d/.wh...", b""))], NAMELESS),
    "a root that is a file": ([layer_of(HELLO, ("/", b"x"))], "for the root directory and as a file"),
}
TAKEN = {
    "the last of two forms counts": [layer_of(("hello", b"no program"), ("/hello", tinyelf.hello()))],
    "the root directory in two forms": [layer_of(("./", None), ("/", None), HELLO)],
    "a directory that is named": [layer_of(HELLO, ("d", b"1")), layer_of(("d/", None), ("d/x", b"1"))],
    "a file over a directory": [layer_of(HELLO, ("d/x", b"1")), layer_of(("d", b"1"))],
    "a file that took the place of its directory": [layer_of(HELLO, ("d/x", b"1"), ("d", b"1"))],
    "a whiteout of what is not there": [layer_of(HELLO), layer_of((".wh.no", b""))],
    "hidden, and made anew": [layer_of(HELLO, ("d", b"1")), layer_of((".wh.d", b"")), layer_of(("d/x", b"1"))],
    "hidden with its directory": [
        layer_of(HELLO, ("d/e", b"1")),
        layer_of((".wh.d", b"")),
        layer_of(("d/e/x", b"1")),
    ],
    "hidden by an opaque one": [
        layer_of(HELLO, ("d/e", b"1")),
        layer_of(("d/", None), ("d/.wh..wh..opq", b"")),
        layer_of(("d/e/x", b"1")),
    ],
    "hidden by a file": [
        layer_of(HELLO, ("d/e", b"1")),
        layer_of(("d", b"1")),
        layer_of(("d/", None)),
        layer_of(("d/e/x", b"1")),
    ],
    "zeros behind the tar": [layer_of(HELLO) + bytes(700)],
    "garbage behind the tar": [layer_of(HELLO) + b"garbage"],
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_storage_refuses_is_named(tmp_path: Path, case: str) -> None:
    layers, said = REFUSED[case]
    judged = rs.check(docker_archive(tmp_path / "a.tar", (["x/a:1"], layers)))
    assert judged.verdict == "fails"
    assert [finding.rule for finding in judged.findings] == ["broken-image"]
    assert said in judged.findings[0].message
    assert judged.findings[0].fix.startswith("`rootless-scratch save --repair docker-archive:")


@pytest.mark.parametrize("case", TAKEN)
def test_what_storage_takes_is_not(tmp_path: Path, case: str) -> None:
    judged = rs.check(docker_archive(tmp_path / "a.tar", (["x/a:1"], TAKEN[case])))
    assert (judged.verdict, judged.findings) == ("starts", ())


@pytest.mark.buildah
@pytest.mark.podman
@pytest.mark.parametrize("case", [*REFUSED, *TAKEN])
def test_podman_agrees(shared_home: Home, tmp_path: Path, case: str) -> None:
    docker_archive(tmp_path / "a.tar", (["x/refused:1"], REFUSED[case][0] if case in REFUSED else TAKEN[case]))
    loaded = shared_home.run(["podman", "load", "-q", "-i", str(tmp_path / "a.tar")], check=False)
    driver = shared_home.run(["podman", "info", "--format", "{{.Store.GraphDriverName}}"]).stdout.strip()
    # With overlay a file gives way to a directory; with vfs a whiteout of nothing takes the directory around it.
    other = {b"overlay": UNDER, b"vfs": "a whiteout of nothing, below"}[driver]
    if case in REFUSED and other in (REFUSED[case][1], case):
        return
    assert (loaded.returncode == 0) == (case in TAKEN), loaded.stderr.decode()


def packed(tmp_path: Path, behind: bytes) -> str:
    """A layout with a layer of gzip and this behind it."""
    layout, layer = Layout(tmp_path / "layout"), layer_of(HELLO)
    described = layout.blob(gzip.compress(layer, mtime=0) + behind, f"{LAYER}+gzip")
    config = layout.blob(config_of([layer]), CONFIG)
    return layout.index(layout.blob({"schemaVersion": 2, "config": config, "layers": [described]}, MANIFEST))


BEHIND = {
    "one zero": (b"\0", "has 1 bytes of zero after its gzip stream"),
    "many zeros": (bytes(600_000), "has 600000 bytes of zero after its gzip stream"),
    "garbage": (b"garbage", "its stream is followed by what is not gzip"),
    "half a magic number": (b"\x1f", "its stream is followed by what is not gzip"),
    "zeros and garbage": (bytes(10) + b"garbage", "its stream is followed by what is not gzip"),
    "zeros and a member": (bytes(10) + gzip.compress(b""), "has 10 bytes of zero after its gzip stream"),
    "half a member": (gzip.compress(b"")[:12], "it is cut off"),
}


@pytest.mark.parametrize("case", BEHIND)
def test_what_stands_behind_a_gzip_stream_is_named(tmp_path: Path, case: str) -> None:
    (finding,) = rs.check(packed(tmp_path, BEHIND[case][0])).findings
    assert finding.rule == "broken-image"
    assert BEHIND[case][1] in finding.message


def test_a_gzip_stream_of_several_members_is_one_layer(tmp_path: Path) -> None:
    assert rs.check(packed(tmp_path, gzip.compress(b""))).verdict == "starts"


@pytest.mark.buildah
@pytest.mark.podman
@pytest.mark.parametrize("case", BEHIND)
def test_podman_refuses_what_stands_behind_a_gzip_stream(shared_home: Home, tmp_path: Path, case: str) -> None:
    pulled = shared_home.run(["podman", "pull", "-q", packed(tmp_path, BEHIND[case][0])], check=False)
    assert pulled.returncode != 0


def test_zeros_behind_a_gzip_stream_are_gone_where_it_is_packed_anew(tmp_path: Path) -> None:
    word = packed(tmp_path, bytes(100))
    rs.save(word, f"oci:{tmp_path}/anew", compress="gzip")
    assert rs.check(f"oci:{tmp_path}/anew").verdict == "starts"


def test_one_sentence_for_all_paths_that_are_there_twice(tmp_path: Path) -> None:
    entries = [(f"f{number}", b"") for number in range(50)]
    word = docker_archive(tmp_path / "a.tar", (["x/a:1"], [layer_of(HELLO, *entries, *entries)]))
    (finding,) = rs.check(word).findings
    assert "has 'f0' (and 49 more) twice" in finding.message


def test_a_layer_of_two_images_is_judged_with_what_each_has_below_it(tmp_path: Path) -> None:
    upper = layer_of(("d/x", b"1"))
    sound, file = layer_of(HELLO), layer_of(HELLO, ("d", b"1"))
    word = docker_archive(tmp_path / "a.tar", (["x/a:1"], [sound, upper]), (["x/b:1"], [file, upper]))
    assert [UNDER in finding.message for finding in rs.check(f"{word}:x/b:1").findings] == [True]
    alone = docker_archive(tmp_path / "b.tar", (["x/a:1"], [sound, upper]), (["x/b:1"], [sound]))
    assert rs.check(f"{alone}:x/a:1").verdict == "starts"


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [("a/", "a"), ("./a", "a"), ("//a", "/a"), ("", "."), ("./", "."), ("/", "/"), ("a//b/../c", "a/c")],
)
def test_paths_are_cleaned_as_go_does_it(name: str, cleaned: str) -> None:
    assert cleaned_path(name) == cleaned


def test_the_files_of_a_path_that_is_there_twice_are_those_of_its_last_entry(tmp_path: Path) -> None:
    first, last = io.BytesIO(), tinyelf.hello()
    with tarfile.open(fileobj=first, mode="w") as tar:
        for content in (b"#!/bin/sh\n", last):
            info = tarfile.TarInfo("hello")
            info.mode, info.size = 0o755, len(content)
            tar.addfile(info, io.BytesIO(content))
    from rootless_scratch.backends.open_image import read_any

    stored = read_any(docker_archive(tmp_path / "a.tar", (["x/a:1"], [first.getvalue()])))
    assert [file.size for file in stored.files] == [len(last)]
