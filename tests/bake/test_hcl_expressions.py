"""Expressions, templates and functions of HCL have the values here that they have for `docker buildx bake`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bakefiles import value

from rootless_scratch.errors import SpecFileError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('"a${upper("b")}c"', "aBc"),
        ("1 + 2 * 3 - 4 / 2", "5"),
        ("7 / 2", "3.5"),
        ("-(2 - 5) % 2", "1"),
        ("!(1 < 2 && 3 >= 3) || 2 != 2", "false"),
        ('"1" == 1 ? "same" : "other"', "other"),
        ('join("-", [for v in ["a", "", "b"] : upper(v) if v != ""])', "A-B"),
        ("jsonencode({for k, v in {b = 1, a = 2} : k => v * 2})", '{"a":4,"b":2}'),
        ('jsonencode({for v in ["x", "yy", "zz"] : strlen(v) => v...})', '{"1":["x"],"2":["yy","zz"]}'),
        ('([{n = "one"}, {n = "two"}][*].n)[1]', "two"),
        ('{a = ["x", "y"]}.a[0]', "x"),
        ('"%{ if 1 > 2 }no%{ else }yes%{ endif }"', "yes"),
        ('"%{ for i, v in ["a", "b"] }${i}=${v} %{ endfor }"', "0=a 1=b "),
        ('"%{ for v in ["a", "b"] ~}  ${v}%{ endfor }"', "ab"),
        ('"\\u00e9\\t\\"q\\" $$ $${x} %%{y}"', 'é\t"q" $$ $${x} %%{y}'),
        ("<<-END\n    one\n      two ${1 + 1}\n    END\n", "one\n  two 2\n"),
        ('<<END\n%{ if true }"yes"%{ endif } $${x}\nEND\n', '"yes" $${x}\n'),
        ('try(nothing.there, "instead")', "instead"),
        ("can(upper())", "false"),
        ('convert("3", number) + 1', "4"),
        ('replace("1.2.3", ".", "-")', "1-2-3"),
        ('format("%s-%03d-%.1f-%q-%%", "a", 7, 2.55, "b")', 'a-007-2.5-"b"-%'),
        ('regex_replace("v1.2", "v(\\\\d+)", "$${1}x")', "1x.2"),
        ('jsonencode(regexall("[a-z]+", "ab 12 cd"))', '["ab","cd"]'),
        ('jsonencode(setproduct(["a", "b"], [1, 2]))', '[["a",1],["a",2],["b",1],["b",2]]'),
        ('jsonencode(setsubtract(["c", "a", "b"], ["b"]))', '["a","c"]'),
        ("jsonencode(chunklist(range(5), 2))", "[[0,1],[2,3],[4]]"),
        ('element(["a", "b"], 3)', "b"),
        ('lookup({a = "x"}, "b", "none")', "none"),
        ('sanitize("a/b.c")', "a_b_c"),
        ('substr("hello", -3, 2)', "ll"),
        ('title("hello world")', "Hello World"),
        ('base64decode(base64encode("é"))', "é"),
        ("jsonencode(max([1, 9, 4]...))", "9"),
        ('jsonencode(zipmap(["a", "b"], [1, 2]))', '{"a":1,"b":2}'),
        ('coalesce(null, "", "x")', ""),
        ('indent(2, "a\\nb")', "a\n  b"),
        ('sha256("x")', "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"),
        ('parseint("ff", 16)', "255"),
        ('jsondecode("{\\"a\\": [1]}").a[0]', "1"),
        ('trim("xxaxx", "x")', "a"),
        ('dirname("/a/b/c")', "/a/b"),
        ("BAKE_CMD_CONTEXT", "cwd://"),
    ],
)
def test_expressions_have_the_values_of_hcl(expression: str, expected: str) -> None:
    assert value(expression) == expected


FUNCTIONS = """
function "twice" {
  params = [value]
  result = "${value}${value}"
}
function "tagged" {
  params = [name]
  variadic_params = others
  result = join(",", [for each in concat([name], others) : "shop/${twice(each)}"])
}
"""


def test_functions_of_the_file_take_arguments() -> None:
    assert value('tagged("a", "b")', FUNCTIONS) == "shop/aa,shop/bb"
    with pytest.raises(SpecFileError, match="takes 1 arguments"):
        value("twice()", FUNCTIONS)
