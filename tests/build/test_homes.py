"""Where programs of the system go: with their libraries to the host's own path, and a link `/NAME` leads there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from planning import put

from rootless_scratch.image.plan.planner import Plan, plan
from rootless_scratch.image.rootfs import Directory, File, Symlink
from rootless_scratch.image.spec import Copy, NewDirectory, NewSymlink, Spec
from rootless_scratch.image.syntax import parse_program

if TYPE_CHECKING:
    from conftest import Home

PROGRAM = os.path.realpath("/usr/bin/cat")
NAME = os.path.basename(PROGRAM)
LINK = next(
    str(path)
    for path in sorted(Path("/usr/bin").iterdir())
    if path.is_symlink() and path.exists() and path.resolve().parent == Path("/usr/bin")
    if path.resolve().read_bytes()[:4] == b"\x7fELF"
)


def made(*programs: str, **more: Any) -> Plan:  # noqa: ANN401 - passed on
    words = tuple(parse_program(word) for word in programs)
    return plan(Spec(programs=words, **{"bundle_libraries": True, **more}), environ={})


def entry(found: Plan, path: str) -> object:
    return next((each for each in found.rootfs if each.path == path), None)


def test_a_program_of_the_system_lies_where_it_lies_on_the_host_and_a_link_leads_there() -> None:
    found = made(PROGRAM)
    assert isinstance(entry(found, PROGRAM), File)
    assert entry(found, f"/{NAME}") == Symlink(path=f"/{NAME}", target=PROGRAM)
    assert found.config.config.entrypoint == (PROGRAM,)
    assert [program.path for program in found.programs] == [PROGRAM]


def test_a_program_that_is_named_by_a_link_keeps_both_paths() -> None:
    found, real = made(LINK), os.path.realpath(LINK)
    assert isinstance(entry(found, real), File)
    assert entry(found, LINK) == Symlink(path=LINK, target=real)
    assert entry(found, f"/{os.path.basename(LINK)}") == Symlink(path=f"/{os.path.basename(LINK)}", target=LINK)
    assert found.config.config.entrypoint == (LINK,)


def test_a_path_through_a_linked_directory_is_where_it_really_leads(tmp_path: Path) -> None:
    (tmp_path / "bin").symlink_to("/usr/bin")
    assert made(str(tmp_path / "bin" / NAME)).config.config.entrypoint == (PROGRAM,)


def test_a_place_that_is_said_holds() -> None:
    found = made(f"{PROGRAM}:/app")
    assert [each.path for each in found.rootfs.files if each.source == PROGRAM] == ["/app"]
    assert found.config.config.entrypoint == ("/app",)


def test_without_anything_of_the_host_it_lies_at_its_name() -> None:
    found = made(PROGRAM, bundle_libraries=False)
    assert [each.path for each in found.rootfs] == [f"/{NAME}"]


def test_a_program_that_somebody_built_lies_at_its_name(tmp_path: Path) -> None:
    found = made(put(tmp_path, "hello", tinyelf.elf()))
    assert found.config.config.entrypoint == ("/hello",)


@pytest.mark.parametrize(
    "own",
    [
        {"symlinks": (NewSymlink(path=PROGRAM, target=f"/{NAME}"),)},
        {"symlinks": (NewSymlink(path="/usr", target="/"),)},
        {"copies": (Copy(source=__file__, destination=PROGRAM),)},
    ],
)
def test_what_the_user_has_put_there_keeps_the_program_at_its_name(own: dict[str, Any]) -> None:
    found = made(PROGRAM, **own)
    assert isinstance(entry(found, f"/{NAME}"), File)
    assert found.config.config.entrypoint == (f"/{NAME}",)


@pytest.mark.parametrize("own", [f"/{NAME}", f"/{NAME}/below"])
def test_no_link_takes_the_place_of_something_else(own: str) -> None:
    found = made(PROGRAM, directories=(NewDirectory(path=own),))
    assert isinstance(entry(found, f"/{NAME}"), Directory)
    assert found.config.config.entrypoint == (PROGRAM,)


def test_two_names_of_one_program_are_one_file_and_two_links() -> None:
    found = made(LINK, os.path.realpath(LINK))
    assert len([each for each in found.rootfs.files if each.source in (LINK, os.path.realpath(LINK))]) == 1
    assert found.config.config.entrypoint == (LINK,)


def test_every_surface_says_the_same_place(shared_home: Home, tmp_path: Path) -> None:
    words = [PROGRAM, "--bundle-libraries"]
    dry = shared_home.json("build", *words, "-o", f"oci:{tmp_path}/image", "--dry-run")["plan"]
    shared_home.json("build", *words, "-o", f"oci:{tmp_path}/image")
    seen = shared_home.json("inspect", f"oci:{tmp_path}/image")
    assert seen["config"]["config"]["Entrypoint"] == [PROGRAM] == dry["config"]["config"]["Entrypoint"]
    assert [each["path"] for each in seen["files"]] == [each["path"] for each in dry["entries"]]
    shared_home.cli("containerfile", *words, "-o", str(tmp_path / "context"))
    text = (tmp_path / "context/Containerfile").read_text()
    assert f'ENTRYPOINT ["{PROGRAM}"]' in text
    shared_home.json("verify", f"oci:{tmp_path}/image", *words)
    judged = shared_home.json("check", PROGRAM, "--bundle-libraries")
    assert judged["verdict"] == "starts"
