"""The limits of what reading an image may cost: each is named where it is exceeded, and can be raised."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING

import hostile_layouts
import pytest
import tars

import rootless_scratch as rs
from rootless_scratch.errors import LimitError, UsageError
from rootless_scratch.image.limits import DEFAULTS, parse_limits

if TYPE_CHECKING:
    from conftest import Home

PAGE = Path(__file__).resolve().parents[2] / "docs/limits.md"


def layout(path: Path, *layers: bytes) -> str:
    made = hostile_layouts.Layout(path)
    made.write([made.image(*layers)])
    return f"oci:{path}"


def nested(path: Path, depth: int) -> str:
    made = hostile_layouts.Layout(path)
    hostile_layouts.nested(depth)(made)
    return f"oci:{path}"


@pytest.mark.parametrize(
    ("name", "enough", "layer"),
    [
        ("depth", 400, tars.with_record({"path": "a/" * 300 + "x"})),
        ("name", 1000, tars.with_record({"path": "n" * 300})),
        ("path", 9000, tars.with_record({"path": ("n" * 200 + "/") * 30 + "x"})),
        (
            "header",
            1 << 22,
            tars.packed(tars.program(), tars.pax({"comment": "c" * 2_000_000}), tars.header() + tars.END),
        ),
        (
            "ratio",
            2000,
            tars.packed(tars.program() + tars.header(b"z", size=80 << 20))
            + tars.zeros(80 << 20)
            + tars.packed(tars.END),
        ),
        ("expanded", 1 << 41, tars.packed(tars.program() + tars.END)),
        (
            "entries",
            9,
            tars.packed(tars.program() + tars.entry(name=b"b") + tars.entry(name=b"c") + tars.END),
        ),
        ("layers", 9, tars.packed(tars.program() + tars.END)),
        ("seconds", 9, tars.packed(tars.program() + tars.END)),
        ("document", 1 << 20, tars.packed(tars.program() + tars.END)),
        ("documents", 1 << 20, tars.packed(tars.program() + tars.END)),
        ("descriptors", 9, tars.packed(tars.program() + tars.END)),
    ],
)
def test_what_exceeds_a_limit_is_refused_by_its_name_and_read_where_that_is_raised(
    tmp_path: Path, name: str, enough: int, layer: bytes
) -> None:
    word = layout(tmp_path / "layout", layer)
    # Some limits are too high for a small image: they are set below what it needs.
    low = {
        "expanded": 100,
        "entries": 2,
        "layers": 0,
        "seconds": 0,
        "document": 100,
        "documents": 100,
        "descriptors": 0,
    }
    limits = {name: low[name]} if name in low else None
    with pytest.raises(LimitError) as raised:
        rs.check(word, limits=limits)
    assert f"the limit '{name}' is exceeded" in raised.value.message
    assert f"--limit {name}=VALUE" in raised.value.fix
    assert rs.check(word, limits={name: enough}).verdict == "starts"
    assert list(tmp_path.glob(".rootless-scratch*")) == []


@pytest.mark.slow
def test_entries_are_limited_by_what_is_stored_and_indexes_by_their_depth(tmp_path: Path) -> None:
    farm = layout(tmp_path / "farm", tars.many(60_000))
    with pytest.raises(LimitError, match="'entries-per-megabyte'"):
        rs.check(farm)
    assert rs.check(farm, limits={"entries-per-megabyte": 1_000_000}).verdict == "starts"
    deep = nested(tmp_path / "deep", 9)
    with pytest.raises(LimitError, match="'index-depth'"):
        rs.check(deep)
    assert rs.check(deep, limits={"index-depth": 9}).verdict == "starts"


@pytest.mark.slow
def test_the_command_line_raises_them_for_every_verb_that_reads_images(shared_home: Home, tmp_path: Path) -> None:
    word = layout(tmp_path / "layout", tars.with_record({"path": "n" * 300}))
    program = tmp_path / "hello"
    program.write_bytes(tars.PROGRAM)
    for words in (("check", word), ("inspect", word), ("verify", word, str(program))):
        refused = shared_home.cli(*words)
        assert refused.returncode == 1
        assert b"the limit 'name' is exceeded" in refused.stderr
        assert b"fix: Where you trust the image, raise it: `--limit name=VALUE`" in refused.stderr
        done = shared_home.cli(*words, "--limit", "name=1k", "--limit", "depth=1000")
        assert b"limit" not in done.stderr
    saved = shared_home.cli("save", word, "-o", f"{tmp_path}/out.tar", "--limit", "descriptors=0", "--json")
    assert saved.returncode == 1
    assert b'"kind": "limit"' in saved.stdout
    assert shared_home.cli("save", word, "-o", f"{tmp_path}/out.tar").returncode == 0
    for wrong in ("name", "name=", "name=-1", "nme=5", "name=5x"):
        assert shared_home.cli("check", word, "--limit", wrong).returncode == 2


@pytest.mark.buildah
def test_images_of_local_storage_are_read_within_limits_too(shared_home: Home, tmp_path: Path) -> None:
    program = tmp_path / "hello"
    program.write_bytes(tars.PROGRAM)
    program.chmod(0o755)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(300 << 20)
    assert shared_home.cli("build", str(program), "-t", "holes", "--copy", f"{large}:/large").returncode == 0
    refused = shared_home.cli("check", "holes", "--limit", "expanded=100m", "--json")
    assert refused.returncode == 1
    assert b'"kind": "limit"' in refused.stdout
    assert shared_home.cli("check", "holes", "--limit", "ratio=1m").returncode == 0


def test_words_of_limits_are_read_with_their_units() -> None:
    assert parse_limits([])["expanded"] == DEFAULTS["expanded"]
    assert parse_limits(["expanded=2T", "header=3m", "document=4kb", "ratio=5"]) == DEFAULTS | {
        "expanded": 2 << 40,
        "header": 3 << 20,
        "document": 4 << 10,
        "ratio": 5,
    }
    for wrong in ({"nme": 5}, {"name": -1}, {"name": "many"}, 7):
        with pytest.raises(UsageError):
            rs.check("oci:nowhere", limits=wrong)  # type: ignore[arg-type]


def test_the_page_has_each_limit_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", PAGE.read_text(), re.MULTILINE))
    assert {
        name: parse_limits([f"{name}={said.strip().replace(' ', '')}"])[name] for name, said in rows.items()
    } == DEFAULTS


def test_a_layer_that_is_no_tar_is_neither_saved_nor_said_to_start(tmp_path: Path) -> None:
    for number, content in enumerate((b"This is no layer.\n" * 100, gzip.compress(b"no layer" * 500, mtime=0))):
        word = layout(tmp_path / str(number), content)
        for compress in (None, "gzip"):
            with pytest.raises(rs.ScratchError, match=r"is not a tar archive"):
                rs.save(word, f"oci:{tmp_path}/out", compress=compress)
        with pytest.raises(rs.ScratchError):
            rs.check(word)
        assert not (tmp_path / "out").exists()
