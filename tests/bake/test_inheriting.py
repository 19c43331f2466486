"""Many images of one `scratch.toml`: what they have in common is written once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import refusal

from rootless_scratch.errors import Fault, SpecFileError, UsageError
from rootless_scratch.image.plan.overrides import parse_settings
from rootless_scratch.image.plan.specfile import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

    from rootless_scratch.image.spec import NamedSpec

FILE = """
[variables]
REGISTRY = "registry.example.com/shop"
VERSION = "1.4"

[group]
default = ["server", "worker"]
all = ["default", "agent"]

[image._base]
with = ["tmp", "ca-certificates"]
user = "1000:1000"
workdir = "/srv"
[image._base.env]
MODE = "live"
LEVEL = "info"
[image._base.labels]
team = "shop"

[image.server]
inherits = ["_base"]
tag = "${REGISTRY}/server:${VERSION}"
programs = ["server"]
with = ["tzdata"]
workdir = "/"
[image.server.env]
LEVEL = "debug"

[image.worker]
inherits = "server"
tag = ["${REGISTRY}/worker:${VERSION}", "worker"]
cmd = ["--work"]

[image.agent]
inherits = ["_base"]
name = "agent-${arch}-${item.level}"
programs = ["agent-${arch}:/agent"]
output = "oci:out:agent-${arch}-${item.level}"
[image.agent.matrix]
arch = ["amd64", "arm64"]
item = [{level = "1.0", env = "test"}, {level = "2", env = "live"}]
[image.agent.env]
MODE = "${item.env}"
"""


def read(path: Path, text: str = FILE, *settings: str) -> dict[str, NamedSpec]:
    (path / "scratch.toml").write_text(text)
    variables, overrides = parse_settings(settings)
    file = read_file(str(path / "scratch.toml"), values=variables, overrides=overrides, environ={})
    return {image.name: image for image in file.images}


def chosen(path: Path, *names: str, text: str = FILE) -> list[str]:
    (path / "scratch.toml").write_text(text)
    file = read_file(str(path / "scratch.toml"), environ={})
    return [image.name for image in file.chosen("scratch.toml", names)]


def fault(path: Path, text: str) -> Fault:
    error = refusal(lambda: read(path, text), SpecFileError)
    assert isinstance(error, SpecFileError)
    (found,) = error.faults
    return found


def test_single_values_are_replaced_and_lists_and_tables_are_added_to(tmp_path: Path) -> None:
    server = read(tmp_path)["server"].spec
    assert (server.user, server.workdir) == ("1000:1000", "/")
    assert [each.name for each in server.essentials] == ["tmp", "ca-certificates", "tzdata"]
    assert dict(server.env) == {"MODE": "live", "LEVEL": "debug"}
    assert dict(server.labels) == {"team": "shop"}


def test_names_outputs_and_the_command_are_never_added_to(tmp_path: Path) -> None:
    worker = read(tmp_path)["worker"].spec
    assert worker.names == ("registry.example.com/shop/worker:1.4", "worker")
    assert worker.cmd == ("--work",)
    assert [program.source for program in worker.programs] == [f"{tmp_path}/server"]


def test_of_several_that_are_inherited_from_the_last_one_counts(tmp_path: Path) -> None:
    text = """
    [image.quiet]
    workdir = "/quiet"
    user = "1"
    [image.loud]
    workdir = "/loud"
    [image.server]
    inherits = ["quiet", "loud"]
    tag = "server"
    """
    server = read(tmp_path, text)["server"].spec
    assert (server.workdir, server.user) == ("/loud", "1")


def test_a_matrix_makes_an_image_of_each_combination(tmp_path: Path) -> None:
    images = read(tmp_path)
    names = ["agent-amd64-1-0", "agent-amd64-2", "agent-arm64-1-0", "agent-arm64-2"]
    assert list(images)[3:] == names
    agent = images["agent-arm64-2"]
    assert agent.spec.programs[0].source == f"{tmp_path}/agent-arm64"
    assert dict(agent.spec.env) == {"MODE": "live", "LEVEL": "info"}
    assert agent.output[0].endswith("out:agent-arm64-2")


def test_a_matrix_without_names_makes_them_of_its_values(tmp_path: Path) -> None:
    text = '[image.a]\ntag = "a:${v}"\n[image.a.matrix]\nv = ["1.4", 2]\n'
    assert list(read(tmp_path, text)) == ["a-1-4", "a-2"]


def test_what_is_built_is_the_default_group_or_what_is_named(tmp_path: Path) -> None:
    assert chosen(tmp_path) == ["server", "worker"]
    assert chosen(tmp_path, "all") == list(read(tmp_path))[1:]
    assert chosen(tmp_path, "agent") == [f"agent-{arch}-{v}" for arch in ("amd64", "arm64") for v in ("1-0", "2")]
    assert chosen(tmp_path, "agent-amd64-2", "worker") == ["worker", "agent-amd64-2"]


def test_without_a_default_group_all_are_built_but_what_others_only_inherit_from(tmp_path: Path) -> None:
    text = FILE.replace('default = ["server", "worker"]\nall = ["default", "agent"]', "")
    assert chosen(tmp_path, text=text) == list(read(tmp_path))[1:]
    assert chosen(tmp_path, "_base", text=text) == ["_base"]


def test_groups_that_name_each_other_end(tmp_path: Path) -> None:
    text = '[group]\na = ["b"]\nb = ["a", "c"]\n[image.c]\ntag = "c"\n'
    assert chosen(tmp_path, "a", text=text) == ["c"]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('[image.a]\ninherits = ["b"]\n[image.c]\n', (2, 13), "no image 'b'"),
        ('[image.a]\ninherits = ["a"]\n', (2, 13), "a -> a"),
        ('[image.a]\ninherits = "b"\n[image.b.matrix]\nv = ["1"]\n', (2, 12), "several"),
        ('[image.a]\nname = "b"\n', (2, 8), "matrix"),
        ('[image.a]\nname = "b"\n[image.a.matrix]\nv = ["1", "2"]\n', (2, 8), "name 'b'"),
        ("[image.a.matrix]\nv = []\n", (2, 5), "no values"),
        ('[image.a.matrix]\nv = [["x"]]\n', (2, 6), "array"),
        ('[image.a]\ntag = "${w}"\n[image.a.matrix]\nv = ["x"]\n', (2, 7), "'w'"),
        ('[image.a]\nuser = "${v}"\n[image.a.matrix]\nv = ["1", "no user"]\n', (2, 8), "no user"),
        ('[group]\ndefault = ["x"]\n[image.a]\n', (2, 12), "'x'"),
        ('[group]\na = ["b"]\n[image.a]\n[image.b]\n', (2, 1), "too"),
        ('[group]\na = ["b"]\n', (1, 2), "grouped"),
        ("[group]\na = 1\n[image.b]\n", (2, 5), "integer"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(
    tmp_path: Path, text: str, place: tuple[int, int], message: str
) -> None:
    found = fault(tmp_path, text)
    assert (found.line, found.column) == place
    assert message in found.message
    assert found.fix


def test_a_long_line_of_inheritance_and_a_large_matrix_end_with_a_sentence(tmp_path: Path) -> None:
    chain = "\n".join(f'[image.a{n}]\ninherits = ["a{n + 1}"]' for n in range(2000))
    assert "behind" in str(refusal(lambda: read(tmp_path, f"{chain}\n[image.a2000]\n"), SpecFileError))
    diamonds = "\n".join(f'[image.a{n}]\ninherits = ["a{n + 1}", "a{n + 1}"]' for n in range(30))
    assert len(read(tmp_path, f"{diamonds}\n[image.a30]\n")) == 31
    values = ", ".join(f'"{n}"' for n in range(101))
    assert "10201" in fault(tmp_path, f"[image.a.matrix]\nv = [{values}]\nw = [{values}]\n").message


def test_the_command_line_sets_keys_of_images(tmp_path: Path) -> None:
    images = read(
        tmp_path,
        FILE,
        "VERSION=2",
        "server.user=0",
        "*.env.LEVEL=error",
        "worker.tag=a",
        "worker.tag=b:1",
        "agent-*.bundle-libraries=true",
    )
    assert (images["server"].spec.user, images["worker"].spec.user) == ("0", "1000:1000")
    assert {dict(image.spec.env)["LEVEL"] for image in images.values()} == {"error"}
    assert dict(images["server"].spec.env)["MODE"] == "live"
    assert images["worker"].spec.names == ("a", "b:1")
    assert images["server"].spec.names[0].endswith(":2")
    assert [name for name, image in images.items() if image.spec.bundle_libraries] == list(images)[3:]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("sever.user=0", "'server'"),
        ("server.usr=0", "'user'"),
        ("server.env=A", "server.env.NAME=VALUE"),
        ("server.user.a=0", "server.user=VALUE"),
        ("server.bundle-libraries=yes", "bundle-libraries=true"),
        ("server.ports=http", "8080"),
        ("arch=arm64", "It has"),
        ("VERSON=1", "'VERSION'"),
    ],
)
def test_a_setting_that_does_not_fit_is_a_mistake_of_the_caller(tmp_path: Path, setting: str, told: str) -> None:
    assert told in refusal(lambda: read(tmp_path, FILE, setting), UsageError).fix


def test_build_takes_groups_and_settings_too(shared_home: Home, tmp_path: Path) -> None:
    tinyelf.write(tmp_path / "server")
    text = FILE.replace("${REGISTRY}/", "")
    (tmp_path / "scratch.toml").write_text(
        text.replace('with = ["tmp", "ca-certificates"]', "").replace("tzdata", "tmp")
    )
    of_file = ["--spec", "scratch.toml", "--set", "worker.user=7", "--dry-run"]
    results = shared_home.json("build", *of_file, cwd=tmp_path)["results"]
    assert [result["image"] for result in results] == ["server", "worker"]
    assert [result["plan"]["config"]["config"]["User"] for result in results] == ["1000:1000", "7"]
    one = shared_home.json("build", *of_file, "--image", "worker", cwd=tmp_path)
    assert one["plan"]["config"]["config"]["Cmd"] == ["--work"]
