"""What instructions of a Containerfile come to in the image: variables, directives, heredocs, stages."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest
from evaluating import made, make_context

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return make_context(tmp_path / "context")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ENV V=vx.1 A=${W:-d}\nLABEL a=$A", "d"),
        ("ENV V=v1.2\nLABEL a=${V#v}", "1.2"),
        ("ENV V=1.2.3\nLABEL a=${V%.*}", "1.2"),
        ("ENV V=1.2.3\nLABEL a=${V//./-}", "1-2-3"),
        ("ARG V\nLABEL a=${V:+x}${V-unset}", "unset"),
        ("ENV A=b\nENV A=c B=$A\nLABEL a=$B", "b"),
    ],
)
def test_variables_have_the_forms_that_buildkit_documents(context: Path, text: str, value: str) -> None:
    assert made(context, f"FROM scratch\n{text}\n")[0]["config"]["Labels"]["a"] == value


def test_directives_stand_beside_each_other(context: Path) -> None:
    _, files = made(context, "# syntax=docker/dockerfile:1\n# escape=`\nFROM scratch\nCOPY f `\n  /x\n")
    assert set(files) == {"/x"}


def test_an_archive_is_unpacked_unless_add_says_otherwise(context: Path) -> None:
    with tarfile.open(context / "a.tar", "w") as archive:
        archive.add(context / "f", "in")
    for flag, paths in (("", {"/t", "/t/in"}), ("--unpack=false ", {"/t", "/t/a.tar"})):
        assert set(made(context, f"FROM scratch\nADD {flag}a.tar /t/\n")[1]) == paths


@pytest.mark.parametrize(
    ("user", "owner"),
    [("0:5", (0, 5)), ("5", (5, 5)), ("\u00b2", (0, 0)), ("5:\u00b2", (5, 0)), ("99999999999", (0, 0))],
)
def test_workdir_is_made_for_whatever_stands_at_user(context: Path, user: str, owner: tuple[int, int]) -> None:
    _, files = made(context, f"FROM scratch\nUSER {user}\nWORKDIR /w\n", compat="buildah", check=False)
    assert (files["/w"].uid, files["/w"].gid) == owner


def test_heredocs_become_files_with_the_variables_of_the_stage(context: Path) -> None:
    text = 'FROM scratch\nARG A=1\nCOPY <<one <<"two" f /t/\na=$A\none\na=$A\ntwo\n'
    _, files = made(context, text)
    assert {path: member.size for path, member in files.items() if member.isreg()} == {
        "/t/one": 4,
        "/t/two": 5,
        "/t/f": 1,
    }


def test_a_stage_is_found_by_its_name_in_any_case_and_by_its_number(context: Path) -> None:
    text = (
        "FROM scratch AS a\nCOPY f /one\nFROM scratch AS Two\nCOPY f /two\nFROM scratch\nARG X=tWO\n"
        "COPY --from=$X /two /\nCOPY --from=0 /one /\n"
    )
    assert set(made(context, text)[1]) == {"/one", "/two"}
