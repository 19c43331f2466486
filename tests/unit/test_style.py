"""Help, messages and pages use the words of docs/style.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).resolve().parents[2]
MODULES = sorted((SOURCE / "rootless_scratch").rglob("*.py"))
PAGES = sorted(
    page
    for page in (*SOURCE.glob("*.md"), *SOURCE.glob("docs/**/*.md"))
    if page.name not in ("style.md", "CHANGELOG.md")
)

AVOIDED = (
    r"[Ww]hat is started",
    r"[Ww]ho runs it",
    r"[Ww]here it starts",
    r"[Ww]hat ends it",
    r"place for data",
    r"shall belong",
    r"vouch",
    r"[Ll]et the (file|output) be\b",
    r"\bshall\b",
    r"\bunasked\b",
    r"(?<![Tt]here )\bis no (ELF|[a-z]+ of|file|list|loader|name|number|option|path|program|regular|size|tar)\b",
    r"cannot be understood",
    r"\banew\b",
    r"\bbreaks? off\b|\bbroke off\b",
    r"names? of hosts?\b",
    r"certificates of authorities",
    r"map of holes",
    r"\bto be had\b",
    r"(^|[.;,] |\bor )[Ss]ay (-|`|[a-z]+=)",
    r"\bwords?\b(?! size)",
)
"""Phrases that were once there, as regular expressions; docs/style.md has what is said in their place."""

RIDDLES = frozenset({"word", "words", "said", "told", "asked", "given", "Place"})
NO_PLACES = ("backends/", "cli/", "ship/", "verbs/", "command.py", "private.py", "tether.py")
"""Where a path, a directory or an output is meant, and called so; the rules speak of places in an image."""

WORDS_OF_BITS = ("elf/dynamic.py", "elf/symbols.py", "image/capabilities.py")


def texts(source: str) -> Iterator[tuple[int, str]]:
    """The strings of a module that users may read: all but docstrings, with the line that each begins on."""
    tree = ast.parse(source)
    apart = {
        id(node)
        for outer in ast.walk(tree)
        for node in ([outer.value] if isinstance(outer, ast.Expr) else [])
        if isinstance(node, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in apart:
            yield node.lineno, node.value


def avoided(text: str) -> list[str]:
    return [phrase for phrase in AVOIDED if re.search(phrase, text)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_what_users_read_is_said_in_the_words_of_the_field(path: Path) -> None:
    found = {line: phrases for line, text in texts(path.read_text()) if (phrases := avoided(text))}
    assert found == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_written_in_the_words_of_the_field(page: Path) -> None:
    found = {number: line for number, line in enumerate(page.read_text().splitlines(), 1) if avoided(line)}
    assert found == {}


def names(source: str) -> set[str]:
    """The names that a module gives or uses, without leading underscores."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        name = next(
            (each for key in ("id", "arg", "attr", "name") if isinstance(each := getattr(node, key, None), str)),
            "",
        )
        found.add(name.lstrip("_"))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_names_say_what_they_stand_for(path: Path) -> None:
    allowed = {"word", "words"} if path.as_posix().endswith(WORDS_OF_BITS) else set()
    within = path.relative_to(SOURCE / "rootless_scratch").as_posix()
    avoided = RIDDLES | {"place", "places"} if within.startswith(NO_PLACES) else RIDDLES
    assert names(path.read_text()) & avoided <= allowed


def test_the_test_sees_what_it_forbids() -> None:
    source = 'def f():\n    """It shall be."""\n    say(\n        f"{x} shall belong to"\n    )\n'
    assert [(line, avoided(text)) for line, text in texts(source) if avoided(text)] == [
        (4, ["shall belong", r"\bshall\b"])
    ]
    assert names("def f(words, *, said=1):\n    return self._told(given=Place)") >= RIDDLES - {"word", "asked"}
