"""What a Containerfile is told about its lines without its context: each with the line and what to write there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from filecheck import Context

from rootless_scratch.containerfile.parsing import parse
from rootless_scratch.rules.containerfile.containerfiles import judge_document

if TYPE_CHECKING:
    from pathlib import Path

    from rootless_scratch.findings import Finding, Location


def judged(text: str) -> list[Finding]:
    return list(judge_document(parse(text, "Containerfile")))


def found(text: str) -> list[tuple[str, str, int]]:
    return [(each.rule, each.severity, place(each).line) for each in judged(text)]


def place(finding: Finding) -> Location:
    assert finding.location is not None
    return finding.location


def marked(finding: Finding) -> str:
    """What is underlined."""
    where = place(finding)
    return where.text[where.column - 1 : where.end_column - 1]


def test_a_sound_file_is_not_spoken_about() -> None:
    text = (
        "# syntax=docker/dockerfile:1\n"
        "ARG VERSION=1\n"
        "FROM golang:1.22 AS build\n"
        "WORKDIR /src\n"
        "COPY . .\n"
        "RUN [ -f go.mod ] && CGO_ENABLED=0 go build -o /app .\n"
        "FROM scratch\n"
        "COPY --from=build /app /app\n"
        "USER 65532:65532\n"
        'ENTRYPOINT ["/app", "--match", "^a$"]\n'
    )
    assert found(text) == []


def test_what_cannot_be_read_is_told_with_its_line_and_the_rest_is_still_judged() -> None:
    text = "FROM scratch\nCOPPY a /a\nMAINTAINER me\n"
    assert found(text) == [("containerfile-syntax", "error", 2), ("maintainer-deprecated", "info", 3)]


def test_a_malformed_line_is_told_once(tmp_path: Path) -> None:
    context = Context(tmp_path)
    assert context.rules("FROM scratch", "COPY app /", "FROM") == [("containerfile-syntax", 3)]


def test_a_maintainer_becomes_a_label() -> None:
    (finding,) = judged('FROM scratch\n  MAINTAINER Ann "A" <ann@example.org>\n')
    assert (finding.rule, marked(finding)) == ("maintainer-deprecated", 'MAINTAINER Ann "A" <ann@example.org>')
    assert place(finding).corrected == '  LABEL org.opencontainers.image.authors="Ann \\"A\\" <ann@example.org>"'


@pytest.mark.parametrize(
    ("line", "rule", "corrected"),
    [
        ('CMD ["/a"', "json-without-end", 'CMD ["/a"]'),
        ('CMD ["/a", "b', "json-without-end", 'CMD ["/a", "b"]'),
        ('ENTRYPOINT ["/a",', "json-without-end", 'ENTRYPOINT ["/a"]'),
        ('CMD ["/a",]', "json-not-valid", 'CMD ["/a"]'),
        ("CMD ['/a', 'b']", "json-not-valid", 'CMD ["/a", "b"]'),
        ("HEALTHCHECK --interval=5s CMD ['/a']", "json-not-valid", 'HEALTHCHECK --interval=5s CMD ["/a"]'),
        ('CMD ["/a"] # starts it', "json-with-rest", 'CMD ["/a"]'),
        ('CMD ["/a", "b"] c', "json-with-rest", None),
    ],
)
def test_what_is_almost_an_array_is_told_and_written_as_one(line: str, rule: str, corrected: str | None) -> None:
    (finding,) = judged(f"FROM busybox\n{line}\n")
    assert (finding.rule, finding.severity) == (rule, "warning")
    assert place(finding).corrected == corrected
    assert marked(finding) == line[line.index("[") :]


@pytest.mark.parametrize(
    "line",
    [
        'RUN [ -f /a ] && echo "b"',
        'RUN [ "$a" = b ] || exit 1',
        'RUN [ "$a" ] && true',
        "COPY [a-c]* /",
        'CMD ["/a", "^x$"]',
        'CMD [ "/a" ]',
        "CMD exec /a",
    ],
)
def test_a_test_of_the_shell_a_pattern_and_an_array_are_no_mistakes(line: str) -> None:
    assert found(f"FROM busybox\n{line}\n") == []


def test_run_finds_no_shell_in_a_stage_that_begins_with_nothing() -> None:
    (finding,) = judged("FROM scratch\nRUN apt-get update\nCOPY a /a\n")
    assert (finding.rule, finding.severity, marked(finding)) == ("run-in-scratch", "error", "apt-get update")
    assert "/bin/sh" in finding.message
    assert "COPY --from=STAGE" in finding.fix
    assert found('FROM scratch\nSHELL ["/busybox", "-c"]\nRUN ls\n') == [("run-in-scratch", "error", 3)]
    assert found('FROM scratch\nRUN ["/init"]\n') == [("run-in-scratch", "error", 2)]


@pytest.mark.parametrize(
    "text",
    [
        'FROM scratch\nCOPY own /own\nRUN ["/own"]\n',
        "FROM scratch\nADD rootfs.tar /\nRUN apk add x\n",
        "FROM scratch AS base\nCOPY sh /bin/\nFROM base\nRUN ls\n",
        "FROM scratch\nRUN --mount=from=busybox,target=/bin ls\n",
        "FROM busybox\nRUN ls\n",
    ],
)
def test_run_of_what_the_stage_may_have_is_no_mistake(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "line",
    [
        "ENV API_KEY=abc123",
        "ENV DB_PASSWORD hunter2",
        "ENV A=b GITHUB_TOKEN=ghp_abc",
        "ARG NPM_TOKEN=abc",
        "ENV AWS_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY",
    ],
)
def test_a_secret_in_a_variable_is_told(line: str) -> None:
    (finding,) = judged(f"FROM scratch\n{line}\n")
    assert (finding.rule, finding.severity) == ("secret-in-variable", "warning")
    assert marked(finding) in ("API_KEY", "DB_PASSWORD", "GITHUB_TOKEN", "NPM_TOKEN", "AWS_SECRET_ACCESS_KEY")


@pytest.mark.parametrize(
    "line",
    [
        "ARG NPM_TOKEN",
        "ARG NPM_TOKEN=",
        "ARG NPM_TOKEN=$OTHER",
        "ENV PASSWORD_FILE=/run/secrets/password",
        "ENV SSL_KEY=/etc/ssl/key.pem",
        "ENV TOKEN_TTL=3600",
        "ENV PUBLIC_KEY=abc",
        "ENV AUTH_TOKEN_HEADER=X-Token",
        "ENV COMPASS=north PASSAGE=x",
        "ENV USE_PASSWORD=true",
    ],
)
def test_a_variable_that_only_sounds_like_a_secret_is_let_be(line: str) -> None:
    assert found(f"FROM scratch\n{line}\n") == []
