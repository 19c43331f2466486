"""The JSON Schema of `scratch.toml`: what editors accept is what `--spec` reads."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_specfile_faults import LINES, WRONG

from rootless_scratch.errors import ScratchError
from rootless_scratch.image.plan.specfile import read_images
from rootless_scratch.image.plan.specschema import KEYS, misfits, schema
from rootless_scratch.verbs.schema import schema_text

if TYPE_CHECKING:
    from conftest import Home

SOURCE = Path(__file__).resolve().parents[2]
VALIDATOR = jsonschema.Draft7Validator(schema())
PAGES = sorted([*SOURCE.glob("*.md"), *SOURCE.glob("docs/**/*.md")])


def examples(page: Path) -> list[str]:
    """The blocks of TOML that are files of ours; those of recipes begin with `kind` or a table of theirs."""
    blocks = re.findall(r"^```toml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [] if page.name == "recipes.md" else blocks


EXAMPLES = [(page.name, text) for page in PAGES for text in examples(page)]


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(schema())


def test_the_documents_have_examples() -> None:
    assert {"spec.md", "README.md"} <= {name for name, _ in EXAMPLES}


@pytest.mark.parametrize(("name", "text"), EXAMPLES)
def test_every_example_of_the_documents_is_valid_and_is_read(name: str, text: str, tmp_path: Path) -> None:
    VALIDATOR.validate(tomllib.loads(text))
    (tmp_path / "scratch.toml").write_text(text)
    assert read_images(str(tmp_path / "scratch.toml"), environ={}), name


VALUES: tuple[Any, ...] = (
    "text",
    "",
    7,
    -1,
    1.5,
    True,
    [],
    ["a"],
    ["a", 7],
    [True],
    [["a"]],
    {},
    {"A": "b"},
    {"A": 7},
    {"A": ["b"]},
    {"A": {"programs": ["a"], "copy": ["a:/b"]}},
    {"A": {"programs": "a"}},
    {"A": {"tag": "a"}},
    {"A": {"env": {"B": "c"}, "with": "tmp", "output": []}},
    {"a b": {}},
    {"A": [{"b": "c"}, 1]},
    {"A": [{"b": ["c"]}]},
    {"a-b": {}},
    {"1": "a"},
)


def agrees(document: dict[str, Any]) -> None:
    told = [each.path for each in misfits(document)]
    assert VALIDATOR.is_valid(document) is not bool(told), (document, told)


@pytest.mark.parametrize("key", [*KEYS, "image", "group", "name", "matrix", "inherits", "variables", "progams"])
def test_each_value_of_each_key_is_accepted_by_both_or_by_none(key: str) -> None:
    for value in VALUES:
        agrees({key: value})
        agrees({"image": {"web": {key: value}}})
        agrees({"image": {"web": {}}, key: value})


LEAVES: st.SearchStrategy[Any] = st.one_of(st.text(max_size=3), st.integers(), st.booleans(), st.just(0.5))
NAMES = st.sampled_from(
    [*KEYS, "image", "group", "matrix", "inherits", "variables", "web", "A", "1", "a b", "linux/amd64"]
)
TREES: st.SearchStrategy[Any] = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3))
)


# The first text is slow to make where others are at work.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(document=st.dictionaries(NAMES, TREES, max_size=4))
def test_any_document_is_accepted_by_both_or_by_none(document: dict[str, Any]) -> None:
    agrees(document)


@settings(suppress_health_check=[HealthCheck.too_slow])
@example(text='group = {A = [], "a b" = [[]]}\n[image.web]')
@given(text=st.lists(LINES, max_size=6).map("\n".join))
def test_what_is_read_is_valid(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "read.toml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read_images(str(file), environ={})
    except ScratchError:
        return
    VALIDATOR.validate(tomllib.loads(text))


def test_what_is_not_valid_is_refused() -> None:
    wrong = {error.json_path for error in VALIDATOR.iter_errors(tomllib.loads(WRONG))}
    assert "$.image.web.ports[2]" in wrong
    assert "$.image.web['bundle-libraries']" in wrong or '$.image.web["bundle-libraries"]' in wrong


def test_the_verb_prints_it_for_editors(shared_home: Home) -> None:
    done = shared_home.cli("schema")
    assert (done.returncode, done.stdout.decode()) == (0, schema_text())
    assert done.stdout == (SOURCE / "docs/scratch.schema.json").read_bytes()
    answer = shared_home.json("schema")
    assert answer["schema"] == 1
    assert answer["json_schema"] == json.loads(schema_text())
