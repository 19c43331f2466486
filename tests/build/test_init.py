"""`init` writes a scratch.toml that builds at once, with what the program needs, and why."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
import tinyelf
from hypothesis import given
from hypothesis import strategies as st

from rootless_scratch.image.plan.specfile import read_images
from rootless_scratch.image.plan.specschema import schema
from rootless_scratch.image.plan.variables import Variables
from rootless_scratch.image.write.spectext import Filled, spec_text

if TYPE_CHECKING:
    from conftest import Home


def init(home: Home, place: Path, *options: str) -> str:
    done = home.cli("init", *options, cwd=place)
    assert done.returncode == 0, done.stderr
    return done.stderr.decode()


def test_a_program_that_needs_nothing_gets_a_file_that_builds_at_once(shared_home: Home, tmp_path: Path) -> None:
    tinyelf.write(tmp_path / "Hello_World")
    told = init(shared_home, tmp_path, "Hello_World")
    assert "rootless-scratch build --spec scratch.toml" in told
    text = (tmp_path / "scratch.toml").read_text()
    assert tomllib.loads(text) == {"tag": "hello-world", "programs": ["Hello_World"]}
    assert "# The program, which goes to /Hello_World" in text
    built = shared_home.json("build", "--spec", "scratch.toml", "-o", "oci:out", cwd=tmp_path)
    assert built["findings"] == []
    jsonschema.validate(tomllib.loads(text), schema())


@pytest.mark.compiler
def test_libraries_and_essentials_are_filled_in_with_the_reason(shared_home: Home, tmp_path: Path) -> None:
    source = '#include <stdlib.h>\nint main(void) { char name[] = "/tmp/XXXXXX"; return mkstemp(name) < 0; }'
    shared_home.run(
        ["sh", "-c", f"echo '{source}' > {tmp_path}/tool.c && gcc -o {tmp_path}/tool {tmp_path}/tool.c"]
    )
    init(shared_home, tmp_path, "tool")
    text = (tmp_path / "scratch.toml").read_text()
    assert tomllib.loads(text) == {
        "tag": "tool",
        "programs": ["tool"],
        "bundle-libraries": True,
        "with": ["tmp"],
    }
    assert "libc.so.6" in text
    assert "# - tmp: tool makes temporary files (mkstemp)" in text
    assert shared_home.json("build", "--spec", "scratch.toml", "-o", "oci:out", cwd=tmp_path)["findings"] == []


def test_a_program_that_no_option_makes_start_is_refused(shared_home: Home, tmp_path: Path) -> None:
    tinyelf.write(tmp_path / "broken", machine="x86_64").write_bytes(b"#!/nowhere/interpreter\n")
    done = shared_home.cli("init", "broken", cwd=tmp_path)
    assert done.returncode == 1
    assert not (tmp_path / "scratch.toml").exists()
    missing = shared_home.cli("init", "missing", "--json", cwd=tmp_path)
    assert json.loads(missing.stdout)["error"]["kind"] == "source"


def test_a_file_that_is_there_stays_without_force(shared_home: Home, tmp_path: Path) -> None:
    tinyelf.write(tmp_path / "hello")
    (tmp_path / "scratch.toml").write_text("# mine\n")
    done = shared_home.cli("init", "hello", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"--force" in done.stderr
    assert (tmp_path / "scratch.toml").read_text() == "# mine\n"
    init(shared_home, tmp_path, "hello", "--force")
    assert "programs" in (tmp_path / "scratch.toml").read_text()
    done = shared_home.cli("init", "hello", "-o", "missing/scratch.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert b"'missing/scratch.toml' cannot be written" in done.stderr


def test_it_is_printed_and_nothing_is_written(shared_home: Home, tmp_path: Path) -> None:
    tinyelf.write(tmp_path / "hello")
    done = shared_home.cli("init", "hello", "-o", "-", cwd=tmp_path)
    assert tomllib.loads(done.stdout.decode())["programs"] == ["hello"]
    answer = shared_home.json("init", "hello", "-o", "-", cwd=tmp_path)
    assert (answer["file"], answer["text"], answer["findings"]) == (None, done.stdout.decode(), [])
    assert [path.name for path in tmp_path.iterdir()] == ["hello"]
    answer = shared_home.json("init", "hello", cwd=tmp_path)
    assert (answer["file"], (tmp_path / "scratch.toml").read_text()) == ("scratch.toml", answer["text"])


def test_the_program_is_found_from_where_the_file_lies(shared_home: Home, tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "build").mkdir()
    tinyelf.write(tmp_path / "build/hello")
    init(shared_home, tmp_path, "build/hello", "-o", "deploy/hello.toml")
    (image,) = read_images(str(tmp_path / "deploy/hello.toml"))
    assert os.path.samefile(image.spec.programs[0].source, tmp_path / "build/hello")
    init(shared_home, tmp_path, str(tmp_path / "build/hello"), "--force")
    (image,) = read_images(str(tmp_path / "scratch.toml"))
    assert image.spec.programs[0].source == str(tmp_path / "build/hello")


@pytest.mark.parametrize("name", ['a "b" \\c', "${HOME}", "$${A}", "ünï", "a\nb", "x\x7f", "-dash", "a:b=c"])
def test_a_program_of_any_name_is_the_one_that_is_built(shared_home: Home, tmp_path: Path, name: str) -> None:
    tinyelf.write(tmp_path / name)
    init(shared_home, tmp_path, "--", name)
    (image,) = read_images(str(tmp_path / "scratch.toml"))
    assert image.spec.programs[0].source == f"{tmp_path}/{name}"
    shared_home.json("build", "--spec", "scratch.toml", "-o", "oci:out", cwd=tmp_path)


def test_a_name_that_toml_cannot_hold_is_told(shared_home: Home, tmp_path: Path) -> None:
    tinyelf.write(Path(os.fsdecode(bytes(tmp_path) + b"/\xff")))
    done = shared_home.cli("init", b"\xff", cwd=tmp_path)
    assert done.returncode == 2
    assert b"not UTF-8" in done.stderr
    (tmp_path / "deploy").mkdir()
    os.rename(os.fsencode(tmp_path) + b"/\xff", os.fsencode(tmp_path) + b"/deploy/hello")
    os.rename(tmp_path / "deploy", os.fsencode(tmp_path) + b"/\xff")
    done = shared_home.cli("init", b"\xff/hello", cwd=tmp_path)
    assert done.returncode == 1
    assert b"not UTF-8" in done.stderr


TEXTS = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), st.text("${}a", max_size=9))


@given(value=TEXTS, reason=TEXTS, name=TEXTS)
def test_any_text_is_kept_and_no_comment_becomes_a_key(value: str, reason: str, name: str) -> None:
    filled = {
        "cmd": Filled([value, value * 20], reason, (reason, value)),
        "labels": Filled({name: value}, reason),
    }
    document = tomllib.loads(spec_text(filled, name="scratch.toml", remarks=[reason]))
    assert document.keys() == {"cmd", "labels"}
    assert list(document["labels"]) == [name]
    variables = Variables({}, values={}, environ={})
    assert [variables.expanded(text) for text in document["cmd"]] == [value, value * 20]
