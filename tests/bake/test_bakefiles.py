"""A docker-bake.hcl of a team that comes from `docker buildx bake` means here what it means there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from bakefiles import targets
from planning import refusal

from rootless_scratch.bakefiles.reading import read_targets
from rootless_scratch.errors import SpecFileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conftest import Home


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


VARIABLES = """
variable "NAME" { default = "shop" }
variable "COUNT" { default = 2 }
variable "ON" { default = true }
variable "NONE" {}
variable "NULL" { default = null }
variable "LIST" {
  type = list(string)
  default = ["a"]
}
variable "PAIRS" {
  type = map(number)
  default = { a = 1 }
}
variable "ALSO" { default = "${NAME}-${COUNT + 1}" }
BASE = "base/${NAME}"
target "default" {
  args = {
    a = NAME, b = COUNT * 2, c = ON, d = "[${NONE}]", e = NULL
    f = join("+", LIST), g = PAIRS.a, h = ALSO, i = BASE
  }
}
"""


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {"a": "shop", "b": "4", "c": "true", "d": "[]", "f": "a", "g": "1", "h": "shop-3", "i": "base/shop"}),
        (
            {"NAME": "x", "COUNT": "5", "ON": "false"},
            {"a": "x", "b": "10", "c": "false", "h": "x-6", "i": "base/x"},
        ),
        ({"LIST": 'x,"y,z"', "PAIRS": "a=7", "NULL": "set"}, {"f": "x+y,z", "g": "7", "e": "set"}),
        ({"LIST_JSON": '["p", "q"]', "PAIRS_JSON": '{"a": 3}'}, {"f": "p+q", "g": "3"}),
        (
            {"BASE": "no", "BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP": "1", "NAME": "no"},
            {"a": "shop", "i": "base/shop"},
        ),
    ],
)
def test_variables_have_defaults_types_and_what_the_environment_says(
    environ: Mapping[str, str], expected: Mapping[str, str]
) -> None:
    args = targets(VARIABLES, environ=environ)["default"]["args"]
    assert {key: args[key] for key in expected} == expected
    assert ("e" in args) == ("NULL" in environ)


def test_a_variable_is_set_by_the_command_line_before_the_environment() -> None:
    assert targets(VARIABLES, settings=("NAME=cli",), environ={"NAME": "x"})["default"]["args"]["a"] == "cli"
    refusal(lambda: targets(VARIABLES, settings=("NAMES=x",)), UsageError)


TARGETS = """
group "default" { targets = ["app", "more"] }
group "more" { targets = ["tool", "each"] }
target "_base" {
  args = { A = 1, B = 2 }
  labels = { "org.example.team" = "shop" }
  tags = ["base"]
  annotations = ["a=1"]
  platforms = ["linux/amd64"]
  secret = ["id=token,env=TOKEN"]
}
target "_release" {
  args = { B = 3 }
  annotations = ["b=2"]
}
target "app" {
  inherits = ["_base", "_release"]
  args = { C = target._base.args.A, A = null }
  tags = ["shop/app:1", "shop/app:1"]
  contexts = { tools = "target:tool" }
}
target "tool" {
  dockerfile = "tool.Dockerfile"
  no-cache = true
}
target "each" {
  name = "each-${item.name}-${replace(version, ".", "-")}"
  matrix = {
    item = [{ name = "a", stage = "one" }, { name = "b", stage = "two" }]
    version = ["1.0", "2.0"]
  }
  target = item.stage
  tags = ["shop/${item.name}:${version}"]
}
"""


def test_targets_inherit_are_grouped_and_come_of_a_matrix() -> None:
    found = targets(TARGETS)
    assert list(found) == ["app", "tool", "each-a-1-0", "each-a-2-0", "each-b-1-0", "each-b-2-0"]
    assert found["app"] == {
        "annotations": ["a=1", "b=2"],
        "context": ".",
        "contexts": {"tools": "target:tool"},
        "dockerfile": "Dockerfile",
        "args": {"A": "1", "B": "3", "C": "1"},
        "labels": {"org.example.team": "shop"},
        "tags": ["shop/app:1"],
        "secret": [{"id": "token", "env": "TOKEN"}],
        "platforms": ["linux/amd64"],
    }
    assert found["each-b-2-0"]["target"] == "two"
    assert list(targets(TARGETS, "tool", "each-*-1-0")) == ["tool", "each-a-1-0", "each-b-1-0"]
    # What another needs comes along.
    assert list(targets(TARGETS, "app")) == ["app", "tool"]


OTHERS = """
target "default" {
  args = { A = target.each-1.tags[0], B = target.plain.name, C = target.plain.dockerfile }
}
target "plain" { cache-from = ["shop/cache"] }
target "of" {
  name = "each-${n}"
  matrix = { n = [1] }
  tags = ["of:${n}"]
  target = target.plain.cache-from[0].ref
}
"""


def test_attributes_of_other_targets_are_there_by_their_names() -> None:
    found = targets(OTHERS, "default", "each-1")
    assert found["default"]["args"] == {"A": "of:1", "B": "plain"}
    assert found["each-1"]["target"] == "shop/cache"


def test_what_is_printed_has_the_form_of_the_other_tool(shared_home: Home, directory: Path) -> None:
    (directory / "docker-bake.hcl").write_text(TARGETS)
    done = shared_home.cli("bake", "--print", "more", cwd=directory)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert list(shown) == ["group", "target"]
    assert shown["group"] == {
        "default": {"targets": ["more"]},
        "each": {"targets": ["each-a-1-0", "each-a-2-0", "each-b-1-0", "each-b-2-0"]},
        "more": {"targets": ["tool", "each"]},
    }
    assert shown["target"]["tool"] == {"context": ".", "dockerfile": "tool.Dockerfile", "no-cache": True}


@pytest.mark.parametrize(
    ("settings", "name", "key", "expected"),
    [
        (("app.tags=x", "app.tags=y"), "app", "tags", ["x", "y"]),
        (("app.tags+=x",), "app", "tags", ["shop/app:1", "x"]),
        (("*.platform=linux/arm64",), "tool", "platforms", ["linux/arm64"]),
        (("app.args.B=9",), "app", "args", {"A": "1", "B": "9", "C": "1"}),
        (("app.args.B",), "app", "args", {"A": "1", "B": "there", "C": "1"}),
        (("_base.labels.x=y",), "app", "labels", {"org.example.team": "shop", "x": "y"}),
        (("app.secret.token=src=file",), "app", "secret", [{"id": "token", "src": "file"}]),
        (("tool.no-cache=false",), "tool", "no-cache", False),
        (("app.contexts.tools=",), "app", "contexts", None),
        (("tool.network=host",), "tool", "entitlements", ["network.host"]),
        (("tool.output=type=oci,dest=a.tar",), "tool", "output", [{"type": "oci", "dest": "a.tar"}]),
        (("tool.push=true",), "tool", "output", [{"type": "image", "push": "true"}]),
        (("each-a*.target=last",), "each-a-1-0", "target", "last"),
    ],
)
def test_values_are_set_from_outside(settings: tuple[str, ...], name: str, key: str, expected: object) -> None:
    assert targets(TARGETS, settings=settings, environ={"B": "there"})[name].get(key) == expected


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("nobody.tags=x", "nobody"),
        ("app.nothing=x", "nothing"),
        ("app.args=x", "names no entry"),
        ("app.tags.x=y", "names an entry"),
        ("app.platforms=x", "platforms"),
        ("tool.pull=maybe", "true or false"),
        ("app.secret.other=env=X", "has no secret"),
        ("app.tags", "no value"),
    ],
)
def test_what_cannot_be_set_is_usage(setting: str, told: str) -> None:
    assert told in refusal(lambda: targets(TARGETS, settings=(setting,)), UsageError).message


def test_files_are_one_the_later_before_the_earlier(directory: Path) -> None:
    (directory / "a.hcl").write_text(
        'variable "V" { default = "a" }\ngroup "default" { targets = ["x"] }\n'
        'target "x" {\n  tags = ["a"]\n  labels = { a = "a", b = "a" }\n  args = { V = V }\n}\n'
    )
    (directory / "b.json").write_text(
        json.dumps(
            {
                "variable": {"V": {"default": "b"}},
                "target": {"x": {"tags": ["b:${V}"], "labels": {"b": "b"}}, "y": {"inherits": ["x"]}},
            }
        )
    )
    found = read_targets(("a.hcl", "b.json"), environ={})
    assert dict(found.targets[0].shown) == {
        "context": ".",
        "dockerfile": "Dockerfile",
        "args": {"V": "b"},
        "labels": {"a": "a", "b": "b"},
        "tags": ["b:b"],
    }
    assert [each.name for each in read_targets(("a.hcl", "b.json"), ("y",), environ={}).targets] == ["y"]


def test_files_are_looked_for_where_the_other_tool_looks(directory: Path) -> None:
    (directory / "docker-bake.override.hcl").write_text('target "default" { tags = ["over"] }\n')
    (directory / "docker-bake.json").write_text('{"target": {"default": {"tags": ["json"], "target": "t"}}}')
    (directory / "compose.yaml").write_text("services:\n  web:\n    build: .\n")
    (directory / "docker-compose.yml").write_text("services:\n  old:\n    build: .\n")
    found = read_targets(environ={})
    assert found.path == "compose.yaml, docker-bake.json, docker-bake.override.hcl"
    assert [each.name for each in found.targets] == ["web"]


@pytest.mark.parametrize(
    ("attribute", "told"),
    [
        ('shm-size = "1g"', "shm-size"),
        ('ulimits = ["nofile=1"]', "ulimits"),
        ('extra-hosts = { a = "1.2.3.4" }', "extra-hosts"),
        ('resources = { memory = "1g" }', "resources"),
        ('no-cache-filter = ["a"]', "no-cache-filter"),
        ('policy = [{ filename = "a.rego" }]', "policy"),
        ('attest = ["type=provenance,mode=max"]', "provenance"),
        ('call = "outline"', "call"),
        ('entitlements = ["security.insecure"]', "security.insecure"),
        ('context = "https://example.com/a.git"', "not fetched"),
        ('contexts = { a = "https://example.com/a.tar" }', "not fetched"),
        ('annotations = ["index:a=b"]', "only manifests"),
        ('platforms = ["nothing at all"]', "not a platform"),
        ('network = "bridge of mine"', "network"),
        ("nonsense = 1", "nonsense"),
        ("tags = [MISSING]", "MISSING"),
        ("tags = [bcrypt(1)]", "not supported here"),
        ("tags = [unknown(1)]", "does not exist"),
        ("tags = 1", "a list is wanted"),
        ('pull = "perhaps"', "true or false"),
        ("args = { a = [1] }", "a string is wanted"),
        ('name = "x"', "matrix"),
        ("matrix = { a = 1 }", "a list is wanted"),
        ('name = "same"\n  matrix = { a = [1, 2] }', "Two targets"),
        ('name = "a b"\n  matrix = { a = [1] }', "not a name"),
        ("tags = [target.default.tags[0]]", "refers to itself"),
        ('inherits = ["nobody"]', "nobody"),
    ],
)
def test_what_cannot_be_done_is_named_with_its_line(attribute: str, told: str) -> None:
    with pytest.raises((SpecFileError, UsageError)) as raised:
        targets(f'target "default" {{\n  {attribute}\n}}')
    assert told in str(raised.value)
    if isinstance(raised.value, SpecFileError):
        assert all(fault.path == "docker-bake.hcl" and fault.line in (1, 2, 3) for fault in raised.value.faults)


def test_all_faults_are_told_at_once_in_their_order() -> None:
    text = 'variable "A" {\n  type = number\n  default = "x"\n}\ntarget "default" {\n  foo = 1\n  tags = [B]\n}\n'
    error = refusal(lambda: targets(text), SpecFileError)
    assert isinstance(error, SpecFileError)
    assert [fault.line for fault in error.faults] == [1, 6, 7]


DEEP = f'x = {"(" * 999}1{")" * 999}\ntarget "default" {{\n  target = x\n}}\n'


@pytest.mark.parametrize(
    "text", ['target "a" {', 'target "a" "b" {}', 'x = "${', "target { }", "@", 'nothing "a" {}', "\x00", DEEP]
)
def test_what_is_not_a_bake_file_is_a_fault_with_its_place(text: str) -> None:
    error = refusal(lambda: targets(text), SpecFileError)
    assert error.message.startswith("docker-bake.hcl:")


def test_json_that_is_nested_too_deeply_is_a_fault(directory: Path) -> None:
    for depth in (300, 900, 100_000):
        text = f'{{"target": {{"default": {{"tags": {"[" * depth}{"]" * depth}}}}}}}'
        (directory / "deep.json").write_text(text)
        refusal(lambda: read_targets(("deep.json",), environ={}), SpecFileError)


def test_validations_hold_and_caches_are_noted() -> None:
    text = """
variable "PORT" {
  default = 80
  validation {
    condition = PORT > 0 && PORT < 65536
    error_message = "${PORT} is not a port."
  }
}
target "default" {
  cache-from = ["type=gha"]
  args = { PORT = PORT }
}
"""
    assert targets(text, environ={"PORT": "443"})["default"]["args"] == {"PORT": "443"}
    with pytest.raises(SpecFileError, match=r"docker-bake\.hcl:4:3: .*: 0 is not a port\."):
        targets(text, environ={"PORT": "0"})
    (note,) = read_targets(("docker-bake.hcl",), environ={}).notes
    assert note.startswith("docker-bake.hcl:10: `cache-from`")


def test_contexts_that_need_each_other_are_told() -> None:
    text = (
        'target "default" { contexts = { b = "target:b" } }\ntarget "b" { contexts = { a = "target:default" } }\n'
    )
    assert "default -> b -> default" in refusal(lambda: targets(text), UsageError).message


def test_paths_may_be_relative_to_their_file(directory: Path) -> None:
    (directory / "sub").mkdir()
    (directory / "sub/bake.hcl").write_text('target "default" { dockerfile = "D" }\n')
    for environ, context in (({}, "."), ({"BUILDX_BAKE_FILE_RELATIVE_PATHS": "1"}, "sub")):
        (target,) = read_targets(("sub/bake.hcl",), environ=environ).targets
        assert target.file is not None
        assert (target.file.request.context, target.file.request.file) == (
            context,
            "D" if context == "." else "sub/D",
        )


def test_a_file_without_targets_is_told_so(shared_home: Home, directory: Path) -> None:
    (directory / "docker-bake.json").write_text('{"target": {}}')
    done = shared_home.cli("bake", "-o", "oci:out", cwd=directory)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        "rootless-scratch: 'docker-bake.json' has neither a group nor a target `default`.",
        "  fix: Name a file that describes targets.",
    ]
