"""What `check` found, as code hosts read it: SARIF 2.1.0, GitHub's commands, GitLab's Code Quality."""

from __future__ import annotations

import os
import posixpath
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from rootless_scratch import __version__
from rootless_scratch.cli.excerpts import showable
from rootless_scratch.errors import redacted
from rootless_scratch.findings import Finding, Judgement, Location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rootless_scratch.errors import ScratchError

_SARIF: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {"error": "error", "warning": "warning", "info": "note"}
_COMMANDS: Final = {"error": "error", "warning": "warning", "info": "notice"}
_SEVERITIES: Final = {"error": "critical", "warning": "minor", "info": "info"}

Answer = tuple[str, "Judgement | ScratchError"]
"""A subject, and what was judged of it or why nothing could be."""


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """One finding, where it is shown; `fingerprint` stays while other lines of the file change."""

    finding: Finding
    location: Location
    is_line: bool
    fingerprint: str


def sarif(answers: Sequence[Answer]) -> dict[str, object]:
    """One run of SARIF 2.1.0, as GitHub's code scanning takes it."""
    found = list(_found(answers))
    rules: dict[str, Finding] = {}
    for each in found:
        rules.setdefault(each.finding.rule, each.finding)
    numbers = {rule: number for number, rule in enumerate(rules)}
    errors = [answer for _, answer in answers if not isinstance(answer, Judgement)]
    invocation: dict[str, object] = {"executionSuccessful": not errors}
    if errors:
        invocation["toolExecutionNotifications"] = [
            {
                "level": "error",
                "message": {"text": f"{error.message} {error.fix}"},
                "descriptor": {"id": error.kind},
            }
            for error in errors
        ]
    driver = {"name": "rootless-scratch", "version": __version__, "rules": [_rule(rules[rule]) for rule in rules]}
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"SRCROOT": {"uri": _file_uri(os.getcwd()) + "/"}},
        "results": [_result(each, numbers) for each in found],
    }
    return {"$schema": _SARIF, "version": "2.1.0", "runs": [run]}


def github(answers: Sequence[Answer]) -> str:
    """Workflow commands, a line each, which GitHub Actions shows at the lines of a pull request."""
    lines = []
    for each in _found(answers):
        finding, at = each.finding, each.location
        properties = {"file": _path(at.path), "line": at.line, "title": finding.rule}
        if each.is_line:
            end = {"endLine": at.end_line, "col": at.column}
            properties |= end | ({"endColumn": at.end_column} if at.end_line == at.line else {})
        lines.append(_command(_COMMANDS[finding.severity], properties, f"{finding.message}\nFix: {finding.fix}"))
    for subject, answer in answers:
        if not isinstance(answer, Judgement):
            lines.append(
                _command("error", {"title": answer.kind}, f"{subject}: {answer.message}\nFix: {answer.fix}")
            )
    return "\n".join(lines)


def gitlab(answers: Sequence[Answer]) -> list[dict[str, object]]:
    """A report of GitLab's Code Quality."""
    report = [
        _degradation(
            each.finding.rule,
            f"{each.finding.message} {each.finding.fix}",
            each.fingerprint,
            _SEVERITIES[each.finding.severity],
            each.location,
        )
        for each in _found(answers)
    ]
    for subject, answer in answers:
        if not isinstance(answer, Judgement):
            fingerprint = _digest(answer.kind, subject)
            description = f"{answer.message} {answer.fix}"
            report.append(_degradation(answer.kind, description, fingerprint, "critical", _of_subject(subject)))
    return report


def as_text(form: str, answers: Sequence[Answer]) -> str:
    """The report in the format of this name."""
    if form == "github":
        return github(answers)
    import json

    text = json.dumps((sarif if form == "sarif" else gitlab)(answers), indent=2)
    # Half of a surrogate pair stands for a byte that is not UTF-8, and readers refuse the whole report for one.
    return re.sub(r"\\udc[89a-f][0-9a-f]", _replaced, text)


def _replaced(escape: re.Match[str]) -> str:
    """U+FFFD for a lone low surrogate; one behind a high one is half of a character."""
    before = escape.string[max(0, escape.start() - 6) : escape.start()]
    return escape[0] if re.fullmatch(r"\\ud[89ab][0-9a-f]{2}", before) else "\\ufffd"


FORMATS: Final[tuple[str, ...]] = ("sarif", "github", "gitlab")


def _found(answers: Sequence[Answer]) -> Iterator[_Found]:
    seen: dict[str, int] = {}
    for subject, answer in answers:
        for finding in answer if isinstance(answer, Judgement) else ():
            location = finding.location or _of_subject(subject)
            key = _digest(finding.rule, _path(location.path), finding.subject, location.text.strip())
            seen[key] = seen.get(key, 0) + 1
            fingerprint = key if seen[key] == 1 else _digest(key, str(seen[key]))
            is_line = finding.location is not None
            yield _Found(finding=finding, location=location, is_line=is_line, fingerprint=fingerprint)


def _of_subject(subject: str) -> Location:
    """Where a finding without a line is shown: the program, the layout or the archive; of an image its name."""
    from rootless_scratch.image.references import is_reference, parse_reference

    path = parse_reference(subject).path if is_reference(subject) else subject.removeprefix("docker://")
    return Location(path=path, line=1, column=1, end_line=1, end_column=1)


def _digest(*parts: str) -> str:
    from hashlib import sha256

    return sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _path(path: str) -> str:
    """Relative to the working directory, where it lies in it: that is the repository's, for a code host."""
    if not path.startswith("/"):
        return posixpath.normpath(path)
    here = os.getcwd().rstrip("/") + "/"
    return posixpath.normpath(path.removeprefix(here))


def _file_uri(path: str) -> str:
    return "file://" + quote(os.fsencode(path))


def _artifact(location: Location) -> dict[str, object]:
    path = _path(location.path)
    if path.startswith("/"):
        return {"uri": _file_uri(path)}
    return {"uri": quote(os.fsencode(path)), "uriBaseId": "SRCROOT"}


def _rule(finding: Finding) -> dict[str, object]:
    name = "".join(part.capitalize() for part in finding.rule.split("-"))
    return {
        "id": finding.rule,
        "name": name,
        "shortDescription": {"text": _sentence(finding.rule)},
        "help": {"text": f"{finding.fix} The section `{finding.rule}` of docs/rules.md says more."},
        "defaultConfiguration": {"level": _LEVELS[finding.severity]},
    }


def _sentence(rule: str) -> str:
    return rule.replace("-", " ").capitalize() + "."


def _result(found: _Found, numbers: dict[str, int]) -> dict[str, object]:
    finding, at = found.finding, found.location
    physical: dict[str, object] = {"artifactLocation": _artifact(at), "region": _region(found)}
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": numbers[finding.rule],
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.message} {finding.fix}"},
        "locations": [{"physicalLocation": physical}],
        "partialFingerprints": {"rootlessScratch/v1": found.fingerprint},
    }
    if finding.subject:
        result["locations"][0]["logicalLocations"] = [{"fullyQualifiedName": finding.subject}]
    if found.is_line and at.corrected is not None and redacted(at.corrected) == at.corrected:
        # Without a column a region ends with its last line: section 3.30.8.
        lines: dict[str, object] = {"startLine": at.line, "startColumn": 1, "endLine": at.end_line}
        replacement = {"deletedRegion": lines, "insertedContent": {"text": at.corrected}}
        change = {"artifactLocation": _artifact(at), "replacements": [replacement]}
        result["fixes"] = [{"description": {"text": finding.fix}, "artifactChanges": [change]}]
    return result


def _region(found: _Found) -> dict[str, object]:
    at = found.location
    if not found.is_line:
        return {"startLine": 1}
    region: dict[str, object] = {"startLine": at.line, "startColumn": at.column}
    region |= {"endLine": at.end_line, "endColumn": at.end_column}
    return region | ({"snippet": {"text": at.text}} if at.text and at.line == at.end_line else {})


def _command(name: str, properties: dict[str, object], text: str) -> str:
    listed = ",".join(f"{key}={_escaped(str(value), ':,')}" for key, value in properties.items())
    return f"::{name} {listed}::{_escaped(text)}"


def _escaped(text: str, also: str = "") -> str:
    """Percent first: toolkit of actions, packages/core/src/command.ts."""
    escape: Callable[[re.Match[str]], str] = lambda char: f"%{ord(char[0]):02X}"  # noqa: E731 - typed
    # What else a terminal obeys would reach it in the log.
    text = "".join(char if char in "\r\n" else showable(char) for char in text)
    return re.sub(f"[%\r\n{also}]", escape, text)


def _degradation(
    name: str, description: str, fingerprint: str, severity: str, location: Location
) -> dict[str, object]:
    return {
        "description": description,
        "check_name": name,
        "fingerprint": fingerprint,
        "severity": severity,
        "location": {"path": _path(location.path), "lines": {"begin": location.line, "end": location.end_line}},
    }
