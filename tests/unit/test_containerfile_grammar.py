"""A Containerfile is read as BuildKit reads it: small files of every shape, each with the right answer."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import dockerfile
import pytest
from buildkit_parser import by_buildkit, by_us, instructions, is_read_the_same
from outlines import outline

from rootless_scratch.containerfile.parsing import parse
from rootless_scratch.containerfile.reading import MOST_FAULTS

GRAMMAR = Path(__file__).resolve().parents[1] / "containerfiles/grammar"
CASES: dict[str, dict[str, str]] = {
    f"{path.stem}: {case['name']}": case
    for path in sorted(GRAMMAR.glob("*.toml"))
    for case in tomllib.loads(path.read_text())["case"]
}


@pytest.mark.parametrize("name", CASES)
def test_a_file_is_read_right(name: str) -> None:
    assert outline(parse(CASES[name]["file"], "Containerfile")) == CASES[name]["answer"]


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 250


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "differs" not in case])
def test_buildkits_own_parser_reads_the_same(name: str) -> None:
    assert is_read_the_same(CASES[name]["file"])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "differs" in case])
def test_what_is_said_to_differ_does(name: str) -> None:
    document = parse(CASES[name]["file"], "Containerfile")
    try:
        theirs = by_buildkit(CASES[name]["file"])
    except dockerfile.GoParseError:
        assert not document.faults
        return
    assert by_us(document) != theirs


@pytest.mark.parametrize("name", CASES)
def test_original_is_what_stands_in_the_file(name: str) -> None:
    document = parse(CASES[name]["file"], "Containerfile")
    lines = document.text.split("\n")
    for each in instructions(document):
        first = lines[each.span.line - 1][each.span.column - 1 :]
        whole = "\n".join([first, *lines[each.span.line : each.last_line]])
        assert each.original == whole.removesuffix("\r")
        if each.inner and each.name == "ONBUILD":
            assert each.original.endswith(each.inner.original)


def test_ten_thousand_lines_are_read_at_once() -> None:
    began = time.process_time()
    document = parse("FROM scratch\n" + "COPY --chown=1 a b /c/\n" * 10_000, "Containerfile")
    assert time.process_time() - began < 1.5
    assert len(document.stages[0].instructions) == 10_000


HUGE = {
    "one line of 1 MB": "FROM scratch\nRUN " + "a b " * 250_000,
    "200,000 lines are continued": "FROM scratch\nRUN a \\\n" + " b\\\n" * 200_000,
    "200,000 variables are set": "FROM scratch\nENV " + "a=b " * 200_000,
    "an array of 200,000 strings has no end": "FROM scratch\nCMD [" + '"a",' * 200_000,
    "variables are nested 200,000 times": "FROM scratch\nRUN <<E " + "${a:-" * 200_000,
    "quotes are opened 500,000 times": "FROM scratch\nENV a=" + "\"'" * 500_000,
    "1,000,000 backslashes": "FROM scratch\nENV a=" + "\\" * 1_000_000,
    "a heredoc in each of 50,000 lines has no end": "FROM scratch\n" + "COPY <<E /\n" * 50_000,
    "no line is an instruction": "a\n" * 200_000,
    "each flag is wrong": "FROM scratch\nCOPY " + "--a " * 200_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_a_file_that_is_huge_is_read_at_once(text: str) -> None:
    began = time.process_time()
    document = parse(text, "Containerfile")
    assert time.process_time() - began < 3
    assert len(document.faults) <= MOST_FAULTS + 1


def test_more_faults_than_anybody_reads_are_counted() -> None:
    *first, last = parse("FROM scratch\n" + "X\n" * 150, "Containerfile").faults
    assert len(first) == MOST_FAULTS
    assert last.message == "There are 50 parts more that cannot be read."


def test_every_fault_says_what_to_do() -> None:
    for case in CASES.values():
        for fault in parse(case["file"], "Containerfile").faults:
            assert fault.message.endswith(".")
            assert fault.fix.endswith(".")
            assert not fault.message.endswith("..")


@pytest.mark.parametrize(
    ("malformed", "instruction"),
    [("FORM", "FROM"), ("COPPY", "COPY"), ("ENTRYPONT", "ENTRYPOINT"), ("EVN", "ENV"), ("WORKDIT", "WORKDIR")],
)
def test_a_slip_of_the_keyboard_is_recognised(malformed: str, instruction: str) -> None:
    [fault] = parse(f"FROM scratch\n{malformed} a b\n", "Containerfile").faults
    assert fault.fix == f"Write {instruction}."
