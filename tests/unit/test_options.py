"""The tables of options, and what is made of them: each surface has every option, and the documents tell of it."""

from __future__ import annotations

import collections.abc
import os
import runpy
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest
from planning import refusal

import rootless_scratch as rs
from rootless_scratch.cli.build import command as build
from rootless_scratch.cli.run import command as run
from rootless_scratch.cli.verify import command as verify
from rootless_scratch.containerfile.request import FileRequest
from rootless_scratch.engine.request.request import Request
from rootless_scratch.errors import UsageError
from rootless_scratch.image.kinds import options_set
from rootless_scratch.image.plan.specschema import schema
from rootless_scratch.image.spec import Copy, Spec, spec_of
from rootless_scratch.keywords import BuildOptions, ConfigOptions, FileOptions, ImageOptions, Options
from rootless_scratch.ship.access import Access
from rootless_scratch.verbs.options import OF_VERB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rootless_scratch.image.kinds import Table

SOURCE = Path(__file__).resolve().parents[2]
REFERENCE = runpy.run_path(str(SOURCE / "scripts/reference.py"))
OPTIONS = tuple(Spec.options.values())
NAMES = {option.name for option in OPTIONS}


def parsers(table: type[Table]) -> Iterator[Callable[..., object]]:
    for row in table.options.values():
        yield from (each for each in (row.kind.value, row.kind.from_flag) if each is not None)


def test_python_has_a_keyword_for_every_option() -> None:
    assert BuildOptions.__annotations__.keys() >= NAMES - {"programs"}
    assert ImageOptions.__annotations__.keys() == NAMES - {"programs", "tag", "sbom"}
    assert ConfigOptions.__annotations__.keys() <= NAMES


def test_a_containerfile_has_its_options_everywhere() -> None:
    names = FileRequest.options.keys() - {"file", "context"}
    assert FileOptions.__annotations__.keys() >= names
    assert {param.name for param in build.params} >= names - {"platform"} | {"file", "platforms"}
    assert [option.field for option in FileRequest.options.values()] == list(FileRequest.__annotations__)


def test_an_option_is_known_to_python_by_its_type() -> None:
    known = vars(collections.abc) | {"os": os}
    types = get_type_hints(BuildOptions, known, known)
    assert types["created"] == int | str | None
    assert types["ports"] == collections.abc.Iterable[int | str]


def test_every_field_has_its_option() -> None:
    assert [option.field for option in OPTIONS] == list(Spec.__annotations__)
    kept = set(Request.__annotations__) - {"image", "arguments", "beside", "pidns", "cgroups"}
    assert {option.field for option in Request.options.values()} == kept


@pytest.mark.parametrize("table", [Spec, Request, Access, FileRequest])
def test_what_reads_a_value_is_there(table: type[Table]) -> None:
    named = {where for function in parsers(table) for where in named_by(function)}
    assert named
    for where in named:
        module, _, name = where.partition(":")
        assert callable(getattr(import_module(f"rootless_scratch.{module}"), name))


def named_by(function: object) -> Iterator[str]:
    """The `module:name` that a reader of values was made of, however deep."""
    for cell in getattr(function, "__closure__", None) or ():
        if isinstance(cell.cell_contents, str) and ":" in cell.cell_contents:
            yield cell.cell_contents
        yield from named_by(cell.cell_contents)


def test_records_are_equal_by_their_fields_and_stay_as_they_are() -> None:
    spec = spec_of({"user": 7, "programs": ["program"]})
    assert spec == Spec(user="7", programs=(Copy(source="program"),)) != Spec()
    assert hash(spec) == hash(spec.but())
    assert "user='7'" in repr(spec)
    with pytest.raises(AttributeError, match="user"):
        spec.user = "0"  # type: ignore[misc]


def test_the_command_line_has_every_option_by_its_name_in_python() -> None:
    assert {param.name for param in verify.params} >= NAMES - {"tag", "sbom"}


def test_a_run_has_every_option_by_the_same_name_everywhere() -> None:
    assert Options.__annotations__.keys() == Request.options.keys()
    assert {param.name for param in run.params} >= Request.options.keys()


def test_a_value_may_begin_with_a_dash() -> None:
    assert run.make_context("run", ["--name", "-t", "image"]).params["name"] == "-t"
    assert build.make_context("build", ["--sysroot", "-t"]).params["sysroot"] == "-t"


@pytest.mark.parametrize(
    ("command", "flag", "word", "name", "value"),
    [
        ("push", "--tls-verify", "false", "tls_verify", False),
        ("push", "--retries", "0", "retries", 0),
        ("run", "--timeout", "0", "timeout", 0.0),
        ("run", "--cpus", "0", "cpus", 0.0),
        ("run", "--detach-keys", "", "detach_keys", ""),
    ],
)
def test_what_is_false_or_nothing_is_said_all_the_same(
    command: str, flag: str, word: str, name: str, value: object
) -> None:
    verb = import_module(f"rootless_scratch.cli.{command}").command
    words = verb.make_context(command, [flag, word, "image", "oci:place"]).params
    table: type[Table] = Access if command == "push" else Request
    assert options_set([table.options[name]], words) == {name: value}


def test_an_option_that_there_is_not_is_named() -> None:
    words: dict[str, Any] = {"label": {"a": "b"}}
    error = refusal(lambda: rs.verify("oci:nowhere", "program", **words), UsageError)
    assert "'label'" in error.message
    assert "labels" in error.fix


def test_programs_are_named_without_a_keyword() -> None:
    words: dict[str, Any] = {"programs": ["a"]}
    for call in (lambda: rs.build("b", tag="t", **words), lambda: rs.verify("oci:nowhere", "b", **words)):
        assert "keyword" in refusal(call, UsageError).message


def test_a_function_of_python_names_the_options_that_it_has() -> None:
    calls: list[tuple[Callable[..., Any], tuple[str, ...]]] = [
        (rs.build, ("labels", "program")),
        (rs.push, ("compress", "docker://localhost/a:b")),
        (rs.save, ("repair", "a.tar")),
        (rs.check, ("sysroot",)),
        (rs.scratch(tag="a").config, ("entrypoint",)),
    ]
    for function, (known, *rest) in calls:
        words = () if function.__name__ == "config" else ("image", *rest)
        error = refusal(lambda function=function, words=words: function(*words, lable=1), UsageError)  # type: ignore[misc]
        assert "'lable'" in error.message
        assert known in error.fix


@pytest.mark.parametrize("verb", OF_VERB)
def test_a_verb_has_each_of_its_options(verb: str) -> None:
    command = import_module(f"rootless_scratch.cli.{verb}").command
    flags = {param.name: set(param.opts) for param in command.params}
    for option in OF_VERB[verb]:
        assert flags[option.name] == set(option.flags)


@pytest.mark.parametrize(
    ("key", "value"),
    [("bundle-libraries", "no"), ("programs", "hello"), ("env", ["A=b"]), ("cmd", "serve"), ("workdir", ["/"])],
)
def test_the_schema_refuses_what_reading_refuses(key: str, value: object) -> None:
    (option,) = (option for option in OPTIONS if option.key == key)
    refusal(lambda: spec_of({option.name: value}), UsageError)
    assert {bool: "boolean", str: "string", list: "array"}[type(value)] not in schema()["properties"][key]["type"]


def test_the_schema_knows_every_key_and_no_other() -> None:
    keys = {option.key for option in OPTIONS} | {"output"}
    (image,) = (part["additionalProperties"] for key, part in schema()["properties"].items() if key == "image")
    assert schema()["properties"].keys() == keys | {"image", "group", "variables"}
    assert image["properties"].keys() == keys | {"name", "matrix", "inherits"}
    assert schema()["additionalProperties"] is image["additionalProperties"] is False


MADE = REFERENCE["MADE"]


@pytest.mark.parametrize("path", MADE)
def test_what_is_made_of_the_rows_is_as_they_are(path: str) -> None:
    assert (SOURCE / path).read_text() == MADE[path](), "run `python scripts/reference.py`"
