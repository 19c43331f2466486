"""The rules on whole images: users, ids, ports, and the directories that the config names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imaging import Bench, directory, file, only, rules, stored

from rootless_scratch.image.rootfs import Symlink
from rootless_scratch.image.spec import NewDirectory
from rootless_scratch.rules.program.programs import verdict

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("user", ["app", "root", "app:1000"])
def test_a_named_user_needs_a_passwd_file(user: str) -> None:
    finding = only(stored(file(), user=user))
    assert (finding.rule, finding.severity) == ("user-unknown", "error")
    assert "--user 65532:65532" in finding.fix
    assert stored(file(), file("/etc/passwd", 0o644), user=user) == ()


def test_a_named_group_needs_a_group_file() -> None:
    finding = only(stored(file(), user="1000:staff"))
    assert (finding.rule, finding.severity) == ("group-unknown", "error")
    assert stored(file(), file("/etc/group", 0o644), user="1000:staff") == ()
    assert rules(stored(file(), user="app:staff")) == ["user-unknown", "group-unknown"]


@pytest.mark.parametrize("user", ["", "0", "0:0", "1000", "65532:65532", "65535:65535"])
def test_numeric_users_need_no_file(user: str) -> None:
    assert stored(file(), user=user) == ()


def test_a_user_beyond_the_usual_range_is_warned_of() -> None:
    finding = only(stored(file(), user="1000710000:70000"))
    assert (finding.rule, finding.severity) == ("id-too-high", "warning")
    assert "1000710000 and 70000" in finding.message
    assert verdict([finding]) == "unknown"


def test_an_owner_beyond_the_usual_range_is_warned_of() -> None:
    finding = only(stored(file(owner=(100000, 0)), directory("/data", owner=(0, 100000))))
    assert (finding.rule, finding.subject) == ("id-too-high", "/app")
    assert "(and 1 more)" in finding.message


def test_a_port_below_1024_is_warned_of_for_all_but_root(bench: Bench) -> None:
    finding = bench.finding(bench.program(), ports=("443", "80", "53/udp", "8080"))
    assert (finding.rule, finding.severity) == ("privileged-port", "warning")
    assert "ports 53, 80 and 443" in finding.message
    assert "`-p 80:8080`" in bench.finding(bench.program(), ports=("80",)).fix
    assert "`-p 53:8053/udp`" in bench.finding(bench.program(), ports=("53/udp",)).fix
    assert bench.judge(bench.program(), ports=("80",), user="0") == ()
    assert bench.judge(bench.program(), ports=("1024", "8080/udp")) == ()


# Directories.


def test_a_volume_over_the_root_is_refused(bench: Bench) -> None:
    finding = bench.finding(bench.program(), volumes=("/",))
    assert (finding.rule, finding.severity) == ("volume-unusable", "error")


def test_a_missing_working_directory_is_only_mentioned_because_podman_makes_it(bench: Bench) -> None:
    finding = bench.finding(bench.program(), workdir="/srv")
    assert (finding.rule, finding.severity) == ("working-directory-missing", "info")
    assert finding.fix == "Add it by `--mkdir /srv`."
    assert bench.judge(bench.program(), workdir="/srv", directories=(NewDirectory(path="/srv"),)) == ()


@pytest.mark.parametrize("path", ["/app", "/app/data", "/gone", "/gone/data", "srv"])
def test_a_working_directory_that_cannot_be_made_is_refused(path: str) -> None:
    finding = only(stored(file(), Symlink(path="/gone", target="/nowhere"), working_dir=path))
    assert (finding.rule, finding.severity) == ("working-directory-unusable", "error")


def test_a_working_directory_behind_a_link_is_one() -> None:
    assert stored(file(), directory("/srv"), Symlink(path="/w", target="srv"), working_dir="/w") == ()


def test_a_missing_volume_is_only_mentioned_because_podman_makes_it(bench: Bench) -> None:
    finding = bench.finding(bench.program(), volumes=("/data",))
    assert (finding.rule, finding.severity) == ("volume-missing", "info")
    assert finding.fix == "Add it by `--mkdir /data:uid=65532,gid=65532`."


def test_a_volume_that_belongs_to_root_is_warned_of(bench: Bench) -> None:
    finding = bench.finding(bench.program(), volumes=("/data",), directories=(NewDirectory(path="/data"),))
    assert (finding.rule, finding.severity) == ("volume-not-writable", "warning")
    for own in (NewDirectory(path="/data", uid=65532), NewDirectory(path="/data", mode=0o1777)):
        assert bench.judge(bench.program(), volumes=("/data",), directories=(own,)) == ()
    by_root = bench.judge(bench.program(), volumes=("/data",), directories=(NewDirectory(path="/data"),), user="0")
    assert by_root == ()


def test_a_volume_over_a_file_is_refused() -> None:
    finding = only(stored(file(), file("/data", 0o644), volumes=("/data",)))
    assert (finding.rule, finding.severity) == ("volume-unusable", "error")
