"""The documents and the tree agree: links lead somewhere, what is named is there, examples still hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from test_imports import FLOORS, PACKAGE, SOURCE

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted([*SOURCE.glob("*.md"), *SOURCE.glob("docs/**/*.md")])
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)")
RECORD = re.compile(r"# (?P<number>\d{4})\. (?P<title>.+)\n\n(?P<date>\d{4}-\d\d-\d\d) · (?P<state>[^\n]+)\n")

NAMED = ("CONTRIBUTING.md", "docs/architecture.md")
"""Pages that lead to files; below these a path is meant."""

BELOW = ("", "rootless_scratch", "tests")


def name_of(page: Path) -> str:
    return page.relative_to(SOURCE).as_posix()


def records() -> dict[str, re.Match[str]]:
    found = {}
    for page in sorted(SOURCE.glob("docs/decisions/0*.md")):
        match = RECORD.match(page.read_text())
        assert match is not None, f"{page.name}: `# NUMBER. TITLE`, then `DATE · holds`"
        found[page.name] = match
    return found


def paths(text: str) -> list[str]:
    """What stands in code and looks like a file or a directory of the tree."""
    words = re.findall(r"`([^`\s]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return [word for word in words if re.fullmatch(r"[\w./-]+/|[\w./-]*\w\.(?:py|md|toml|sh|in|lock|yaml)", word)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{name_of(page)} links to {target}"


@pytest.mark.parametrize("name", NAMED)
def test_every_file_that_is_named_is_there(name: str) -> None:
    named = paths((SOURCE / name).read_text())
    assert named
    assert [path for path in named if not any((SOURCE / below / path).exists() for below in BELOW)] == []


def test_the_floors_of_the_picture_are_those_that_imports_are_held_to() -> None:
    text = (SOURCE / "docs/architecture.md").read_text()
    drawn = re.findall(r"^ +(\d+)  (\S.*)$", text, re.MULTILINE)
    assert {int(floor): set(units.split(" · ")) for floor, units in drawn} == dict(enumerate(FLOORS))


def test_every_unit_is_told_of_on_the_page_of_the_architecture() -> None:
    text = (SOURCE / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    told = {name.rstrip("/") for row in rows for name in re.findall("`(.*?)`", row)}
    units = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}
    rooms = {name for name in told if "/" in name}
    assert told - rooms == units - {"__init__", "__main__", "__pycache__"}
    assert [room for room in sorted(rooms) if not (PACKAGE / room / "__init__.py").is_file()] == []


def test_every_decision_is_dated_numbered_and_listed() -> None:
    found = records()
    assert [match["number"] for match in found.values()] == [f"{number:04}" for number in range(1, len(found) + 1)]
    rows = [
        f"| [{match['number']}]({name}) | {match['title']} | {match['date']} | {match['state']} |"
        for name, match in found.items()
    ]
    listed = (SOURCE / "docs/decisions/README.md").read_text().splitlines()
    assert [line for line in listed if line.startswith("| [")] == rows


def test_every_decision_says_what_it_was_about_and_what_follows() -> None:
    for name in records():
        text = (SOURCE / "docs/decisions" / name).read_text()
        assert re.findall(r"^\*\*(\w+)\.\*\* ", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], (
            name
        )


def test_the_examples_of_contributing_are_still_what_is_done() -> None:
    text = (SOURCE / "CONTRIBUTING.md").read_text()
    examples = re.findall(r"^```diff\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(examples) == text.count("\n### ")
    for example in examples:
        content = ""
        for line in example.splitlines():
            if line.startswith("+++ "):
                content = (SOURCE / line.removeprefix("+++ b/")).read_text()
            elif line.startswith("+"):
                assert line[1:] in content.splitlines(), f"renew the example: {line}"


def test_paths_are_told_from_other_words() -> None:
    assert paths("`a/b.py` and `elf/`, `Spec`, `cli`, `-o`, `podman run`\n```\n`no.py`\n```\n`x.md`") == [
        "a/b.py",
        "elf/",
        "x.md",
    ]
