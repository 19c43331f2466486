"""Images of strangers that are made to take memory, processor or disk: each is read in bounds, or refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile
import pytest
import tinyelf

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).resolve().parents[2]
SECONDS, MEGABYTES = 2.0, 150
KINDS = {
    *("limit", "source", "host", "usage"),
    *("starts", "fails", "unknown", "identical", "equal", "differs", "saved", "image-not-found"),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What every verb made of every subject."""
    place = tmp_path_factory.mktemp("hostile")
    tinyelf.write(place / "program")
    argv = [sys.executable, str(SOURCE / "tests/hostile.py"), str(place), *hostile.VERBS]
    environment = {"PYTHONPATH": f"{SOURCE}:{SOURCE / 'tests'}", "HOME": str(place), "PATH": "/usr/bin:/bin"}
    found = []
    with subprocess.Popen(
        argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None
        for subject in hostile.subjects(place):
            driver.stdin.write(json.dumps(subject) + "\n")
            driver.stdin.flush()
            found += [json.loads(driver.stdout.readline()) for _ in hostile.VERBS]
        driver.stdin.close()
    return found


def test_there_are_many_of_many_kinds(answers: list[dict[str, Any]]) -> None:
    subjects = {(each["kind"], each["name"]) for each in answers}
    assert len(subjects) >= 123
    assert len({kind for kind, _ in subjects}) >= 20


def test_each_ends_in_a_verdict_or_an_error_of_ours(answers: list[dict[str, Any]]) -> None:
    odd = [each for each in answers if each["ended"].split()[-1] not in {*KINDS, "files"}]
    assert odd == []


def test_none_takes_much_memory(answers: list[dict[str, Any]]) -> None:
    assert [each for each in answers if each["megabytes"] > MEGABYTES] == []


def test_none_takes_long(answers: list[dict[str, Any]]) -> None:
    # Several times what an idle host takes, because others may be at work here: without bounds it is minutes.
    assert [each for each in answers if each["seconds"] > 5 * SECONDS] == []
