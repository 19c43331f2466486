"""From the words on configuration to an image's config: one form for each, and what no runtime would take."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless_scratch.errors import ScratchError, SpecError, UsageError
from rootless_scratch.image.plan.planner import Plan, plan
from rootless_scratch.image.spec import Spec

if TYPE_CHECKING:
    from rootless_scratch.image.config import RuntimeConfig

LAST = 253402300799
"""9999-12-31T23:59:59Z."""


def settled(spec: Spec) -> RuntimeConfig:
    return plan(spec, environ={}).config.config


def dated(created: str | None, *, epoch: str | None = None) -> Plan:
    return plan(Spec(created=created), environ={} if epoch is None else {"SOURCE_DATE_EPOCH": epoch})


def refusal(spec: Spec, *, epoch: str = "") -> ScratchError:
    with pytest.raises((SpecError, UsageError)) as caught:
        plan(spec, environ={"SOURCE_DATE_EPOCH": epoch})
    for sentence in (caught.value.message, caught.value.fix):
        assert sentence
        assert sentence.isprintable()
    return caught.value


def test_the_later_of_two_settings_wins_and_the_order_is_the_users() -> None:
    spec = Spec(env=(("Z", "1"), ("A", "2"), ("Z", "3"), ("EMPTY", "")))
    assert settled(spec).env == (("Z", "3"), ("A", "2"), ("EMPTY", ""))
    assert settled(spec).as_oci()["Env"] == ["Z=3", "A=2", "EMPTY="]


def test_labels_and_annotations_have_no_order_so_they_are_sorted() -> None:
    pairs = (("z", "1"), ("a", "2"), ("z", "3"))
    made = plan(Spec(labels=pairs, annotations=pairs), environ={})
    assert made.config.config.labels == (("a", "2"), ("z", "3"))
    assert made.annotations == (("a", "2"), ("z", "3"))


def test_names_of_variables_are_names() -> None:
    for key in ("", "A=B", "A\0", "\udcff"):
        assert "--env" in refusal(Spec(env=((key, "x"),))).message
        refusal(Spec(labels=((key, "x"),)))


def test_ports_have_one_form() -> None:
    spec = Spec(ports=("8080", "8080/tcp", "53/udp", "0443/TCP", "9899/sctp"))
    assert settled(spec).ports == ("443/tcp", "53/udp", "8080/tcp", "9899/sctp")
    for port in ("", "0", "65536", "http", "80/icmp", "80/", "-80", "8080:80", "٨٠", "80\n", "9" * 5000):
        assert "not a port" in refusal(Spec(ports=(port,))).message


def test_a_user_is_a_number_or_a_name_with_perhaps_a_group() -> None:
    for user in ("0", "65532", "65532:65532", "nobody", "nobody:nogroup", "0:0", "2147483647", "a.b-c_d$"):
        assert settled(Spec(user=user)).user == user
    assert settled(Spec()).user == "65532:65532"
    for user in ("", ":", "1:", ":1", "1:2:3", "a b", "a\n", "a\0", "\udcff", "-1", "+1", "1:-1"):
        assert "UID:GID" in refusal(Spec(user=user)).fix


def test_ids_that_no_runtime_takes_are_refused() -> None:
    for user in ("2147483648", "4294967295", "0:2147483648", "9" * 5000):
        assert "2147483648" in refusal(Spec(user=user)).fix


def test_signals_have_one_form() -> None:
    for text, signal in (
        ("SIGTERM", "SIGTERM"),
        ("term", "SIGTERM"),
        ("15", "15"),
        ("64", "64"),
        ("SIGRTMIN", "SIGRTMIN"),
        ("SIGRTMIN+3", "SIGRTMIN+3"),
        ("rtmin+15", "SIGRTMIN+15"),
        ("RTMAX-14", "SIGRTMAX-14"),
    ):
        assert settled(Spec(stop_signal=text)).stop_signal == signal
    for text in (
        "",
        "0",
        "65",
        "SIG",
        "SIGNAL",
        "SIG_DFL",
        "_BLOCK",
        "TERM+1",
        "RTMIN+16",
        "RTMAX-15",
        "RTMIN-1",
        "RTMIN+",
        "SIGTERM\n",
        "-9",
        "٩",
        "9" * 5000,
    ):
        assert "not a signal" in refusal(Spec(stop_signal=text)).message


def test_directories_are_normalised_and_volumes_sorted() -> None:
    config = settled(Spec(workdir="//srv/./app/", volumes=("/data/", "/cache", "/data")))
    assert config.working_dir == "/srv/app"
    assert config.volumes == ("/cache", "/data")
    assert settled(Spec()).working_dir == "/"


def test_what_is_empty_is_left_out_of_the_config() -> None:
    assert settled(Spec(entrypoint=(), cmd=())).as_oci() == {"User": "65532:65532", "WorkingDir": "/"}


def test_the_config_is_json_so_what_is_not_utf8_is_refused_with_a_fitting_fix() -> None:
    bad = "/\udcff"
    for spec, cause, fix in (
        (Spec(entrypoint=(bad,)), "The entrypoint", "PROGRAM:/name"),
        (Spec(cmd=("/x", bad)), "The command", "UTF-8"),
        (Spec(workdir=bad), "The working directory", "UTF-8"),
        (Spec(volumes=(bad,)), "The volume", "UTF-8"),
        (Spec(env=(("A", bad),)), "--env", "UTF-8"),
        (Spec(labels=(("A", bad),)), "--label", "UTF-8"),
        (Spec(annotations=(("A", bad),)), "--annotation", "UTF-8"),
        (Spec(cmd=("a\0",)), "NUL", "Remove"),
        (Spec(env=(("A", "\0"),)), "NUL", "Remove"),
        (Spec(cmd=("\ud800",)), "The command", "UTF-8"),
    ):
        error = refusal(spec)
        assert cause in error.message
        assert fix in error.fix


def test_an_image_is_as_old_as_source_date_epoch_says() -> None:
    for epoch, created in (
        (None, "1970-01-01T00:00:00Z"),
        ("", "1970-01-01T00:00:00Z"),
        ("1", "1970-01-01T00:00:01Z"),
    ):
        made = dated(None, epoch=epoch)
        assert made.config.created == created
        assert made.mtime == int(epoch or 0)


def test_the_environment_of_the_process_is_asked_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert plan(Spec()).config.created == "1970-01-02T00:00:00Z"


def test_created_stands_for_the_epoch_and_now_is_decided_by_the_build() -> None:
    for text, created, mtime in (
        ("0", "1970-01-01T00:00:00Z", 0),
        ("1700000000", "2023-11-14T22:13:20Z", 1700000000),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", 1769860800),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z", 1769853600),
        ("2026-01-31 12:00:00.9", "2026-01-31T12:00:00Z", 1769860800),
        ("2026-01-31", "2026-01-31T00:00:00Z", 1769817600),
        (str(LAST), "9999-12-31T23:59:59Z", LAST),
        ("now", None, 5),
    ):
        made = dated(text, epoch="5")
        assert (made.config.created, made.mtime) == (created, mtime)


def test_the_time_zone_of_the_host_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        assert dated("2026-01-31T12:00:00").mtime == 1769860800
        assert dated("1").config.created == "1970-01-01T00:00:01Z"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("created", "cause"),
    [
        ("yesterday", "not a time"),
        ("", "not a time"),
        ("2026-13-01", "not a time"),
        ("1.5", "not a time"),
        ("-1", "before 1970"),
        ("1969-12-31T23:59:59Z", "before 1970"),
        ("1969-12-31T23:59:59.5Z", "before 1970"),
        ("1970-01-01T00:00:00+01:00", "before 1970"),
        ("0001-01-01T00:00:00+14:00", "before 1970"),
        (str(LAST + 1), "after the year 9999"),
        ("9999-12-31T23:59:59-01:00", "after the year 9999"),
        ("9" * 30, "after the year 9999"),
        ("9" * 5000, "after the year 9999"),
    ],
)
def test_what_is_no_time_of_an_image_is_refused(created: str, cause: str) -> None:
    assert cause in refusal(Spec(created=created)).message


def test_an_epoch_that_is_no_time_is_refused_whatever_created_says() -> None:
    for epoch in ("yesterday", "-1", "1.5", " 1", "٣", str(LAST + 1), "9" * 5000):
        for created in (None, "now"):
            assert "SOURCE_DATE_EPOCH" in refusal(Spec(created=created), epoch=epoch).message


@given(st.text(max_size=20))
def test_any_text_for_created_is_a_time_or_an_error_of_ours(text: str) -> None:
    try:
        made = dated(text)
    except (SpecError, UsageError):
        return
    assert made.config.created is None or re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made.config.created)
