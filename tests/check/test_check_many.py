"""`check` of many programs in one call, as `check /usr/bin/*`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import tinyelf

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home


def test_each_subject_gets_its_verdict_and_one_that_cannot_be_read_does_not_end_the_call(
    shared_home: Home, tmp_path: Path
) -> None:
    static = tinyelf.write(tmp_path / "static")
    dynamic = tmp_path / "dynamic"
    dynamic.write_bytes(tinyelf.elf(interpreter="/lib64/ld-linux-x86-64.so.2", needed=["libc.so.6"]))
    os.mkfifo(tmp_path / "pipe")
    words = [str(static), str(tmp_path / "pipe"), str(dynamic)]
    done = shared_home.cli("check", *words)
    assert done.stdout.decode().splitlines() == [f"{static}: starts", f"{dynamic}: fails"]
    assert b"pipe' is a pipe" in done.stderr
    assert b"[needs-loader]" in done.stderr
    assert done.returncode == 1
    answer = json.loads(shared_home.cli("check", "--json", *words).stdout)
    assert [each.get("verdict") for each in answer["subjects"]] == ["starts", None, "fails"]
    assert "is a pipe" in answer["subjects"][1]["error"]["message"]
    assert shared_home.cli("check", str(static), str(static)).returncode == 0


def test_one_subject_is_answered_as_before(shared_home: Home, tmp_path: Path) -> None:
    static = tinyelf.write(tmp_path / "static")
    assert shared_home.json("check", str(static))["verdict"] == "starts"
    done = shared_home.cli("check", str(tmp_path / "none"))
    assert done.returncode == 1
    assert b"does not exist" in done.stderr


@pytest.mark.slow
def test_on_a_terminal_many_subjects_show_their_progress_and_elsewhere_nothing(
    shared_home: Home, tmp_path: Path
) -> None:
    # One program of many names would be read once, and be done before there is anything to show.
    programs = [str(tinyelf.write(tmp_path / f"static{number}")) for number in range(7999)]
    for number, path in enumerate(programs):
        with open(path, "ab") as file:
            file.write(b"%d" % number)
    verb = [sys.executable, "-m", "rootless_scratch", "check"]
    subjects = [*programs, str(tmp_path / "none")]
    for more, expected in (([], True), (["-q"], False), (["--json"], False)):
        status, said, shown = on_terminal(shared_home, [*verb, *more, *subjects])
        assert status == 1
        assert b"does not exist" in shown
        assert (b"/8000" in shown, "━".encode() in shown) == (expected, expected), more
        if not more:
            # Nothing of the bar gets between the lines of the results.
            assert said.decode().splitlines() == [f"{program}: starts" for program in programs]
    done = shared_home.cli("check", *subjects)
    assert b"/8000" not in done.stderr


def on_terminal(home: Home, words: list[str]) -> tuple[int, bytes, bytes]:
    """The exit code, stdout, and what a terminal shows that is connected to stderr alone."""
    ours, theirs = pty.openpty()
    with (
        tempfile.TemporaryFile() as stdout,
        subprocess.Popen(words, env=home.environment, stdout=stdout, stderr=theirs) as process,
    ):
        os.close(theirs)
        shown = b""
        with suppress(OSError):
            while block := os.read(ours, 4096):
                shown += block
        os.close(ours)
        status = process.wait()
        stdout.seek(0)
        return status, stdout.read(), shown


@pytest.mark.buildah
def test_a_name_is_that_of_an_image_also_where_a_directory_is_called_so(shared_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    assert shared_home.cli("build", str(program), "-t", "called-so").returncode == 0
    for name in ("called-so", "not-there"):
        (tmp_path / name).mkdir()
    done = shared_home.cli("check", "called-so", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"called-so: starts\n"), done.stderr.decode()
    done = shared_home.cli("check", "not-there", cwd=tmp_path)
    assert done.returncode == 1
    assert b"no image 'not-there' in local storage. Here 'not-there' is a directory." in done.stderr
    for word in ("called-so/", "./called-so"):
        assert b"is a directory, not a program" in shared_home.cli("check", word, cwd=tmp_path).stderr


def test_a_directory_is_told_where_there_is_no_storage(shared_home: Home, tmp_path: Path) -> None:
    (tmp_path / "called-so").mkdir()
    done = shared_home.cli("check", "called-so", cwd=tmp_path, environment={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert b"'called-so' is a directory, not a program" in done.stderr
