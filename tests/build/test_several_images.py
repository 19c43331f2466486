"""Several images of one `scratch.toml`: each with its name and its outputs, and none kept back by another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from shops import make_shop

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

FILE = """
[variables]
VERSION = "1"

[image.server]
output = ["oci:out/server", "oci-archive:out/server-${VERSION}.tar"]
programs = ["server"]

[image.page]
output = "oci:out/page:${VERSION}"
programs = ["server:/page"]
copy = ["page.html:/srv/index.html"]
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A directory with a program, a page, and the file of two images."""
    return make_shop(tmp_path, FILE)


def test_all_images_of_a_file_are_built_each_to_its_outputs(shared_home: Home, shop: Path) -> None:
    done = shared_home.cli("build", "--spec", "scratch.toml", cwd=shop)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    assert [name for name, _ in lines] == ["server", "page"]
    assert [line for line in done.stderr.decode().splitlines() if line.startswith("image ")] == [
        "image server:",
        "image page:",
    ]
    for (_, image_id), layout in zip(lines, ("oci:out/server", "oci:out/page:1"), strict=True):
        assert shared_home.json("inspect", layout, cwd=shop)["image_id"] == image_id
    assert (shop / "out/server-1.tar").is_file()
    quiet = shared_home.cli("build", "-q", "--spec", f"{shop}/scratch.toml")
    assert (quiet.stdout, quiet.stderr) == (done.stdout, b"")


def test_one_is_chosen_by_its_name_and_prints_what_one_image_prints(shared_home: Home, shop: Path) -> None:
    of_file = ["--spec", "scratch.toml", "--image", "page", "--set", "VERSION=2"]
    answer = shared_home.json("build", *of_file, cwd=shop)
    assert [output["ref"] for output in answer["outputs"]] == ["oci:out/page:2"]
    assert not (shop / "out/server").exists()
    assert shared_home.cli("verify", "oci:out/page:2", *of_file, cwd=shop).returncode == 0
    shown = shared_home.cli("containerfile", *of_file, cwd=shop).stdout
    assert b"index.html" in shown
    other = shared_home.json("build", *of_file, "-o", "oci:other", cwd=shop)
    assert [output["ref"] for output in other["outputs"]] == ["oci:other"]


def test_what_is_printed_as_json_has_each_image(shared_home: Home, shop: Path) -> None:
    answer = shared_home.json("build", "--spec", "scratch.toml", cwd=shop)
    assert answer["schema"] == 1
    assert [result["image"] for result in answer["results"]] == ["server", "page"]
    assert [len(result["outputs"]) for result in answer["results"]] == [2, 1]
    plans = shared_home.json("build", "--spec", "scratch.toml", "--dry-run", cwd=shop)["results"]
    assert [entry["path"] for entry in plans[1]["plan"]["entries"]] == ["/page", "/srv", "/srv/index.html"]


def test_an_image_that_fails_keeps_no_other_from_being_built(shared_home: Home, shop: Path) -> None:
    (shop / "scratch.toml").write_text(FILE.replace('["server"]', '["missing"]'))
    done = shared_home.cli("build", "--spec", "scratch.toml", cwd=shop)
    assert done.returncode == 1
    assert done.stdout.decode().startswith("page ")
    assert b"missing" in done.stderr
    answer = json.loads(shared_home.cli("build", "--spec", "scratch.toml", "--json", cwd=shop).stdout)
    assert answer["results"][0]["error"]["kind"] == "source"
    assert answer["results"][1]["files"] == 2


def test_nothing_is_built_where_the_file_has_a_fault(shared_home: Home, shop: Path) -> None:
    (shop / "scratch.toml").write_text(f"{FILE}\nprots = [80]\n")
    done = shared_home.cli("build", "--spec", "scratch.toml", "--image", "server", cwd=shop)
    assert done.returncode == 1
    assert b"scratch.toml:14:1: error: image.page.prots: " in done.stderr
    assert not (shop / "out/server").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-t", "shop"], "choose one by --image"),
        (["-o", "oci:x"], "choose one by --image"),
        (["server"], "choose one by --image"),
        (["--report", "sarif"], "choose one by --image"),
        (["--image", "sever"], "Did you mean 'server'?"),
        (["--image", "zzz"], "It has server, page"),
        (["--set", "VERSON=2"], "Did you mean 'VERSION'?"),
        (["--set", "VERSION"], "NAME=value"),
    ],
)
def test_options_that_do_not_fit_the_file_are_usage(
    shared_home: Home, shop: Path, options: list[str], told: str
) -> None:
    done = shared_home.cli("build", "--spec", "scratch.toml", *options, cwd=shop)
    assert done.returncode == 2
    assert told in done.stderr.decode()
    assert list((shop / "out").iterdir()) == []


def test_sboms_of_several_images_are_apart_before_any_is_built(shared_home: Home, shop: Path) -> None:
    text = (shop / "scratch.toml").read_text()
    for name in ("server", "page"):
        text = text.replace(f"[image.{name}]", f'[image.{name}]\nsbom = ["spdx:parts.json"]')
    (shop / "scratch.toml").write_text(text)
    done = shared_home.cli("build", "--spec", "scratch.toml", cwd=shop)
    assert done.returncode == 2
    assert "'server' and 'page' would write one SBOM" in done.stderr.decode()
    assert list((shop / "out").iterdir()) == []
    shared_home.json("build", "--spec", "scratch.toml", "--image", "page", cwd=shop)
    assert (shop / "parts.json").is_file()


def test_verbs_of_one_image_ask_which(shared_home: Home, shop: Path) -> None:
    for verb in (["verify", "oci:out"], ["containerfile"]):
        done = shared_home.cli(*verb, "--spec", "scratch.toml", cwd=shop)
        assert done.returncode == 2
        assert b"server, page" in done.stderr


def test_an_image_without_a_name_and_an_output_is_told_before_any_is_built(shared_home: Home, shop: Path) -> None:
    (shop / "scratch.toml").write_text(FILE.replace('output = "oci:out/page:${VERSION}"', ""))
    done = shared_home.cli("build", "--spec", "scratch.toml", cwd=shop)
    assert done.returncode == 2
    assert b"'page'" in done.stderr
    assert not (shop / "out/server").exists()
    (shop / "scratch.toml").write_text(FILE.replace("oci:out/page:${VERSION}", "oci:out/server"))
    assert shared_home.cli("build", "--spec", "scratch.toml", cwd=shop).returncode == 2


def test_options_of_a_file_need_one(shared_home: Home, shop: Path) -> None:
    for options in (["--image", "page"], ["--set", "A=b"]):
        done = shared_home.cli("build", "server", "-o", "oci:x", *options, cwd=shop)
        assert done.returncode == 2
        assert b"--spec" in done.stderr


@pytest.mark.buildah
def test_images_of_local_storage_are_built_one_after_the_other(shared_home: Home, shop: Path) -> None:
    text = FILE.replace('"oci:out/page:${VERSION}"', "[]\ntag = 'several-page:1'")
    (shop / "scratch.toml").write_text(text.replace("programs", "tag = 'several-server:1'\nprograms", 1))
    lines = shared_home.cli("build", "--spec", "scratch.toml", cwd=shop).stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["server", "page"]
    for name in ("several-server:1", "several-page:1"):
        assert shared_home.json("inspect", name)["image_id"] in " ".join(lines)
