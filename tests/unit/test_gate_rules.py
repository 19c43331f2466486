"""Every rule that the source speaks of is documented: what, why, how detected, fix, source."""

from __future__ import annotations

import re
from pathlib import Path

from rootless_scratch.rules.containerfile.noted import CASES

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("**What.**", "**Why.**", "**Detected by.**", "**Fix.**", "**Source.**")
HOST = "host-"


def source() -> str:
    package = ROOT / "rootless_scratch"
    files = [
        *(package / "rules").rglob("*.py"),
        *(package / "engine").rglob("*.py"),
        *(package / "containerfile").rglob("*.py"),
        *package.glob("recipes/*.toml"),
    ]
    files.append(package / "image" / "recipes.py")
    return "\n".join(file.read_text() for file in files)


def emitted() -> set[str]:
    by_keyword = re.findall(r'\brule ?= ?"([^"{}]+)"', source())
    by_place = re.findall(r'\b(?:finding\(|Fact\(what=)\s*"([^"{}]+)"', source())
    return {*by_keyword, *by_place, *CASES}


def sections() -> dict[str, str]:
    _, *parts = re.split(r"^###? ", (ROOT / "docs" / "rules.md").read_text(), flags=re.MULTILINE)
    return {part.partition("\n")[0].strip("`"): part for part in parts if part.startswith("`")}


def test_every_rule_on_programs_and_images_has_a_section() -> None:
    assert {rule for rule in emitted() if not rule.startswith(HOST)} <= set(sections())


def test_every_rule_on_hosts_is_in_the_table_of_hosts() -> None:
    text = (ROOT / "docs" / "hosts.md").read_text()
    assert [rule for rule in emitted() if rule.startswith(HOST) and f"`{rule}`" not in text] == []


def test_every_section_belongs_to_a_rule_of_the_source() -> None:
    text = source()
    assert [rule for rule in sections() if f'"{rule}"' not in text] == []


def test_every_section_says_what_why_how_what_to_do_and_who_says_so() -> None:
    for rule, text in sections().items():
        assert [part for part in PARTS if part not in text] == [], rule


def test_every_rule_is_named_by_a_test() -> None:
    files = [file for file in (ROOT / "tests").rglob("*.py") if file != Path(__file__).resolve()]
    texts = "\n".join(file.read_text() for file in files)
    named = set(re.findall(r"""["\[]([a-z0-9]+(?:-[a-z0-9]+)*)["\]]""", texts))
    assert sorted({*emitted(), *sections()} - named) == []


def test_rule_ids_are_words_with_hyphens() -> None:
    for rule in emitted():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule), rule
