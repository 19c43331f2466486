"""The line that a finding is about, as terminals and logs show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rootless_scratch.cli.excerpts import excerpt, header
from rootless_scratch.cli.output import print_findings
from rootless_scratch.findings import Finding, Location

if TYPE_CHECKING:
    import pytest


def shown(text: str, marked: str, corrected: str | None = None, *, line: int = 4) -> list[str]:
    column = text.index(marked) + 1
    location = Location(
        path="Containerfile",
        line=line,
        column=column,
        end_line=line,
        end_column=column + len(marked),
        text=text,
        corrected=corrected,
    )
    return [click.unstyle(each) for each in excerpt(location, "red")]


def test_the_offending_text_is_underlined_and_the_corrected_line_stands_below() -> None:
    assert shown("CMD helloworld", "helloworld", 'CMD ["/helloworld"]') == [
        "  4 | CMD helloworld",
        "    |     ^^^^^^^^^^",
        '  + | CMD ["/helloworld"]',
    ]


def test_line_numbers_of_any_length_keep_the_margin_straight() -> None:
    assert shown("USER app", "app", "USER 65532:65532\nWORKDIR /", line=1204) == [
        "  1204 | USER app",
        "       |      ^^^",
        "     + | USER 65532:65532",
        "     + | WORKDIR /",
    ]


def test_tabs_are_shown_as_the_columns_that_they_take() -> None:
    assert shown("COPY\ta\tb", "b") == ["  4 | COPY    a       b", "    |                 ^"]


def test_wide_characters_take_two_columns_and_marks_none() -> None:
    assert shown("COPY 文書 /x", "/x") == ["  4 | COPY 文書 /x", "    |           ^^"]
    assert shown("COPY e\u0301 /x", "/x")[1] == "    |        ^^"


def test_what_a_terminal_would_obey_is_shown_escaped_and_still_underlined() -> None:
    assert shown("COPY \x1b[2J /x", "/x") == ["  4 | COPY \\x1b[2J /x", "    |              ^^"]
    assert shown("COPY a\udcff /x", "/x") == ["  4 | COPY a\\udcff /x", "    |              ^^"]
    assert shown("COPY a b", "b", "COPY \x1b]0;a b")[2] == "  + | COPY \\x1b]0;a b"


def test_of_a_very_long_line_the_part_around_is_shown() -> None:
    line, underline = shown("COPY " + "a " * 500_000 + "wrong " + "b " * 500_000, "wrong")
    assert len(line) < 140
    assert line.index("wrong") == underline.index("^^^^^")
    assert line.startswith("  4 | ...")
    assert line.endswith("...")


def test_a_line_that_is_wrong_as_a_whole_is_underlined_within_the_terminal() -> None:
    _, underline = shown("RUN " + "a" * 5000, "RUN " + "a" * 5000)
    assert underline.count("^") <= 120


def test_what_goes_on_in_the_next_line_is_underlined_to_the_end_of_the_first() -> None:
    location = Location(path="f", line=2, column=5, end_line=3, end_column=4, text="CMD hello \\")
    assert [click.unstyle(each) for each in excerpt(location, "red")] == [
        "  2 | CMD hello \\",
        "    |     ^^^^^^^",
    ]


def test_a_line_that_is_not_there_is_not_shown() -> None:
    assert excerpt(Location(path="f", line=1, column=1, end_line=1, end_column=1), "red") == []


def test_names_of_files_are_shown_as_they_are_or_escaped() -> None:
    assert header(Location(path="a/b", line=3, column=7, end_line=3, end_column=8)) == "a/b:3:7"
    assert header(Location(path="a\n", line=3, column=7, end_line=3, end_column=8)) == "a\\n:3:7"


def test_a_finding_begins_with_its_line_and_ends_with_its_fix(capsys: pytest.CaptureFixture[str]) -> None:
    location = Location(path="Containerfile", line=4, column=1, end_line=4, end_column=4, text="CMD a")
    finding = Finding(
        rule="shell-form", severity="error", subject="/bin/sh", message="It is.", fix="Mend it.", location=location
    )
    print_findings([finding])
    assert capsys.readouterr().err.splitlines() == [
        "Containerfile:4:1: error: It is. [shell-form]",
        "  4 | CMD a",
        "    | ^^^",
        "  fix: Mend it.",
    ]
