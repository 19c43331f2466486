"""The judgement of scripts/bench: medians of rounds, aims that are met or missed, and what has become worse."""

from __future__ import annotations

from pathlib import Path

import pytest
from benches import report
from benches.aims import Aim, table_of_aims
from benches.groups import GROUPS, MAIN
from benches.history import (
    HistoryError,
    Line,
    find_base,
    parse_line,
    read_history,
    remarks,
    table_of_history,
    worse,
)
from benches.series import Series, rounds

SOURCE = Path(__file__).resolve().parents[2]
DIRECT = Aim(what="direct", limits={"build.small": 0.65, "build.large": 0.4})


def line(commit: str = "a" * 40, /, **ratios: float) -> Line:
    return Line(commit=commit, date="2026-11-30", driver="vfs", ratios=ratios)


def test_a_slow_minute_of_the_machine_changes_no_ratio() -> None:
    series = Series(times={"ours": [1.0, 5.0, 1.1], "theirs": [2.0, 10.0, 2.0]})
    assert series.ratio("ours", "theirs") == 0.5
    assert (series.median("ours"), series.median("theirs"), series.runs) == (1.1, 2.0, 3)


@pytest.mark.parametrize(
    ("longest", "quick", "runs"),
    [(0.2, False, 15), (1.0, False, 7), (6.0, False, 5), (0.2, True, 3), (6.0, True, 1)],
)
def test_what_takes_seconds_is_timed_less_often(longest: float, quick: bool, runs: int) -> None:
    assert rounds(longest, quick=quick) == runs


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ({"build.small": 0.65, "build.large": 0.05}, "met: 0.65, 0.050"),
        ({"build.small": 0.7, "build.large": 0.3}, "missed: 0.70, 0.30 (`build.small`)"),
        ({"build.small": 0.7, "build.large": 0.5}, "missed: 0.70, 0.50"),
        ({"build.small": 0.6}, "0.60, not measured"),
        ({"build.small": 0.7}, "missed: 0.70, not measured"),
        ({}, "not measured"),
    ],
)
def test_an_aim_is_met_where_each_of_its_figures_is(figures: dict[str, float], verdict: str) -> None:
    assert DIRECT.verdict(figures, {}) == verdict


def test_why_something_was_not_measured_is_said() -> None:
    assert DIRECT.verdict({}, {"build.large": "overlay is fuse"}) == "not measured: overlay is fuse"


def test_the_table_of_aims_has_units() -> None:
    memory = Aim(what="memory", limits={"run": 60, "check": 60}, unit="MB")
    text = table_of_aims([memory, DIRECT], {"run": 29.4, "check": 61.0}, {})
    assert text.splitlines()[2:] == [
        "| memory | 60 MB each | missed: 29 MB, 61 MB (`check`) |",
        "| direct | 0.65, 0.4 | not measured |",
    ]


def test_no_two_measurements_have_one_name_and_the_history_shows_what_is_aimed_at() -> None:
    limits = [name for group in GROUPS for aim in group.aims for name in aim.limits]
    assert len(limits) == len(set(limits))
    assert len({group.name for group in GROUPS}) == len(GROUPS)
    assert set(MAIN) <= set(limits)


def test_a_line_of_the_history_is_read_as_it_was_written() -> None:
    written = line(build=0.123456, run=1.0)
    assert parse_line(written.to_json()) == line(build=0.1235, run=1.0)
    assert "\n" not in written.to_json()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"commit": "a"}', '{"unknown": 1}'])
def test_a_damaged_history_is_named(text: str) -> None:
    with pytest.raises(HistoryError, match="not a line of a history"):
        parse_line(text)


def test_a_figure_that_is_no_number_is_named() -> None:
    text = line(build=1.0).to_json().replace('"build": 1.0', '"build": "fast"')
    with pytest.raises(HistoryError, match="not all numbers"):
        parse_line(text)


def test_without_a_file_there_is_no_history(tmp_path: Path) -> None:
    assert read_history(tmp_path / "none") == []


def test_the_line_of_a_commit_is_the_newest_of_its_own_or_of_the_nearest_before_it() -> None:
    history = [line("one", build=1.0), line("two", build=2.0), line("two", build=3.0)]
    assert find_base(history, ["three", "two", "one"]) == history[2]
    assert find_base(history, ["one"]) == history[0]
    assert find_base(history, ["zero"]) is None


def test_more_than_a_tenth_is_worse_and_the_worst_comes_first() -> None:
    before = line(build=0.5, run=1.0, check=0.2, gone=1.0, left=0.0)
    now = line(build=0.549, run=1.2, check=0.06, new=9.0, left=2.0)
    assert list(worse(before, now)) == ["left: 0.000 -> 2.00", "run: 1.00 -> 1.20 (+20 %)"]
    assert list(worse(now, now)) == []


def test_what_differs_between_two_measurements_is_said() -> None:
    before = Line(commit="a", date="", driver="vfs", machine={"cores": 2}, ratios={"build": 1.0, "run": 1.0})
    now = Line(commit="b", date="", driver="overlay", machine={"cores": 4}, ratios={"build": 1.0}, quick=True)
    assert list(remarks(before, now)) == [
        "driver: vfs -> overlay",
        "machine: cores 2 -> cores 4",
        "measured with --quick: look twice",
        "not measured now: run",
    ]
    assert (
        list(remarks(now, Line(commit="c", date="", driver="overlay", machine={"cores": 4}, ratios=now.ratios)))
        == []
    )


def test_the_history_is_shown_with_the_newest_commit_first() -> None:
    history = [line("1" * 40, build=0.5), line("2" * 40, run=0.25)]
    assert table_of_history(history, {"build": "`build`", "run": "`run`"}).splitlines() == [
        "| commit | date | driver | `build` | `run` |",
        "|---|---|---|---|---|",
        "| 2222222 | 2026-11-30 | vfs | - | 0.25 |",
        "| 1111111 | 2026-11-30 | vfs | 0.50 | - |",
    ]
    assert table_of_history([], {}) == "Nothing was measured yet."


def test_a_page_without_its_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="lacks the marks <!-- aims: begin -->"):
        report.renew("# Performance\n", [])


def test_the_page_has_the_aims_and_the_history_of_what_is_recorded() -> None:
    page = (SOURCE / "docs/performance.md").read_text()
    assert report.renew(page, read_history(SOURCE / "docs/performance-history.jsonl")) == page
