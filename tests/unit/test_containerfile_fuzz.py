"""Whatever a Containerfile holds, it is read: never an exception, and every span stands where its text does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from buildkit_parser import is_read_the_same
from hypothesis import assume, example, given
from hypothesis import strategies as st

from rootless_scratch.containerfile.expanding import (
    ExpandError,
    expand,
    expand_body,
    expansion,
    split_expanded,
    variables_of,
)
from rootless_scratch.containerfile.parsing import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.containerfile.document import Document, Instruction, Span, Token

pytestmark = pytest.mark.slow

NAMES = ("FROM", "COPY", "ADD", "RUN", "ENV", "LABEL", "ARG", "CMD", "HEALTHCHECK", "ONBUILD", "SHELL", "USER")
PIECES = st.sampled_from(
    [
        *(f"\n{name} " for name in NAMES),
        *" \t\n\r\\`'\"=$[],#<-{}\ufeff\u00a0",
        *("\\\n", "\\ \r\n", "# c\n", "--x", "--chown=1", "--", '"a"', "a", "B=c", "ä"),
        *("<<E", "<<-'E'", "\nE\n", "${A:-", "CMD", "NONE", "AS x"),
    ]
)
FILES = st.one_of(
    st.text(),
    st.builds(str.__add__, st.sampled_from(["", "FROM scratch", "# escape=`\n"]), st.lists(PIECES).map("".join)),
)
VARIABLES = st.dictionaries(st.sampled_from("ABC"), st.text(max_size=8), max_size=3)
RAWS = st.one_of(
    st.text(),
    st.lists(st.sampled_from([*"$ABab'\"\\ <*?{}:#%/+-`", "${", "${A", ":-", "//", "##", "%%"])).map("".join),
)


def instructions(document: Document) -> Iterator[Instruction]:
    outer = [*document.global_arguments]
    outer += [each for stage in document.stages for each in (stage.begin, *stage.instructions)]
    for each in outer:
        inner: Instruction | None = each
        while inner:
            yield inner
            inner = inner.inner


def tokens(instruction: Instruction) -> Iterator[Token]:
    yield from instruction.tokens
    yield from (token for pair in instruction.pairs for token in pair if token)
    yield from (heredoc.opening for heredoc in instruction.heredocs if heredoc.opening)


def standing_at(lines: list[str], span: Span) -> str:
    if span.line == span.end_line:
        return lines[span.line - 1][span.column - 1 : span.end_column - 1]
    first, *between = lines[span.line - 1 : span.end_line - 1]
    return "\n".join([first[span.column - 1 :], *between, lines[span.end_line - 1][: span.end_column - 1]])


def joined(text: str, escape: str) -> str:
    """Continued lines as one, with the comments and the blank lines between them gone."""
    first, *others = text.split("\n")
    whole = first
    for line in others:
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        whole = whole.rstrip("\r").rstrip(" \t").removesuffix(escape) + line
    return whole


@given(FILES)
@example("FROM a\nCOPY <<E \\\n# c\n b\nE")
@example("\ufeff")
def test_any_text_is_a_document(text: str) -> None:
    document = parse(text, "Containerfile")
    lines = document.text.split("\n")
    assert document.stages or document.faults
    spans = [fault.span for fault in document.faults]
    for each in instructions(document):
        spans += [each.span, *(flag.span for flag in each.flags), *(heredoc.span for heredoc in each.heredocs)]
        assert each.span.end_line <= each.last_line <= max(len(lines), 1)
        for token in tokens(each):
            spans.append(token.span)
            assert joined(standing_at(lines, token.span), document.escape) == token.raw
        for heredoc in each.heredocs:
            body = standing_at(lines, heredoc.span)
            assert re.sub(r"[\t\r\n]", "", heredoc.body) == re.sub(r"[\t\r\n]", "", body)
    for span in spans:
        assert (1, 1) <= (span.line, span.column) <= (span.end_line, span.end_column)
        assert span.end_line <= len(lines)
        assert span.end_column <= len(lines[span.end_line - 1]) + 1


@given(
    st.builds(str.__add__, st.sampled_from(["", "FROM scratch", "# escape=`\n"]), st.lists(PIECES).map("".join))
)
def test_buildkits_own_parser_reads_the_same(text: str) -> None:
    # Known to differ are text behind an array, blanks behind `<<`, flags beyond ASCII, and their escapes.
    assume(text.isascii() and "]" not in text and "<< " not in text and not ("`" in text and "\\" in text))
    assert is_read_the_same(text)


@given(FILES)
def test_a_file_with_other_ends_of_lines_is_the_same(text: str) -> None:
    text = text.replace("\r", "")
    one, other = parse(text, "Containerfile"), parse(text.replace("\n", "\r\n"), "Containerfile")
    assert [each.text for each in instructions(one)] == [each.text for each in instructions(other)]
    assert [each.span for each in one.faults] == [each.span for each in other.faults]


@given(FILES, FILES)
def test_what_is_read_of_a_file_does_not_depend_on_what_follows(text: str, more: str) -> None:
    before = parse(f"FROM a\nUSER 1\n{text}", "Containerfile")
    after = parse(f"FROM a\nUSER 1\n{text}\n\n{more}", "Containerfile")
    assert before.stages[0].begin == after.stages[0].begin
    assert before.stages[0].instructions[:1] == after.stages[0].instructions[:1]


@given(RAWS, VARIABLES, st.sampled_from("\\`"))
def test_expanding_gives_a_text_or_its_one_error(raw: str, variables: dict[str, str], escape: str) -> None:
    for function in (expand, split_expanded, expand_body, expansion):
        error = None
        try:
            function(raw, variables, escape=escape)
        except ExpandError as caught:
            error = caught
        assert error is None or 0 <= error.offset <= len(raw)
    for use in variables_of(raw, escape=escape):
        assert raw[use.start] == "$"
        assert raw[use.start : use.end].lstrip("${") == use.name.lstrip("${")


@given(st.text(alphabet=st.characters(exclude_characters="$'\"\\<")))
def test_a_text_without_anything_special_stays_as_it_is(text: str) -> None:
    assert expand(text, {}) == text


@given(st.text(alphabet=st.characters(exclude_characters="'")))
def test_single_quotes_keep_everything(text: str) -> None:
    assert expand(f"'{text}'", {"A": "b"}) == text
