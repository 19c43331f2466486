"""`--spec scratch.toml`: the words of a build, kept in a file beside what they name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import refusal

from rootless_scratch.errors import SpecError, UsageError
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.plan.parts import parts_of
from rootless_scratch.image.plan.specfile import read_images
from rootless_scratch.image.spec import Copy, NamedSpec, NewSymlink

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

FILE = """
tag = "shop:1"
programs = ["server:/usr/bin/server"]
copy = ["page:/srv/index.html"]
mkdir = ["/data:mode=0700,uid=65532"]
with = ["tmp"]
cmd = ["--verbose"]
ports = [8080]
workdir = "/srv"

[env]
MODE = "live"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a program, a page, and the file that names both."""
    tinyelf.write(tmp_path / "server")
    (tmp_path / "page").write_text("x")
    (tmp_path / "scratch.toml").write_text(FILE)
    return tmp_path


@pytest.mark.buildah
@pytest.mark.registry
def test_a_file_builds_what_its_words_build(shared_home: Home, place: Path) -> None:
    words = [f"{place}/server:/usr/bin/server", "--copy", f"{place}/page:/srv/index.html", "--workdir", "/srv"]
    words += ["--mkdir", "/data:mode=0700,uid=65532", "--with", "tmp", "--cmd", '["--verbose"]', "--port", "8080"]
    by_words = shared_home.json("build", *words, "--env", "MODE=live", "-o", f"oci:{place}/words")
    by_file = shared_home.json("build", "--spec", f"{place}/scratch.toml", "-o", f"oci:{place}/file")
    assert by_file["image_id"] == by_words["image_id"]
    assert shared_home.cli("verify", f"oci:{place}/words", "--spec", f"{place}/scratch.toml").returncode == 0


def test_words_beside_the_file_add_to_lists_and_replace_single_values(shared_home: Home, place: Path) -> None:
    more = ["--env", "LEVEL=1", "--cmd", '["-q"]', "--user", "0", "-t", "other:2", "--label", "a=b"]
    done = shared_home.cli("build", "--spec", f"{place}/scratch.toml", *more, "--dry-run")
    plan = json.loads(done.stdout)["plan"]
    config = plan["config"]["config"]
    assert plan["names"] == ["localhost/other:2"]
    assert (config["Cmd"], config["User"], config["WorkingDir"]) == (["-q"], "0", "/srv")
    assert config["Env"] == ["MODE=live", "LEVEL=1"]
    assert config["Labels"] == {"a": "b"}
    shown = shared_home.cli("containerfile", "--spec", f"{place}/scratch.toml")
    assert b'CMD ["--verbose"]' in shown.stdout


def test_a_single_value_on_the_command_line_counts_also_where_it_is_the_usual_one(
    shared_home: Home, place: Path
) -> None:
    done = shared_home.cli("build", "--spec", f"{place}/scratch.toml", "--workdir", "/", "--dry-run")
    plan = json.loads(done.stdout)["plan"]
    assert plan["config"]["config"]["WorkingDir"] == "/"
    assert plan["names"] == ["localhost/shop:1"]


SEVERAL = """
[variables]
VERSION = "1.4"
REGISTRY = "registry.example.com/shop"
NAME = "${REGISTRY}/server:${VERSION}"

[image.server]
tag = "${NAME}"
programs = ["server"]
output = "oci:out/server"

[image.page]
tag = ["page:${VERSION}", "page"]
copy = ["page:/srv/index.html"]
output = ["oci:out/page", "docker://registry.example.com/page:${VERSION}"]
[image.page.env]
MESSAGE = "costs $5, $${as it is}, ${VERSION}"
"""


def read(path: Path, text: str, **more: dict[str, str]) -> dict[str, NamedSpec]:
    (path / "scratch.toml").write_text(text)
    images = read_images(str(path / "scratch.toml"), **{"environ": {}, **more})
    return {image.name: image for image in images}


def test_a_file_without_tables_of_images_has_one_without_a_name(place: Path) -> None:
    (image,) = read(place, FILE).values()
    assert (image.name, image.spec.names, image.output) == ("", ("shop:1",), ())
    assert image.spec.programs == (Copy(source=f"{place}/server", destination="/usr/bin/server"),)


def test_images_are_read_in_the_order_of_the_file_with_their_names_and_outputs(place: Path) -> None:
    images = read(place, SEVERAL)
    assert list(images) == ["server", "page"]
    assert images["server"].spec.names == ("registry.example.com/shop/server:1.4",)
    assert images["page"].spec.names == ("page:1.4", "page")
    assert images["page"].spec.env == (("MESSAGE", "costs $5, ${as it is}, 1.4"),)
    assert images["page"].output[1] == "docker://registry.example.com/page:1.4"
    assert images["server"].output[0].endswith(f"{place.name}/out/server")


def test_an_output_lies_beside_the_file_from_everywhere(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert read(place, SEVERAL)["server"].output == ("oci:out/server",)
    monkeypatch.chdir(place.parent)
    assert read(place, SEVERAL)["server"].output == (f"oci:{place.name}/out/server",)


def test_a_directory_with_a_colon_is_not_cut_short_by_an_output(place: Path) -> None:
    (place / "a:b").mkdir()
    error = refusal(lambda: read(place / "a:b", SEVERAL), UsageError)
    assert "colon" in error.message
    assert "cd" in error.fix


def test_the_command_line_sets_a_variable_before_the_environment_and_that_before_the_file(place: Path) -> None:
    def tags(**more: dict[str, str]) -> tuple[str, ...]:
        return read(place, SEVERAL, **more)["page"].spec.names

    assert tags(environ={"VERSION": "2"}) == ("page:2", "page")
    assert tags(environ={"VERSION": "2"}, values={"VERSION": "3"}) == ("page:3", "page")
    server = read(place, SEVERAL, values={"REGISTRY": "localhost/x"})["server"]
    assert server.spec.names == ("localhost/x/server:1.4",)


def test_a_variable_may_come_from_the_environment_alone(place: Path) -> None:
    (image,) = read(place, 'tag = "shop:${CI_COMMIT}"', environ={"CI_COMMIT": "abc"}).values()
    assert image.spec.names == ("shop:abc",)
    (image,) = read(place, 'tag = "shop:${CI_COMMIT}"', values={"CI_COMMIT": "def"}).values()
    assert image.spec.names == ("shop:def",)


def test_what_a_caller_sets_is_not_read_for_references(place: Path) -> None:
    (image,) = read(place, 'cmd = ["${A}"]', values={"A": "${B} $${C}"}).values()
    assert image.spec.cmd == ("${B} $${C}",)


def test_a_value_for_a_variable_that_the_file_does_not_use_is_mistyped(place: Path) -> None:
    error = refusal(lambda: read(place, SEVERAL, values={"VERSON": "2"}), UsageError)
    assert "'VERSON'" in error.message
    assert error.fix == "Did you mean 'VERSION'?"


PLATFORMS = """
tag = "shop"
copy = ["page:/srv/index.html"]
symlink = ["/srv:/www"]
[platforms."linux/amd64"]
programs = ["amd64/server", "amd64/helper:/helper"]
copy = ["page:/etc/amd64:mode=0600"]
[platforms."linux/arm64"]
programs = ["arm64/server", "arm64/helper:/helper"]
copy = ["page:/etc/arm64"]
"""


def test_a_platform_has_programs_and_copies_of_its_own(place: Path) -> None:
    for architecture, machine in (("amd64", "x86_64"), ("arm64", "aarch64")):
        (place / architecture).mkdir()
        for name in ("server", "helper"):
            tinyelf.write(place / architecture / name, machine=machine)
    (image,) = read(place, PLATFORMS).values()
    assert image.spec.symlinks == (NewSymlink(path="/www", target="/srv"),)
    with HostFiles() as files:
        parts = {part.platform: part.spec for part in parts_of(image.spec, files)}
    assert parts.keys() == {"linux/amd64", "linux/arm64/v8"}
    amd64, arm64 = parts["linux/amd64"], parts["linux/arm64/v8"]
    assert [copy.destination for copy in amd64.copies] == ["/srv/index.html", "/etc/amd64"]
    assert [copy.destination for copy in arm64.copies] == ["/srv/index.html", "/etc/arm64"]
    assert [program.source for program in arm64.programs] == [f"{place}/arm64/server", f"{place}/arm64/helper"]
    assert {copy.platform for spec in parts.values() for copy in spec.copies} == {None}


def test_a_copy_for_a_platform_that_no_program_has_is_refused(place: Path) -> None:
    text = 'programs = ["server"]\n[platforms."linux/riscv64"]\ncopy = ["page:/page"]\n'
    (image,) = read(place, text).values()
    with HostFiles() as files:
        error = refusal(lambda: parts_of(image.spec, files), SpecError)
    assert "linux/riscv64" in error.message
    text = 'copy = ["page:/b"]\n[platforms."linux/riscv64"]\ncopy = ["page:/page"]\n'
    (image,) = read(place, text).values()
    with HostFiles() as files:
        assert "no program" in refusal(lambda: parts_of(image.spec, files), SpecError).message


def test_a_single_platform_takes_its_copies_too(place: Path) -> None:
    text = 'programs = ["server"]\n[platforms."linux/amd64"]\ncopy = ["page:/page"]\n'
    (image,) = read(place, text).values()
    with HostFiles() as files:
        (part,) = parts_of(image.spec, files)
    assert part.spec.copies == (Copy(source=f"{place}/page", destination="/page"),)
