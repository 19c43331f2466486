"""`rs.build` and `rs.scratch`, as a script uses them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import tinyelf
from test_build import left_behind

import rootless_scratch as rs
from rootless_scratch.backends.buildah import build_image
from rootless_scratch.backends.session import Session
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, Spec

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

pytestmark = pytest.mark.buildah


def test_a_source_that_changes_after_it_was_planned_is_an_error(python_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    planned = plan(Spec(names=("changed",), programs=(Copy(source=str(program)),)))
    program.write_bytes(program.read_bytes()[::-1])
    with Session("build") as session, pytest.raises(rs.SourceError, match="changed while the image was built"):
        build_image(planned, session)
    assert python_home.run(["buildah", "inspect", "--type", "image", "changed"], check=False).returncode != 0
    assert left_behind(python_home) == []


def test_where_python_is_told_to_write_no_bytecode_a_build_writes_none(shared_home: Home, tmp_path: Path) -> None:
    # What root ran in another's checkout, that other could not remove.
    checkout = shutil.copytree(
        rs.__path__[0], tmp_path / "rootless_scratch", ignore=shutil.ignore_patterns("__pycache__")
    )
    words = ["build", str(tinyelf.write(tmp_path / "program")), "-t", "bytecode"]
    told = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    assert shared_home.cli(*words, environment=told).returncode == 0
    assert shared_home.cli("check", "bytecode", environment=told).returncode == 0
    assert list(checkout.rglob("*.pyc")) == []


@pytest.mark.podman
@pytest.mark.compiler
@pytest.mark.usefixtures("python_home")
def test_from_python_an_image_is_built_in_one_call_and_in_a_block(hello: Path, tmp_path: Path) -> None:
    image = rs.build(hello, tag="py:1", env={"A": "b"}, ports=[8080])
    assert image.names == ("localhost/py:1",)
    data = tmp_path / "data"
    data.write_text("data")
    with rs.scratch(tag=["block:1", "block:2"]) as root:
        root.add(hello, "/usr/bin/hello")
        root.mkdir("/tmp", mode=0o1777)
        root.copy(data, "/srv/data", uid=65532)
        root.symlink("/usr/bin/hello", "/hello")
        root.config(entrypoint=["/usr/bin/hello"], env={"A": "b"}, user="65532")
    assert root.image.names == ("localhost/block:1", "localhost/block:2")
    assert root.image.files == 2
    result = rs.run(root.image, timeout=60)
    assert (result.exit_code, result.stdout) == (0, b"Hello World\n")
    assert rs.check(root.image).verdict == "starts"
    assert list(rs.check(hello)) == []


def test_from_python_an_exception_in_the_block_builds_nothing(python_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    root = rs.scratch(tag="nothing")

    def fill() -> None:
        with root:
            root.add(program)
            root.add(tmp_path / "missing")

    with pytest.raises(rs.SourceError, match="does not exist"):
        fill()
    with pytest.raises(rs.UsageError):
        _ = root.image
    assert python_home.run(["buildah", "inspect", "--type", "image", "nothing"], check=False).returncode != 0


@pytest.mark.usefixtures("python_home")
def test_from_python_a_refusal_carries_its_findings(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho hello\n")
    with pytest.raises(rs.RefusedError, match="/bin/sh") as refused:
        rs.build(script, tag="script")
    assert [finding.rule for finding in refused.value.findings] == ["script-interpreter-missing"]


def test_a_string_is_no_list_of_words(tmp_path: Path) -> None:
    with pytest.raises(rs.UsageError, match="not a list"):
        rs.build(tinyelf.write(tmp_path / "program"), tag="x", cmd="serve")
