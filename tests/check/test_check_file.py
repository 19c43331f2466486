"""`check -f`: what the command line shows of a Containerfile."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from test_reports import commands, valid

import rootless_scratch as rs

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

LINES = 'FROM scratch\nCOPY app /\nUSER app\nCMD ["app"]\n'


@pytest.fixture
def context(tmp_path: Path) -> Path:
    tinyelf.write(tmp_path / "app")
    (tmp_path / "Containerfile").write_text(LINES)
    return tmp_path


def test_each_finding_has_its_line_and_the_corrected_one(shared_home: Home, context: Path) -> None:
    done = shared_home.cli("check", "-f", "Containerfile", ".", cwd=context)
    assert (done.returncode, done.stdout) == (1, b"Containerfile: fails\n")
    shown = done.stderr.decode()
    assert "\x1b" not in shown
    assert "Containerfile:3:6: error: The user app is a name" in shown
    assert "  3 | USER app\n    |      ^^^\n  + | USER 65532:65532\n  fix: " in shown
    assert '  4 | CMD ["app"]\n    |      ^^^^^\n  + | CMD ["/app"]\n  fix: ' in shown


def test_a_file_is_named_from_here_or_from_the_context(shared_home: Home, context: Path) -> None:
    assert shared_home.cli("check", "-f", str(context / "Containerfile"), str(context)).returncode == 1
    answer = json.loads(shared_home.cli("check", "--json", "-f", "Containerfile", str(context)).stdout)
    assert answer["verdict"] == "fails"
    done = shared_home.cli("check", "--json", "-f", "-", str(context), input=LINES.encode())
    assert [each["location"]["path"] for each in json.loads(done.stdout)["findings"]] == ["-", "-"]


def test_a_file_or_a_context_that_is_not_there_is_told(shared_home: Home, context: Path) -> None:
    done = shared_home.cli("check", "-f", str(context / "Nofile"), str(context))
    assert (done.returncode, b"Nofile" in done.stderr) == (1, True)
    done = shared_home.cli("check", "-f", str(context / "Containerfile"), str(context / "nowhere"))
    assert (done.returncode, b"nowhere" in done.stderr) == (1, True)
    assert shared_home.cli("check").returncode == 2
    done = shared_home.cli("check", "--target", "x", "app", cwd=context)
    assert (done.returncode, b"--target has no effect without -f" in done.stderr) == (2, True)
    done = shared_home.cli("check", "-f", "Containerfile", ".", "app", cwd=context)
    assert (done.returncode, b"one argument, CONTEXT" in done.stderr) == (2, True)


def test_json_has_the_location(shared_home: Home, context: Path) -> None:
    answer = json.loads(shared_home.cli("check", "--json", "-f", "Containerfile", ".", cwd=context).stdout)
    assert answer["subject"] == "Containerfile"
    assert answer["findings"][1]["location"] == {
        "path": "Containerfile",
        "line": 4,
        "column": 6,
        "end_line": 4,
        "end_column": 11,
        "text": 'CMD ["app"]',
        "corrected": 'CMD ["/app"]',
    }


def test_arguments_the_target_and_the_platform_are_those_of_a_build(shared_home: Home, context: Path) -> None:
    (context / "Containerfile").write_text(
        'FROM scratch AS one\nARG BIN=none\nCOPY ${BIN} /app\nCMD ["/app"]\nFROM one AS two\nUSER me\n'
    )
    check = ("check", "--json", "-f", "Containerfile")
    answer = json.loads(shared_home.cli(*check, "--target", "one", cwd=context).stdout)
    assert [each["rule"] for each in answer["findings"]] == ["source-missing"]
    one = (*check, "--build-arg", "BIN=app")
    assert json.loads(shared_home.cli(*one, "--target", "one", cwd=context).stdout)["verdict"] == "starts"
    answer = json.loads(shared_home.cli(*one, cwd=context).stdout)
    assert [each["rule"] for each in answer["findings"]] == ["user-unknown"]
    answer = json.loads(shared_home.cli(*one, "--target", "one", "--platform", "linux/arm64", cwd=context).stdout)
    assert [each["rule"] for each in answer["findings"]] == ["platform-mismatch"]


def test_a_terminal_shows_it_in_colour(shared_home: Home, context: Path) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "rootless_scratch", "check", "-f", "Containerfile"]
    environ = {**shared_home.environment, "TERM": "xterm"}
    environ.pop("NO_COLOR", None)
    subprocess.run(argv, cwd=context, env=environ, stdout=theirs, stderr=theirs, stdin=theirs, check=False)
    os.close(theirs)
    shown = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:
            break
        shown += block
    os.close(ours)
    assert re.search(rb"\x1b\[31m\x1b\[1m\^\^\^\x1b\[0m", shown)


def test_code_hosts_get_the_lines(shared_home: Home, context: Path) -> None:
    check = ("check", "-f", "Containerfile")
    report = json.loads(shared_home.cli(*check, "--format", "sarif", cwd=context).stdout)
    valid(report, "sarif-2.1.0-rtm.4.json")
    first = report["runs"][0]["results"][0]
    assert first["locations"][0]["physicalLocation"]["region"]["startLine"] == 3
    assert (
        first["fixes"][0]["artifactChanges"][0]["replacements"][0]["insertedContent"]["text"] == "USER 65532:65532"
    )
    quality = json.loads(shared_home.cli(*check, "--format", "gitlab", cwd=context).stdout)
    valid(quality, "gitlab-code-quality.json")
    assert [each["location"]["lines"]["begin"] for each in quality] == [3, 4]
    done = shared_home.cli(*check, "--format", "github", cwd=context)
    shown = [(name, at["file"], at["line"], at["col"]) for name, at, _ in commands(done.stdout.decode())]
    assert shown == [("error", "Containerfile", "3", "6"), ("error", "Containerfile", "4", "6")]


def test_a_build_that_is_refused_is_reported_too(shared_home: Home, context: Path) -> None:
    build = ("build", "-f", "Containerfile", "-o", "oci:image")
    done = shared_home.cli(*build, "--report", "sarif", cwd=context)
    assert (done.returncode, (context / "image").exists()) == (1, False)
    report = json.loads(done.stdout)
    valid(report, "sarif-2.1.0-rtm.4.json")
    assert [each["ruleId"] for each in report["runs"][0]["results"]] == ["user-unknown", "command-not-in-path"]
    assert b"not built: 2 errors" in done.stderr
    done = shared_home.cli(
        "build", "app:/app", "--user", "me", "-o", "oci:image", "--report", "github", cwd=context
    )
    ((name, at, _),) = commands(done.stdout.decode())
    assert (name, at) == ("error", {"file": "app", "line": "1", "title": "user-unknown"})
    (context / "Containerfile").write_text('FROM scratch\nCOPY app /\nCMD ["/app"]\n')
    done = shared_home.cli(*build, "--report", "github", cwd=context)
    assert (done.returncode, done.stdout.count(b"\n"), (context / "image").exists()) == (0, 1, True)


def test_python_gets_the_same_judgement(context: Path) -> None:
    judgement = rs.check_file(context / "Containerfile", context, user="7:7")
    assert (judgement.subject, judgement.verdict) == (str(context / "Containerfile"), "fails")
    (finding,) = judgement.findings
    assert finding.location is not None
    assert (finding.rule, finding.location.line, finding.location.corrected) == (
        "command-not-in-path",
        4,
        'CMD ["/app"]',
    )
    words: dict[str, Any] = {"file": "x"}
    with pytest.raises(rs.UsageError, match="no keyword"):
        rs.check_file(context / "Containerfile", context, **words)


@pytest.mark.slow
def test_ten_thousand_lines_are_judged_in_seconds(shared_home: Home, context: Path) -> None:
    copies = "".join(f"COPY app /bin/{number}\n" for number in range(10_000))
    (context / "Containerfile").write_text(f'FROM scratch\n{copies}CMD ["/bin/1"]\n')
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = shared_home.cli("check", "-f", "Containerfile", cwd=context)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stdout) == (0, b"Containerfile: starts\n")
    # Others may have the processors: what counts is how long this had them.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5
