"""What is wrong with a `scratch.toml` is told at once, each with its key, its line and its column."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning import refusal

from rootless_scratch.errors import Fault, ScratchError, SourceError, SpecFileError
from rootless_scratch.image.plan.specfile import read_images

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

WRONG = """\
[variables]
VERSION = "1.4"
FIRST = "${SECOND}"
SECOND = "${FIRST}"

[image.web]
tag = "shop:${VERSOIN}"
progams = ["server"]
user = "no user"
ports = [80, "http", 8.5]
copy = ["page", "page:/srv:mode=99", "${FIRST}:/x"]
bundle-libraries = "yes"
with = ["tmp", "tzdta"]
output = ["server.tar"]
workdir = "srv"
created = 2026-01-31
[image.web.env]
"A=B" = "c"
LIST = ["d"]
[image.web.platforms."linux/amd64"]
kopy = ["x"]
programs = ["server"]
[image.web.platforms.amd64]
programs = ["server"]

[image."a page"]
[imagee]
"""


def faults(path: Path, text: str | bytes) -> dict[str, Fault]:
    """By key, where no key has several."""
    file = path / "scratch.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    error = refusal(lambda: read_images(str(file), environ={}), SpecFileError)
    assert isinstance(error, SpecFileError)
    return {fault.key: fault for fault in error.faults}


def test_all_faults_are_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = faults(tmp_path, WRONG)
    assert [(key, fault.line, fault.column) for key, fault in found.items()] == [
        ("variables.FIRST", 3, 9),
        ("variables.SECOND", 4, 10),
        ("image.web.tag", 7, 7),
        ("image.web.progams", 8, 1),
        ("image.web.user", 9, 8),
        ("image.web.ports[1]", 10, 14),
        ("image.web.ports[2]", 10, 22),
        ("image.web.copy[0]", 11, 9),
        ("image.web.copy[1]", 11, 17),
        ("image.web.bundle-libraries", 12, 20),
        ("image.web.with[1]", 13, 16),
        ("image.web.output[0]", 14, 11),
        ("image.web.workdir", 15, 11),
        ("image.web.created", 16, 11),
        ('image.web.env."A=B"', 18, 9),
        ("image.web.env.LIST", 19, 8),
        ('image.web.platforms."linux/amd64".kopy', 21, 1),
        ("image.web.platforms.amd64.programs[0]", 24, 13),
        ('image."a page"', 26, 8),
        ("imagee", 27, 2),
    ]
    assert {fault.path for fault in found.values()} == {str(tmp_path / "scratch.toml")}


def test_a_mistyped_name_is_told_the_one_that_was_meant(tmp_path: Path) -> None:
    fixes = {key: fault.fix for key, fault in faults(tmp_path, WRONG).items()}
    assert "'VERSION'" in fixes["image.web.tag"]
    assert "'programs'" in fixes["image.web.progams"]
    assert "'tzdata'" in fixes["image.web.with[1]"]
    assert "'copy'" in fixes['image.web.platforms."linux/amd64".kopy']
    assert "'image'" in fixes["imagee"]
    assert "'stop-signal'" in faults(tmp_path, 'stop_signal = "INT"')["stop_signal"].fix


@pytest.mark.parametrize(
    ("text", "key", "fix"),
    [
        ('programs = "server"', "programs", 'programs = ["..."]'),
        ('env = ["A=b"]', "env", 'env = {NAME = "..."}'),
        ('bundle-libraries = "no"', "bundle-libraries", "bundle-libraries = true"),
        ("workdir = true", "workdir", 'workdir = "..."'),
        ("image = 1", "image", "image = {"),
        ("[image]", "image", "[image.server]"),
        ("[variables]\n1A = 2", "variables.1A", "no digit first"),
        ("[variables]\nA = 1.5", "variables.A", 'A = "..."'),
        ('tag = "${}"', "tag", "$${"),
        ('tag = "${A:-b}"', "tag", "$${"),
        ('tag = "UPPER"', "tag", "lower"),
        ('user = "0"\n[image.web]\nuser = "0"', "user", "Move it"),
        ('output = "oci-archive:-"', "output", "./-"),
        ('mkdir = ["/a:cap=x"]', "mkdir[0]", "cap="),
        ('symlink = ["/bin/sh:/../sh"]', "symlink[0]", "intended"),
        ('stop-signal = "KILLED"', "stop-signal", "SIGTERM"),
        ('created = "yesterday"', "created", "now"),
        ('platforms = {"linux" = "server"}', "platforms.linux", "linux/amd64"),
    ],
)
def test_what_to_write_instead_is_told(tmp_path: Path, text: str, key: str, fix: str) -> None:
    found = faults(tmp_path, text)
    assert list(found) == [key]
    assert fix in found[key].fix


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        (b"tag = ", 1, 7),
        (b'tag = "a"\n\ntag = "b"\n', 3, 10),
        (b'tag = "a"\ncmd = ["\xff"]', 2, 9),
        (b'cmd = ["a",', 1, 12),
        (b"cmd = " + b"[" * 5000, 1, 1),
        (b"uid = " + b"1" * 5000, 1, 1),
    ],
)
def test_what_is_not_toml_is_told_where(tmp_path: Path, text: bytes, line: int, column: int) -> None:
    (fault,) = faults(tmp_path, text).values()
    assert (fault.line, fault.column, fault.key) == (line, column, "")


def test_a_file_that_is_not_there_or_too_long_is_told(tmp_path: Path) -> None:
    file = tmp_path / "scratch.toml"
    refusal(lambda: read_images(str(file)), SourceError)
    refusal(lambda: read_images(str(tmp_path)), SourceError)
    file.write_text("#" * (1 << 20) + "\n")
    refusal(lambda: read_images(str(file)), SourceError)


def test_a_tower_of_variables_ends_with_a_sentence(tmp_path: Path) -> None:
    doubled = "\n".join(f'V{n} = "${{V{n - 1}}}${{V{n - 1}}}"' for n in range(1, 30))
    text = f'[variables]\nV0 = "0123456789"\n{doubled}\n[image.web]\ntag = "${{V29}}"\n'
    assert "characters" in faults(tmp_path, text)["variables.V29"].message
    chain = "\n".join(f'V{n} = "${{V{n + 1}}}"' for n in range(3000))
    assert "behind" in faults(tmp_path, f'[variables]\nV3000 = ""\n{chain}')["variables.V0"].message


def test_a_large_file_of_faults_is_told_soon(tmp_path: Path) -> None:
    text = "[image.web]\n" + "\n".join(f'key{n} = "${{NAME{n}}}"' for n in range(3000))
    text += "\nports = [" + ", ".join(f'"${{PORT{n}}}"' for n in range(10_000)) + "]\n"
    before = time.monotonic()
    assert len(faults(tmp_path, text)) == 13_000
    assert time.monotonic() - before < 20


def test_the_command_line_prints_each_fault_with_its_place_and_exits_1(shared_home: Home, tmp_path: Path) -> None:
    file = tmp_path / "scratch.toml"
    file.write_text('progams = ["server"]\nports = ["http"]\n')
    for verb in (["build", "-t", "shop"], ["containerfile"], ["verify", "oci:nowhere"]):
        done = shared_home.cli(*verb, "--spec", str(file))
        lines = done.stderr.decode().splitlines()
        assert done.returncode == 1
        assert lines[0] == f"{file}:1:1: error: progams: There is no such key."
        assert lines[1] == "  fix: Did you mean 'programs'?"
        assert lines[2].startswith(f"{file}:2:10: error: ports[0]: 'http' is not a port")
        assert "2 faults" in lines[-1]
    answer = json.loads(shared_home.cli("build", "--spec", str(file), "--json").stdout)
    assert answer["error"]["kind"] == "spec"
    assert [(fault["key"], fault["line"], fault["column"]) for fault in answer["faults"]] == [
        ("progams", 1, 1),
        ("ports[0]", 2, 10),
    ]


KEYS = (
    *("tag", "programs", "copy", "env", "platforms", "output", "with", "image", "variables", "bundle-libraries"),
    *("group", "matrix", "inherits", "name"),
)
STRINGS = ("", "a", "${A}", "${", "$${A}", "a:/b", "linux/amd64", "\0", "oci:x", "tmp", "1" * 5000)
OTHERS = ("1", "-0x1", "1.5", "nan", "true", "2026-01-31", "2026-01-31 10:00:00Z", "10:00:00", "'''\n'a'''''")
HEADERS = (
    "[image.web]",
    "[image.web.env]",
    "[[image]]",
    "[variables]",
    '[platforms."linux/amd64"]',
    "[a.b]",
    "[image.web.matrix]",
    "[group]",
    "[image.b]",
)
NAMES = ("A", '"a b"', "'linux/amd64'", "programs", "b.c")
VALUES: st.SearchStrategy[str] = st.recursive(
    st.one_of(
        st.sampled_from(STRINGS).map(json.dumps),
        st.text(max_size=5).map(lambda text: json.dumps(text).replace("\x7f", "")),
        st.sampled_from(OTHERS),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", # a comment ]\n".join(items) + "\n]"),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key} = {value}" for key, value in items.items()) + "}"
        ),
    ),
    max_leaves=6,
)
LINES = st.one_of(
    st.tuples(st.sampled_from(KEYS), VALUES).map(" = ".join),
    st.sampled_from(HEADERS),
    st.text(max_size=8),
)


@given(text=st.lists(LINES, max_size=6).map("\n".join))
def test_any_toml_is_images_or_faults(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    lines = text.count("\n") + 1
    try:
        assert read_images(str(file), environ={})
    except ScratchError as error:
        found = error
    else:
        return
    assert found.fix
    if isinstance(found, SpecFileError):
        assert found.faults
        assert all(1 <= fault.line <= lines and fault.column >= 1 for fault in found.faults)
