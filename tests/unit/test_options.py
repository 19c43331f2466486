"""The tables of options, and what is made of them: each surface has every option, and the documents tell of it."""

from __future__ import annotations

import inspect
import json
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from planning import refusal

import rootless_scratch as rs
from rootless_scratch.cli.build import command as build
from rootless_scratch.cli.run import command as run
from rootless_scratch.cli.verify import command as verify
from rootless_scratch.engine.request.options import GROUPS, Options
from rootless_scratch.engine.request.request import Request
from rootless_scratch.errors import UsageError
from rootless_scratch.image.plan.options import OPTIONS, ImageOptions, spec_of
from rootless_scratch.image.plan.specfile import schema
from rootless_scratch.image.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(__file__).resolve().parents[2]
REFERENCE = runpy.run_path(str(SOURCE / "scripts/reference.py"))
NAMES = {option.name for option in OPTIONS}


def keywords(function: Callable[..., object]) -> dict[str, Any]:
    return {name: each.default for name, each in inspect.signature(function).parameters.items()}


def test_python_has_a_keyword_for_every_option() -> None:
    assert keywords(rs.build).keys() >= NAMES
    assert ImageOptions.__annotations__.keys() == NAMES - {"programs", "tag"}
    assert keywords(rs.Root.config).keys() - {"self"} <= NAMES


def test_what_python_is_not_given_is_as_a_spec_has_it() -> None:
    given = {name: default for name, default in keywords(rs.build).items() if name in NAMES - {"programs"}}
    assert spec_of(given) == Spec()


def test_every_field_of_a_spec_has_its_option() -> None:
    assert sorted(option.field for option in OPTIONS) == sorted(Spec.__struct_fields__)


def test_the_command_line_has_every_option_by_its_name_in_python() -> None:
    assert {param.name for param in verify.params} >= NAMES - {"tag"}


def test_a_run_has_every_option_by_the_same_name_everywhere() -> None:
    rows = [option for group in GROUPS.values() for option in group]
    names = [option.name for option in rows]
    assert sorted(names) == sorted(Options.__annotations__)
    assert {param.name for param in run.params} >= set(names)
    kept = set(Request.__struct_fields__) - {"image", "arguments", "beside"}
    assert sorted(option.field for option in rows) == sorted(kept)


def test_a_value_may_begin_with_a_dash() -> None:
    assert run.make_context("run", ["--name", "-t", "image"]).params["name"] == "-t"
    assert build.make_context("build", ["--sysroot", "-t"]).params["sysroot"] == "-t"


def test_an_option_that_there_is_not_is_named() -> None:
    words: dict[str, Any] = {"label": {"a": "b"}}
    error = refusal(lambda: rs.verify("oci:nowhere", "program", **words), UsageError)
    assert "'label'" in error.message
    assert "labels" in error.fix


@pytest.mark.parametrize(
    ("key", "value"),
    [("bundle-libraries", "no"), ("programs", "hello"), ("env", ["A=b"]), ("cmd", "serve"), ("workdir", ["/"])],
)
def test_the_schema_refuses_what_reading_refuses(key: str, value: object) -> None:
    (option,) = (option for option in OPTIONS if option.key == key)
    refusal(lambda: spec_of({option.name: value}), UsageError)
    assert {bool: "boolean", str: "string", list: "array"}[type(value)] not in schema()["properties"][key]["type"]


def test_the_schema_knows_every_key_and_no_other() -> None:
    assert schema()["properties"].keys() == {option.key for option in OPTIONS}
    assert schema()["additionalProperties"] is False


MADE = {"options.md": "options_page", "scratch.schema.json": "schema_file", "recipes.md": "recipes_page"}


@pytest.mark.parametrize("name", MADE)
def test_the_documents_are_made_of_the_tables(name: str) -> None:
    assert (SOURCE / "docs" / name).read_text() == REFERENCE[MADE[name]](), "run `python scripts/reference.py`"


def test_the_schema_is_json() -> None:
    assert json.loads(REFERENCE["schema_file"]())["title"] == "scratch.toml"
