"""Reports for code hosts: SARIF for GitHub's code scanning, workflow commands, GitLab's Code Quality."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import jsonschema
import pytest
import tinyelf

from rootless_scratch.cli.reports import github, gitlab, sarif
from rootless_scratch.errors import SourceError
from rootless_scratch.findings import Finding, Judgement, Location

if TYPE_CHECKING:
    from conftest import Home

SCHEMAS = Path(__file__).resolve().parents[1] / "schemas"
GLIBC = "/lib64/ld-linux-x86-64.so.2"


def valid(document: object, schema: str) -> None:
    """As the schema has it; that of SARIF is the structure of the one in `sarif-om` 1.0.4, without its texts."""
    found = json.loads((SCHEMAS / schema).read_text())
    jsonschema.validators.validator_for(found)(found).validate(document)


def judged(*findings: Finding, subject: str = "Containerfile") -> tuple[str, Judgement]:
    return subject, Judgement(subject=subject, verdict="fails", findings=findings)


def in_line(text: str, *, line: int = 4, path: str = "Containerfile", **more: Any) -> Finding:  # noqa: ANN401
    location = Location(path=path, line=line, column=5, end_line=line, end_column=len(text) + 1, text=text, **more)
    return Finding(
        rule="shell-form",
        severity="error",
        subject="/bin/sh",
        message="No shell.",
        fix="Mend it.",
        location=location,
    )


def commands(report: str) -> list[tuple[str, dict[str, str], str]]:
    """What the runner reads: ActionCommand.TryParseV2 of actions/runner; %0D, %0A, %3A, %2C and %25 are undone."""
    found = []
    for line in report.splitlines():
        match = re.fullmatch(r"::(\w+) ([^\r\n]*?)::([^\r\n]*)", line)
        assert match, line
        properties = dict(pair.split("=", 1) for pair in match[2].split(","))
        found.append((match[1], {key: unquote(value) for key, value in properties.items()}, unquote(match[3])))
    return found


def test_code_scanning_gets_the_region_and_what_to_write_there() -> None:
    report: Any = sarif([judged(in_line("CMD hello", corrected='CMD ["/hello"]'))])
    valid(report, "sarif-2.1.0-rtm.4.json")
    (run,) = report["runs"]
    (rule,) = run["tool"]["driver"]["rules"]
    assert (rule["id"], rule["defaultConfiguration"]) == ("shell-form", {"level": "error"})
    (result,) = run["results"]
    assert (result["ruleId"], result["ruleIndex"], result["level"]) == ("shell-form", 0, "error")
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "Containerfile", "uriBaseId": "SRCROOT"}
    region = place["region"]
    assert [region[key] for key in ("startLine", "startColumn", "endLine", "endColumn")] == [4, 5, 4, 10]
    (change,) = result["fixes"][0]["artifactChanges"]
    (replacement,) = change["replacements"]
    assert replacement["deletedRegion"] == {"startLine": 4, "startColumn": 1, "endLine": 4}
    assert replacement["insertedContent"] == {"text": 'CMD ["/hello"]'}


def test_names_of_files_become_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = ["./a b/Containerfile", str(tmp_path / "x%"), "/elsewhere/é"]
    report: Any = sarif([judged(*(in_line("CMD a", path=path) for path in paths))])
    valid(report, "sarif-2.1.0-rtm.4.json")
    uris = [
        each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for each in report["runs"][0]["results"]
    ]
    assert uris == ["a%20b/Containerfile", "x%25", "file:///elsewhere/%C3%A9"]


def test_a_workflow_command_survives_every_character_of_names_and_messages() -> None:
    finding = in_line("CMD a", path="a,b:c%/Containerfile")
    finding = Finding(
        rule="r", severity="warning", subject="s", message="50% of\na, b: c", fix="f", location=finding.location
    )
    (command,) = commands(github([judged(finding)]))
    assert command == (
        "warning",
        {
            "file": "a,b:c%/Containerfile",
            "line": "4",
            "title": "r",
            "endLine": "4",
            "col": "5",
            "endColumn": "6",
        },
        "50% of\na, b: c\nFix: f",
    )


def test_the_severities_are_those_of_each_host() -> None:
    findings = [
        Finding(rule="r", severity="error", subject="s", message="m", fix="f"),
        Finding(rule="r", severity="warning", subject="s", message="m", fix="f"),
        Finding(rule="r", severity="info", subject="s", message="m", fix="f"),
    ]
    answers = [judged(*findings)]
    levels: Any = sarif(answers)
    assert [each["level"] for each in levels["runs"][0]["results"]] == ["error", "warning", "note"]
    assert [name for name, _, _ in commands(github(answers))] == ["error", "warning", "notice"]
    assert [each["severity"] for each in gitlab(answers)] == ["critical", "minor", "info"]


def test_a_fingerprint_stays_when_lines_are_added_above_and_two_are_never_the_same() -> None:
    before = gitlab([judged(in_line("CMD a", line=4))])
    after = gitlab([judged(in_line("CMD a", line=9))])
    assert [each["fingerprint"] for each in before] == [each["fingerprint"] for each in after]
    twice = gitlab([judged(in_line("CMD a", line=4), in_line("CMD a", line=9), in_line("CMD b", line=10))])
    valid(twice, "gitlab-code-quality.json")
    assert len({str(each["fingerprint"]) for each in twice}) == 3
    assert twice[0]["fingerprint"] == before[0]["fingerprint"]


def test_what_cannot_be_read_is_in_every_report() -> None:
    answers = [("gone", SourceError("There is no 'gone'.", fix="Name a file."))]
    report: Any = sarif(answers)
    valid(report, "sarif-2.1.0-rtm.4.json")
    (run,) = report["runs"]
    assert not run["invocations"][0]["executionSuccessful"]
    assert "no 'gone'" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
    assert commands(github(answers))[0][2] == "gone: There is no 'gone'.\nFix: Name a file."
    valid(gitlab(answers), "gitlab-code-quality.json")
    assert gitlab(answers)[0]["location"] == {"path": "gone", "lines": {"begin": 1, "end": 1}}


@pytest.mark.parametrize(
    ("subject", "path"),
    [
        ("oci:build/image:latest", "build/image"),
        ("docker-archive:image.tar", "image.tar"),
        ("docker://quay.io/app:1", "quay.io/app:1"),
        ("localhost/app:1", "localhost/app:1"),
    ],
)
def test_a_finding_about_an_image_is_shown_at_its_name(
    subject: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    finding = Finding(rule="no-command", severity="error", subject="entrypoint", message="m", fix="f")
    answers = [judged(finding, subject=subject)]
    valid(sarif(answers), "sarif-2.1.0-rtm.4.json")
    valid(gitlab(answers), "gitlab-code-quality.json")
    assert gitlab(answers)[0]["location"] == {"path": path, "lines": {"begin": 1, "end": 1}}
    assert commands(github(answers))[0][1]["file"] == path


def test_nothing_found_is_an_empty_report() -> None:
    valid(sarif([judged()]), "sarif-2.1.0-rtm.4.json")
    assert github([judged()]) == ""
    assert gitlab([judged()]) == []


def test_check_writes_one_report_of_all_subjects(shared_home: Home, tmp_path: Path) -> None:
    static = tinyelf.write(tmp_path / "static")
    dynamic = tmp_path / "dynamic"
    dynamic.write_bytes(tinyelf.elf(interpreter=GLIBC, needed=["libc.so.6"]))
    subjects = [str(static), str(dynamic), str(tmp_path / "gone")]
    done = shared_home.cli("check", "--format", "sarif", *subjects)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    valid(report, "sarif-2.1.0-rtm.4.json")
    assert [each["ruleId"] for each in report["runs"][0]["results"]] == ["needs-loader"]
    quality = json.loads(shared_home.cli("check", "--format", "gitlab", *subjects).stdout)
    valid(quality, "gitlab-code-quality.json")
    assert [each["check_name"] for each in quality] == ["needs-loader", "source"]
    (first, second) = commands(shared_home.cli("check", "--format", "github", *subjects).stdout.decode())
    assert (first[0], first[1]["title"], second[1]["title"]) == ("error", "needs-loader", "source")
    done = shared_home.cli("check", "--format", "github", str(static))
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_single_subject_that_cannot_be_read_is_reported_too(shared_home: Home, tmp_path: Path) -> None:
    done = shared_home.cli("check", "--format", "gitlab", str(tmp_path / "gone"))
    assert done.returncode == 1
    assert b"does not exist" in done.stderr
    assert [each["check_name"] for each in json.loads(done.stdout)] == ["source"]


def test_a_format_that_there_is_not_is_refused_with_those_that_there_are(shared_home: Home) -> None:
    done = shared_home.cli("check", "--format", "xml", "/bin/true")
    assert done.returncode == 2
    assert b"The formats are sarif, github, gitlab." in done.stderr
    done = shared_home.cli("check", "--format", "sarif", "--json", "/bin/true")
    assert done.returncode == 2
    assert b"Leave one of them out" in done.stderr
