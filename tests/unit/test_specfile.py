"""`--spec scratch.toml`: the words of a build, kept in a file beside what they name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import refusal

from rootless_scratch.errors import SourceError, SpecError, UsageError
from rootless_scratch.image.plan.specfile import read_spec

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

FILE = """
tag = "shop:1"
programs = ["server:/usr/bin/server"]
copy = ["page:/srv/index.html"]
mkdir = ["/data:mode=0700,uid=65532"]
with = ["tmp"]
cmd = ["--verbose"]
ports = [8080]
workdir = "/srv"

[env]
MODE = "live"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a program, a page, and the file that names both."""
    tinyelf.write(tmp_path / "server")
    (tmp_path / "page").write_text("x")
    (tmp_path / "scratch.toml").write_text(FILE)
    return tmp_path


@pytest.mark.buildah
@pytest.mark.registry
def test_a_file_builds_what_its_words_build(shared_home: Home, place: Path) -> None:
    words = [f"{place}/server:/usr/bin/server", "--copy", f"{place}/page:/srv/index.html", "--workdir", "/srv"]
    words += ["--mkdir", "/data:mode=0700,uid=65532", "--with", "tmp", "--cmd", '["--verbose"]', "--port", "8080"]
    by_words = shared_home.json("build", *words, "--env", "MODE=live", "-o", f"oci:{place}/words")
    by_file = shared_home.json("build", "--spec", f"{place}/scratch.toml", "-o", f"oci:{place}/file")
    assert by_file["image_id"] == by_words["image_id"]
    assert shared_home.cli("verify", f"oci:{place}/words", "--spec", f"{place}/scratch.toml").returncode == 0


def test_words_beside_the_file_add_to_lists_and_replace_single_values(shared_home: Home, place: Path) -> None:
    more = ["--env", "LEVEL=1", "--cmd", '["-q"]', "--user", "0", "-t", "other:2", "--label", "a=b"]
    done = shared_home.cli("build", "--spec", f"{place}/scratch.toml", *more, "--dry-run")
    plan = json.loads(done.stdout)["plan"]
    config = plan["config"]["config"]
    assert plan["names"] == ["localhost/other:2"]
    assert (config["Cmd"], config["User"], config["WorkingDir"]) == (["-q"], "0", "/srv")
    assert config["Env"] == ["MODE=live", "LEVEL=1"]
    assert config["Labels"] == {"a": "b"}
    shown = shared_home.cli("containerfile", "--spec", f"{place}/scratch.toml")
    assert b'CMD ["--verbose"]' in shown.stdout


def test_what_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "scratch.toml"
    refusal(lambda: read_spec(str(file)), SourceError)
    file.write_text("tag = ")
    assert "is not TOML" in refusal(lambda: read_spec(str(file))).message
    file.write_text('entrypiont = ["/x"]')
    assert "entrypoint" in refusal(lambda: read_spec(str(file)), SpecError).fix
    file.write_text('env = ["A=b"]')
    refusal(lambda: read_spec(str(file)), UsageError)
    file.write_bytes(b"\xff")
    refusal(lambda: read_spec(str(file)), SpecError)


def test_a_single_value_on_the_command_line_counts_also_where_it_is_the_usual_one(
    shared_home: Home, place: Path
) -> None:
    done = shared_home.cli("build", "--spec", f"{place}/scratch.toml", "--workdir", "/", "--dry-run")
    plan = json.loads(done.stdout)["plan"]
    assert plan["config"]["config"]["WorkingDir"] == "/"
    assert plan["names"] == ["localhost/shop:1"]


def test_a_string_in_a_file_is_no_list_and_no_flag(tmp_path: Path) -> None:
    file = tmp_path / "scratch.toml"
    for line in ('programs = "server"', 'bundle-libraries = "no"'):
        file.write_text(line)
        refusal(lambda: read_spec(str(file)), UsageError)
