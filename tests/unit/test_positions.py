"""Keys and values of TOML are found where they are written: tomllib, which reads them, does not say where."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_specfile_faults import LINES

from rootless_scratch.image.plan.positions import Position, positions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.image.plan.positions import Path

DOCUMENT = '''\
# a comment with [a.header] and "quotes
title = "a # in it" # ] behind
"quoted \\"key\\"" . 'sub' = 1

[ table . "a b" ]
multi = """
[no.header]
key = "no key" \\"""
ends with two "" """""
raw = \'\'\'
'a' \'\'\' # behind
array = [ # comment ]
  "one", 2,
  [3, {four = 4, "five.six" = [5]}],
]
date = 1979-05-27 07:32:00Z
[[several]]
name = 1
[several.inner]
x = 1
[[several]]
name = 2
[[several.parts]]
y = 1
[[several.parts]]
y = 2
'''


def test_each_key_and_value_is_found() -> None:
    found = positions(DOCUMENT)
    lines = DOCUMENT.splitlines()

    def key(*path: str | int) -> tuple[int, str]:
        line, column = found.keys[path]
        return line, lines[line - 1][column - 1 :]

    def value(*path: str | int) -> str:
        line, column = found.values[path]
        return lines[line - 1][column - 1 :]

    assert key("title")[0] == 2
    assert key('quoted "key"', "sub") == (3, "'sub' = 1")
    assert value('quoted "key"', "sub") == "1"
    assert key("table", "a b") == (5, '"a b" ]')
    assert value("table", "a b", "multi") == '"""'
    assert key("table", "a b", "raw")[0] == 10
    assert value("table", "a b", "array", 0) == '"one", 2,'
    assert value("table", "a b", "array", 1) == "2,"
    assert value("table", "a b", "array", 2, 1, "five.six", 0) == "5]}],"
    assert key("several", 0, "inner", "x") == (20, "x = 1")
    assert key("several", 1, "name") == (22, "name = 2")
    assert key("several", 1, "parts", 1, "y") == (26, "y = 2")
    assert found.of(("several", 1, "nowhere")) == Position(21, 1)
    assert found.of(("nowhere",)) == Position(1, 1)


def paths(value: Any, path: Path = ()) -> Iterator[Path]:  # noqa: ANN401 - of TOML
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def test_it_is_all_that_tomllib_reads() -> None:
    assert positions(DOCUMENT).keys.keys() == set(paths(tomllib.loads(DOCUMENT)))


@given(text=st.lists(LINES, max_size=8).map("\n".join))
def test_of_any_toml_each_key_has_its_position(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except ValueError:
        return
    found = positions(text.replace("\r\n", "\n"))
    assert found.keys.keys() == set(paths(document))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_end_as_on_any_system(end: str) -> None:
    text = f'a = "b"{end}# c{end}[d]{end}e = """{end}f"""{end}  g = 1{end}'
    assert positions(text).keys["d", "g"] == (6, 3)
