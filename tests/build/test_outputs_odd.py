"""WorkerPaths that take no image, and things in the way: told in a sentence, and nothing is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf

import rootless_scratch as rs

if TYPE_CHECKING:
    from conftest import Home


@pytest.fixture
def program(tmp_path: Path) -> str:
    return str(tinyelf.write(tmp_path / "hello"))


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_an_archive_replaces_no_pipe_and_goes_where_a_link_points(
    shared_home: Home, tmp_path: Path, program: str, transport: str
) -> None:
    pipe, link, real = tmp_path / "pipe", tmp_path / "link", tmp_path / "real"
    os.mkfifo(pipe)
    real.write_text("old")
    link.symlink_to(real)
    done = shared_home.cli("build", program, "-o", f"{transport}:{pipe}")
    assert done.returncode == 1
    assert b"a device, a pipe or a socket" in done.stderr
    assert pipe.is_fifo()
    assert shared_home.cli("build", program, "-o", f"{transport}:{link}").returncode == 0
    assert link.readlink() == real
    assert shared_home.cli("check", f"{transport}:{real}").returncode == 0


def test_a_pipe_in_place_of_an_image_is_told_and_not_waited_for(
    shared_home: Home, tmp_path: Path, program: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "layout").mkdir()
    assert shared_home.cli("build", program, "-o", f"oci:{tmp_path}/layout").returncode == 0
    (tmp_path / "layout/index.json").unlink()
    os.mkfifo(tmp_path / "layout/index.json")
    for words in (
        ("check", f"oci-archive:{tmp_path}/pipe"),
        ("inspect", f"docker-archive:{tmp_path}/pipe"),
        ("build", program, "-o", f"oci:{tmp_path}/layout"),
        ("check", f"oci:{tmp_path}/layout"),
    ):
        done = shared_home.cli(*words, timeout=20)
        assert done.returncode == 1, words
        assert b"fix: " in done.stderr, words


@pytest.mark.parametrize(
    "place", ["oci:{0}/hello", "oci:/proc/x", "oci-archive:{0}/no/such/file", "oci-archive:{0}"]
)
def test_a_place_that_takes_no_image_is_a_refusal_and_no_misspelling(
    shared_home: Home, tmp_path: Path, program: str, place: str
) -> None:
    done = shared_home.cli("build", program, "-o", place.format(tmp_path))
    assert done.returncode == 1
    assert b"\n  fix: " in done.stderr


def test_check_goes_on_behind_what_cannot_be_judged(shared_home: Home, tmp_path: Path, program: str) -> None:
    subjects = (program, f"oci:{tmp_path}/nowhere", str(tmp_path / "nofile"), program)
    done = shared_home.cli("check", *subjects, "--json")
    assert done.returncode == 1
    first, missing, unreadable, last = json.loads(done.stdout)["subjects"]
    assert (first["verdict"], last["verdict"]) == ("starts", "starts")
    assert missing["error"]["kind"] == "image-not-found"
    assert unreadable["subject"] == subjects[2]
    assert unreadable["error"]["fix"]
    assert done.stderr.decode().count("  fix: ") == 2


@pytest.mark.buildah
@pytest.mark.podman
def test_where_nothing_can_be_noted_at_home_another_one_is_used_as_the_doctor_says(
    shared_home: Home, tmp_path: Path, program: str
) -> None:
    (tmp_path / "home").mkdir(mode=0o555)
    environment = {"HOME": str(tmp_path / "home"), "XDG_DATA_HOME": str(tmp_path)}
    answer = json.loads(shared_home.cli("doctor", "--json", environment=environment).stdout)
    for operation in ("build-buildah", "run"):
        assert answer["operations"][operation]["works"], answer["findings"]
        assert "host-home" in answer["operations"][operation]["findings"], answer["findings"]
    assert answer["operations"]["build-direct"]["works"]
    done = shared_home.cli("build", program, "-t", "odd-home", environment=environment)
    assert done.returncode == 0, done.stderr
    assert b"takes the place of HOME" in done.stderr
    assert b"[host-home]" in done.stderr


def test_a_block_gives_its_image_at_its_end_and_takes_nothing_after_it(tmp_path: Path, program: str) -> None:
    with pytest.raises(rs.UsageError, match="neither a name nor an output"):
        rs.scratch()
    with rs.scratch(output=f"oci:{tmp_path}/layout") as root:
        root.add(program, "/hello")
        with pytest.raises(rs.UsageError, match="before its block has ended"):
            _ = root.image
    assert Path(f"{tmp_path}/layout/index.json").exists()
    assert root.image.files == 1
    with pytest.raises(rs.UsageError, match="has ended"):
        root.mkdir("/tmp")
