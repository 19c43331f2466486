"""A compose file of a team says how its services are built, and `bake` builds those that end in scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from planning import refusal

from rootless_scratch.bakefiles.interpolation import interpolated, variables_of
from rootless_scratch.bakefiles.reading import read_targets
from rootless_scratch.bakefiles.values import Misfit
from rootless_scratch.errors import SpecFileError

if TYPE_CHECKING:
    from pathlib import Path

COMPOSE = """
x-common: &common
  args:
    - MODE=live
    - TOKEN
    - LEVEL
services:
  web:
    image: "example.com/shop/web:${TAG:-latest}"
    environment: { LEVEL: debug }
    build:
      <<: *common
      context: ./web
      dockerfile: web.Dockerfile
      target: final
      labels: [org.example.team=shop]
      platforms: [linux/amd64, linux/arm64]
      secrets: [key]
      additional_contexts: { tools: "service:tool.box" }
      ssh: [default]
      cache_from: [example.com/shop/cache]
  tool.box:
    build: .
  inherited:
    extends: { service: web }
    build:
      tags: ["example.com/shop/other:${MAJOR?needed}"]
      dockerfile_inline: |
        FROM scratch
        ENV A=$$B
  database:
    image: postgres
secrets:
  key: { file: ./key.txt }
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    (tmp_path / ".env").write_text("# of the team\nTAG=env\nexport MAJOR='3' # three\nTOKEN=\"a$MAJOR\"\n")
    return tmp_path


def shown(*names: str, **environ: str) -> dict[str, Any]:
    return {each.name: dict(each.shown) for each in read_targets(names=names, environ=environ).targets}


def test_services_with_a_build_are_targets() -> None:
    found = shown()
    assert list(found) == ["web", "tool_box", "inherited"]
    assert found["web"] == {
        "context": "./web",
        "contexts": {"tools": "target:tool_box"},
        "dockerfile": "web.Dockerfile",
        "args": {"MODE": "live", "TOKEN": "a3", "LEVEL": "debug"},
        "labels": {"org.example.team": "shop"},
        "tags": ["example.com/shop/web:env"],
        "cache-from": [{"type": "registry", "ref": "example.com/shop/cache"}],
        "target": "final",
        "secret": [{"id": "key", "src": "./key.txt"}],
        "ssh": [{"id": "default"}],
        "platforms": ["linux/amd64", "linux/arm64"],
    }
    assert found["tool_box"] == {"context": ".", "dockerfile": "Dockerfile"}
    assert found["inherited"]["tags"] == ["example.com/shop/other:3"]
    assert found["inherited"]["dockerfile-inline"] == "FROM scratch\nENV A=$B\n"
    assert found["inherited"]["args"] == found["web"]["args"]
    assert list(shown("tool.box")) == ["tool_box"]


def test_the_environment_goes_before_the_file_of_variables() -> None:
    assert shown("web", TAG="outside")["web"]["tags"] == ["example.com/shop/web:outside"]


def test_several_files_are_one_and_a_bake_file_adds_to_them(directory: Path) -> None:
    (directory / "more.yml").write_text(
        "services:\n  web:\n    build:\n      args: { MODE: test }\n"
        "      x-bake: { tags: [one, two], no-cache: true }\n"
    )
    (directory / "docker-bake.hcl").write_text('target "web" { labels = { more = "yes" } }\n')
    (web,) = read_targets(("compose.yaml", "more.yml", "docker-bake.hcl"), ("web",), environ={}).targets
    found = dict(web.shown)
    assert found["args"] == {"MODE": "test", "TOKEN": "a3", "LEVEL": "debug"}
    assert found["labels"] == {"org.example.team": "shop", "more": "yes"}
    assert (found["tags"], found["no-cache"]) == (["one", "two"], True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("services: [", "compose.yaml:1"),
        (f"services:\n  a:\n    build: {{ context: '{'${A:-' * 999}{'}' * 999}' }}\n", "nested too deeply"),
        ("- a", "no services"),
        ("services:\n  a:\n    build:\n      context: .\n      nonsense: 1\n", "compose.yaml:5:7"),
        ("services:\n  a:\n    build:\n      privileged: true\n", "compose.yaml:4:7"),
        ("services:\n  a:\n    build: [1]\n", "a path or a map"),
        ("services:\n  a:\n    build: { shm_size: 1g }\n", "compose.yaml:3:14"),
        ("services:\n  a:\n    build: { provenance: true }\n", "provenance attestation"),
        ("services:\n  a:\n    build: { context: '${X' }\n", "no end"),
        ("services:\n  a:\n    build: { context: '${X:?gone}' }\n", "gone"),
        ("services:\n  a:\n    extends: { file: b.yaml, service: a }\n", "another file"),
        ("services:\n  a:\n    extends: b\n    build: .\n", "no service 'b'"),
        ("services:\n  a: { extends: b, build: . }\n  b: { extends: a }\n", "extends itself"),
        ("include: [b.yaml]\nservices: {}\n", "include"),
        ("services:\n  a:\n    build: { secrets: [s] }\nsecrets: { s: { external: true } }\n", "external"),
    ],
)
def test_what_cannot_be_done_is_told_with_its_line(directory: Path, text: str, told: str) -> None:
    (directory / "compose.yaml").write_text(text)
    error = refusal(lambda: read_targets(environ={}), SpecFileError)
    assert told in error.message
    assert "compose.yaml:" in error.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A-${A}", "x-x"),
        ("${B:-d}${B-e}${C:-f}${C-g}", "def"),
        ("${A:+set}${B:+set}${C+there}", "setthere"),
        ("${B:-${A}y}", "xy"),
        ("$$A $${A}", "$A ${A}"),
    ],
)
def test_variables_are_put_in_as_compose_does(text: str, expected: str) -> None:
    assert interpolated(text, {"A": "x", "C": ""}) == expected


@pytest.mark.parametrize("text", ["$", "$1", "${", "${A", "${A!b}", "${N:?}"])
def test_what_is_no_variable_is_told(text: str) -> None:
    with pytest.raises(Misfit):
        interpolated(text, {})


def test_files_of_variables_have_quotes_and_comments() -> None:
    content = 'A=1 # one\nB=\'$A # no\'\nC="a\\n$A"\n\n# D=1\nE: 2\nF="two\nlines"\nG=${A}b\n'
    found = {"A": "1", "B": "$A # no", "C": "a\n1", "E": "2", "F": "two\nlines", "G": "1b"}
    assert variables_of(content, {}) == found
    with pytest.raises(Misfit):
        variables_of("not a line", {})
