"""What must come out right of every run, not of most: two hundred of each, four at a time."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from containers import Home, containers
from test_run import service

import rootless_scratch as rs
from rootless_scratch.host.cgroups import choose_runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.podman

TIMES = 200


@pytest.fixture
def busy(tools: Home, python_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A service for all runs of a test, for to start one for each would take longer than the runs."""
    assert tools is python_home
    with service(tools, tools.path / f"{tmp_path.name[-20:]}.s", choose_runtime().name) as address:
        monkeypatch.setenv("CONTAINER_HOST", address)
        yield tools


def each(run: Callable[[int], rs.RunResult]) -> list[tuple[int, bytes, bytes]]:
    """How the runs ended, in their order; more than there are cores, so that they get in each other's way."""
    with ThreadPoolExecutor(4) as threads:
        return [(ended.exit_code, ended.stdout, ended.stderr) for ended in threads.map(run, range(TIMES))]


def test_the_exit_code_is_right_two_hundred_times_of_two_hundred(busy: Home) -> None:
    # From the first that there is to the last, 255.
    codes = [number * 255 // (TIMES - 1) for number in range(TIMES)]

    def run(number: int) -> rs.RunResult:
        return rs.run("tools", ["sh", "-c", f"exit {codes[number]}"], network="none")

    assert each(run) == [(code, b"", b"") for code in codes]
    assert containers(busy) == []


def test_stdin_that_is_left_unread_costs_and_adds_nothing_two_hundred_times_of_two_hundred(busy: Home) -> None:
    sizes = itertools.cycle([1, 5, 4096, 70_000, 1_000_000])
    inputs = [b"x" * size for _, size in zip(range(TIMES), sizes, strict=False)]

    def run(number: int) -> rs.RunResult:
        script = f"echo out {number}; echo err {number} >&2; exit 7"
        return rs.run("tools", ["sh", "-c", script], input=inputs[number], network="none")

    assert each(run) == [(7, f"out {number}\n".encode(), f"err {number}\n".encode()) for number in range(TIMES)]
    assert containers(busy) == []
