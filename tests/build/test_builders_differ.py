"""Where a good guess is wrong: what we do, what buildah does, and what docker does, row by row."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from builders import BESIDE, EPOCH, REFUSED, WAYS, Result, by_buildah, by_us, make_context, write
from differing import ALIKE, DIFFERENT, Row
from filecheck import place

from rootless_scratch.containerfile.request import FileRequest
from rootless_scratch.verbs.check_file import check_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Home

PAGE = Path(__file__).parents[2] / "docs/containerfile.md"


ROWS = (*DIFFERENT, *ALIKE)
IDS = [f"{re.sub(r'[^A-Za-z0-9]+', '-', row.topic).strip('-')}" for row in ROWS]
ELSEWHERE = {"SOURCE_DATE_EPOCH", "the same in a stage with RUN"}
"""Rows that say again what that of the time of files says, or that need a RUN (test_file_buildah.py)."""


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("differ")
    make_context(directory / "plain")
    for name, ignores in (
        ("ignored", {".dockerignore": "a.txt", ".containerignore": "b.txt"}),
        ("named", {".dockerignore": "b.txt", BESIDE: "a.txt"}),
    ):
        (directory / name).mkdir()
        for path, content in ({"a.txt": "a", "b.txt": "b"} | ignores).items():
            (directory / name / path).write_text(content)
    (directory / "returned/private").mkdir(mode=0o700, parents=True)
    for name, content in (("private/f", "f"), ("private/other", "o"), (".dockerignore", "private\n!private/f")):
        (directory / "returned" / name).write_text(content)
    return directory


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url(contexts: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(contexts / "plain"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))


def text_of(row: Row, url: str) -> str:
    lines = row.lines.replace("{url}", url)
    return f"{lines}\n" if lines.startswith("#") else f"FROM scratch\n{lines}\n"


def answer(row: Row, image: Result | None) -> object:
    return REFUSED if image is None else row.ask(image)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_each_way_answers_as_the_page_says(row: Row, contexts: Path, url: str, tmp_path: Path) -> None:
    text = text_of(row, url)
    images = [by_us(text, contexts / row.context, tmp_path / str(way), compat=way) for way in WAYS]
    assert [answer(row, image) for image in images] == [row.ours, row.buildah, row.docker]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_what_a_reader_would_not_expect_is_told_at_its_line_and_nothing_else(
    row: Row, contexts: Path, url: str, tmp_path: Path
) -> None:
    write(tmp_path / "file", text_of(row, url), contexts / row.context)
    asked = {"file": str(tmp_path / "file/Containerfile"), "context": str(contexts / row.context)}
    findings = check_file(FileRequest().with_options(asked, "A Containerfile"), {})
    assert [(each.rule, place(each).line) for each in findings] == list(row.told)
    for each in findings:
        assert each.location is not None
        assert each.location.column < each.location.end_column or each.location.end_line > each.location.line


@pytest.mark.buildah
@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_buildah_answers_as_the_page_says(
    row: Row, shared_home: Home, contexts: Path, url: str, tmp_path: Path
) -> None:
    image = by_buildah(shared_home, text_of(row, url), contexts / row.context, tmp_path / "theirs")
    expected = row.buildah if row.apart is None else row.apart
    found = answer(row, image)
    if found != expected:
        # Later versions have mended what 1.28 lacks, and say `/` where no WORKDIR does.
        version = shared_home.run(["buildah", "--version"]).stdout.decode()
        assert " 1.28." not in version, found
        assert found in (row.buildah, row.ours, row.later)


def test_the_page_has_these_rows_and_no_others() -> None:
    _, _, tables = PAGE.read_text().partition("\n## What differs")
    alike = tables.partition("\n## Where a good guess")[2]
    for text, rows in ((tables.removesuffix(alike), DIFFERENT), (alike, ALIKE)):
        topics = re.findall(r"^\| (?!topic \||---)(.+?) \|", text, re.MULTILINE)
        assert {*topics} - ELSEWHERE == {row.topic for row in rows}
        assert len({*topics}) == len(topics)
