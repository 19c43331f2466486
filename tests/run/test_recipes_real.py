"""Programs that read more than their libraries, built with what their recipes bring, and put to their task."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

pytestmark = pytest.mark.podman

APP = "import json, sys\nprint(json.dumps({'major': sys.version_info[0], 'words': sys.argv[1:]}))\n"


@pytest.mark.parametrize(
    ("program", "recipe", "task", "printed"),
    [
        (
            "/usr/bin/python3",
            "python",
            ["-c", "import ctypes, sqlite3, ssl, zoneinfo, decimal; print(zoneinfo.ZoneInfo('UTC'))"],
            "UTC",
        ),
        ("/usr/bin/perl", "perl", ["-e", "use strict; use POSIX; use Data::Dumper; print floor(2.5)"], "2"),
        ("/usr/bin/ruby", "ruby", ["-rjson", "-rset", "-e", "puts JSON.generate([1])"], "[1]"),
        ("/usr/bin/file", "magic", ["-b", "/"], "directory"),
    ],
)
def test_an_interpreter_is_refused_alone_and_does_its_job_with_its_recipe(
    tools: Home, program: str, recipe: str, task: list[str], printed: str
) -> None:
    refused = tools.cli("build", program, "-t", f"without-{recipe}", "--bundle-libraries")
    assert refused.returncode == 1
    assert b"[needs-runtime]" in refused.stderr
    assert f"--with {recipe}".encode() in refused.stderr
    name = f"with-{recipe}"
    tools.cli("build", program, "-t", name, "--bundle-libraries", "--with", "auto,tzdata=UTC")
    assert tools.json("check", name)["verdict"] == "starts"
    assert tools.cli("run", name, *task).stdout.decode().strip() == printed
    without = tools.cli("build", program, "-t", f"without-{recipe}", "--bundle-libraries", "--no-check")
    assert b"needs-runtime" in without.stderr
    failed = json.loads(tools.cli("run", "--json", f"without-{recipe}", *task).stdout)
    assert failed["exit_code"] not in (0, 125)
    assert failed["explanation"]["rule"] == "needs-runtime"
    assert f"--with {recipe}" in failed["explanation"]["fix"]


def test_a_program_that_does_half_its_job_is_warned_of(tools: Home) -> None:
    words = ("/usr/bin/tclsh", "--bundle-libraries")
    warned = tools.cli("build", *words, "-t", "tcl-alone")
    assert b"[needs-data]" in warned.stderr
    assert b"--with tcl" in warned.stderr
    assert b"init.tcl" in tools.cli("run", "tcl-alone", "/dev/null").stderr
    tools.cli("build", *words, "-t", "tcl", "--with", "auto")
    assert b"init.tcl" not in tools.cli("run", "tcl", "/dev/null").stderr


@pytest.mark.parametrize("first", ["#!/usr/bin/python3", "#!/usr/bin/env python3"])
def test_a_script_brings_its_interpreter_along(tools: Home, tmp_path: Path, first: str) -> None:
    script = tmp_path / "app.py"
    script.write_text(f"{first}\n{APP}")
    tools.cli("build", str(script), "-t", "script", "--bundle-libraries", "--with", "auto")
    assert tools.cli("run", "script", "a", "b").stdout == b'{"major": 3, "words": ["a", "b"]}\n'


def test_a_script_comes_with_what_it_imports_alone_and_is_not_run_for_that(tools: Home, tmp_path: Path) -> None:
    script, ran = tmp_path / "app.py", tmp_path / "ran"
    script.write_text(
        f"#!/usr/bin/python3\nimport json, sqlite3, sys\nif sys.argv[1:]:\n    open({str(ran)!r}, 'w')\n"
        "print(json.dumps(sqlite3.connect(':memory:').execute('select 6*7').fetchone()))\nprint(1 / 0)\n"
    )
    words = ["build", str(script), "--bundle-libraries", "-t"]
    narrow = tools.json(*words, "narrow", "--with", "python=imports")
    whole = tools.json(*words, "whole", "--with", "python")
    assert narrow["files"] < whole["files"] * 0.8
    ended = tools.cli("run", "narrow")
    assert ended.stdout == b"[42]\n"
    assert b"ZeroDivisionError: division by zero" in ended.stderr, "tracebacks need modules too"
    assert not ran.exists()


def test_what_a_script_imports_needs_a_script_that_can_be_read(tools: Home, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("#!/usr/bin/python3\nprint((\n")
    words = ["build", "-t", "imports", "--bundle-libraries", "--with", "python=imports"]
    broken = tools.cli(*words, f"{tmp_path}/app.py")
    assert (broken.returncode, b"SyntaxError" in broken.stderr) == (1, True)
    alone = tools.cli(*words, "/usr/bin/python3")
    assert (alone.returncode, b"there is no such script" in alone.stderr) == (2, True)
