"""Variables, quotes and escapes come to what BuildKit makes of them, and errors say where."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from rootless_scratch.containerfile.expanding import (
    DEEPEST,
    LONGEST,
    Budget,
    ExpandError,
    expand,
    expand_body,
    expansion,
    split_expanded,
    variables_of,
)

CORPUS = tomllib.loads(
    (Path(__file__).resolve().parents[1] / "containerfiles/expanding/expanding.toml").read_text()
)


def rows(kind: str, key: str) -> list[Any]:
    return [
        pytest.param(group, row, id=f"{group['name']} {row if isinstance(row, str) else row[0]}")
        for group in CORPUS[kind]
        for row in group[key]
    ]


def escape_of(group: dict[str, Any]) -> str:
    return str(group.get("escape", "\\"))


@pytest.mark.parametrize(("group", "row"), rows("texts", "rows"))
def test_a_text_is_expanded(group: dict[str, Any], row: list[str]) -> None:
    assert expand(row[0], group["variables"], escape=escape_of(group)) == row[1]


@pytest.mark.parametrize(("group", "raw"), rows("texts", "errors"))
def test_what_cannot_be_expanded_is_told(group: dict[str, Any], raw: str) -> None:
    with pytest.raises(ExpandError) as caught:
        expand(raw, group["variables"], escape=escape_of(group))
    assert 0 <= caught.value.offset < len(raw)
    assert caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize(("group", "row"), rows("arguments", "rows"))
def test_white_space_of_values_parts_arguments(group: dict[str, Any], row: tuple[str, list[str]]) -> None:
    assert list(split_expanded(row[0], group["variables"])) == row[1]


@pytest.mark.parametrize(("group", "raw"), rows("arguments", "errors"))
def test_arguments_that_cannot_be_expanded_are_told(group: dict[str, Any], raw: str) -> None:
    with pytest.raises(ExpandError):
        split_expanded(raw, group["variables"])


@pytest.mark.parametrize(("group", "row"), rows("bodies", "rows"))
def test_quotes_in_a_heredoc_are_only_characters(group: dict[str, Any], row: list[str]) -> None:
    assert expand_body(row[0], group["variables"]) == row[1]


@pytest.mark.parametrize(("variables", "raw", "text", "undefined"), CORPUS["singles"][0]["rows"])
def test_variables_without_a_value_are_named(
    variables: dict[str, str], raw: str, text: str, undefined: list[str]
) -> None:
    found = expansion(raw, variables)
    assert found.text == text
    assert sorted(found.undefined) == sorted(undefined)


@pytest.mark.parametrize(("variables", "raw"), CORPUS["singles"][0]["errors"])
def test_errors_of_single_texts_are_told(variables: dict[str, str], raw: str) -> None:
    with pytest.raises(ExpandError):
        expand(raw, variables)


def test_an_error_stands_where_it_is() -> None:
    with pytest.raises(ExpandError) as caught:
        expand("a${B}c${D", {})
    assert caught.value.offset == 6
    with pytest.raises(ExpandError) as caught:
        expand("a${B:-'c}", {})
    assert caught.value.offset == 6


def test_a_demanded_value_is_told_with_the_files_own_reason() -> None:
    with pytest.raises(ExpandError) as caught:
        expand("${VERSION:?pass --build-arg VERSION}", {"VERSION": ""})
    assert caught.value.message == "The file demands a value of `VERSION`: pass --build-arg VERSION"
    assert "--build-arg VERSION=VALUE" in caught.value.fix


def test_variables_are_found_with_their_places() -> None:
    raw = "a$B '$C' \"${D:-${E}}\" \\$F ${G/x/y} $"
    assert [(use.name, raw[use.start : use.end], use.operator) for use in variables_of(raw)] == [
        ("B", "$B", ""),
        ("D", "${D", ":-"),
        ("E", "${E", ""),
        ("G", "${G", "/"),
    ]


def test_variables_of_a_heredoc_are_found_in_quotes_too() -> None:
    assert [use.name for use in variables_of("it's $A '$B'\n", body=True)] == ["A", "B"]


def test_variables_before_an_error_are_found() -> None:
    assert [use.name for use in variables_of("$A ${B ${C}")] == ["A"]


def test_a_variable_that_is_demanded_is_found_without_its_value() -> None:
    assert [use.name for use in variables_of("${A:?no} $B")] == ["A", "B"]


def test_nesting_has_an_end() -> None:
    deepest = "${A:-" * DEEPEST + "x" + "}" * DEEPEST
    assert expand(deepest, {}) == "x"
    with pytest.raises(ExpandError, match="nested deeper"):
        expand("${A:-" + deepest + "}", {})


def test_a_text_that_grows_without_end_is_refused() -> None:
    with pytest.raises(ExpandError, match="longer than"):
        expand("$A" * 2000, {"A": "x" * (LONGEST // 1000)})
    with pytest.raises(ExpandError, match="too long"):
        expand("${A//a/$B}", {"A": "a" * 10_000, "B": "b" * 10_000})


def test_a_file_that_grows_without_end_is_refused() -> None:
    budget = Budget(1500)
    value = expand("${A}", {"A": "x" * 300}, budget=budget)
    assert expand("${A#y}", {"A": value}, budget=budget) == value
    with pytest.raises(ExpandError, match="of this file"):
        expand("${A}", {"A": value}, budget=budget)


SLOW = {
    "${V#*a*a*a*a*a*a*b}": "a" * 100_000,
    "${V%*a*a*a*a*a*b}": "a" * 100_000,
    "${V//a*a*a*b/x}": "a" * 100_000,
    "${V/?a?a?b/x}": "a" * 100_000,
    "${V//*/x}": "a" * 100_000,
    "${V%%?*?*?*b}": "a" * 100_000,
}


@pytest.mark.parametrize("raw", SLOW)
def test_no_pattern_runs_away(raw: str) -> None:
    began = time.process_time()
    expand(raw, {"V": SLOW[raw]})
    assert time.process_time() - began < 1


def test_a_search_that_would_take_too_long_is_refused() -> None:
    with pytest.raises(ExpandError, match="too long to search"):
        expand("${V#*" + "?a" * 100 + "}", {"V": "a" * 100_000})
