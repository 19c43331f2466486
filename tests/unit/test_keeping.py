"""How long a service is kept: what options and the environment say, and what is no duration."""

from __future__ import annotations

import os
import tempfile
import time
from typing import TYPE_CHECKING

import pytest

from rootless_scratch.engine.request.options import request_of
from rootless_scratch.engine.service.directory import abandoned, others_beside, private_directory
from rootless_scratch.engine.service.keeping import IDLE, VARIABLE, Keeping, follows, keeping, parse_keep
from rootless_scratch.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

USUAL = {"HOME": "/home/somebody"}


@pytest.mark.parametrize(
    ("value", "seconds"), [(0, 0), ("0", 0), (10, 10), ("10", 10), ("10s", 10), ("2m", 120), ("24h", 86400)]
)
def test_durations_are_numbers_of_seconds_minutes_or_hours(value: object, seconds: int) -> None:
    assert parse_keep("keep_service", value) == seconds


@pytest.mark.parametrize(
    "value", [-1, True, 1.5, None, 86401, "-1", "1d", "10 s", "s", "1.5s", "25h", "", "9" * 5000, "\u0663s"]
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r"--keep-service .* is not a duration of up to 24 hours"):
        parse_keep("keep_service", value)


def test_an_option_comes_before_the_environment_and_that_before_what_is_usual() -> None:
    minute = {**USUAL, VARIABLE: "1m"}
    assert keeping(5, minute) == Keeping(idle=5, stays=True)
    assert keeping(None, minute) == Keeping(idle=60, stays=True)
    assert keeping(0, minute) == Keeping(idle=IDLE, stays=False)
    assert keeping(None, {**USUAL, VARIABLE: ""}) == Keeping(idle=IDLE, stays=None)
    with pytest.raises(UsageError, match="ROOTLESS_SCRATCH_KEEP_SERVICE 'soon'"):
        keeping(None, {**USUAL, VARIABLE: "soon"})


@pytest.mark.parametrize("variables", [{"HOME": "/tmp/home"}, {**USUAL, "XDG_DATA_HOME": "/var/tmp/x"}])
def test_a_home_in_a_temporary_directory_keeps_what_is_asked_for_alone(variables: dict[str, str]) -> None:
    assert keeping(None, variables).stays is False
    assert keeping(10, variables).stays is True


def test_calls_follow_each_other_within_the_time_for_which_a_service_is_kept(tmp_path: Path) -> None:
    assert follows(str(tmp_path))
    for seconds in (IDLE + 1, -60):
        then = time.time() - seconds
        os.utime(tmp_path, (then, then))
        assert not follows(str(tmp_path))
    assert not follows(str(tmp_path / "missing"))


def test_an_empty_directory_of_a_call_that_was_killed_goes_and_one_in_use_stays() -> None:
    # Paths of sockets are short.
    with tempfile.TemporaryDirectory(prefix="rst-") as base:
        used = private_directory({"XDG_RUNTIME_DIR": base})
        left = f"{base}/rootless-scratch-0123456789abcdef"
        os.mkdir(left, 0o700)
        assert [place for place, _ in others_beside(used.path)] == [left]
        assert abandoned(left) is None
        assert not os.path.exists(left)
        other = abandoned(used.path)
        assert other is not None
        other.let_go()
        assert os.path.isdir(used.path)
        assert used.leave(lambda: None)
        assert os.listdir(base) == []


@pytest.mark.parametrize("other", [{"url": "unix:///a"}, {"connection": "there"}])
def test_a_service_of_somebody_else_is_not_ours_to_keep(other: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"--keep-service keeps .* and --(url|connection) names another"):
        request_of("hello", (), {**other, "keep_service": "10s"})  # type: ignore[typeddict-item]
    assert request_of("hello", (), {**other, "keep_service": 0}).keep_service == 0  # type: ignore[typeddict-item]
