"""Each instruction and option of a Containerfile by itself: the same files and config as `buildah build` makes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import instructions
import pytest
import shapes
from layouts import read_layout
from workshops import Workshop, assert_same, build, workshop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Home

pytestmark = pytest.mark.buildah

NAMES = list(instructions.CASES)
DOCKER_KEYS = ("Healthcheck", "OnBuild", "Shell")


@pytest.fixture(scope="module")
def built(shared_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    directory = tmp_path_factory.mktemp("instructions")
    with workshop(shared_home, directory, NAMES, instructions.prepare) as opened:
        yield opened


@pytest.mark.parametrize("name", NAMES)
def test_an_instruction_gives_what_buildah_makes_of_it(built: Workshop, name: str) -> None:
    assert_same(built.made(name))


@pytest.mark.parametrize("name", ["healthcheck", "healthcheck-none", "healthcheck-shell-form", "onbuild", "shell"])
def test_what_oci_has_no_key_for_is_kept_for_docker(shared_home: Home, tmp_path: Path, name: str) -> None:
    shape = instructions.prepare(name, tmp_path)
    shapes.buildah(shared_home, "build", "-q", "--format=docker", "-t", f"docker-{name}", shape.context)
    found = json.loads(shapes.buildah(shared_home, "inspect", "--type=image", f"docker-{name}"))
    build(shared_home, shape, tmp_path / "ours", "--compat=docker")
    theirs, ours = found["Docker"]["config"], read_layout(tmp_path / "ours").config["config"]
    assert [ours.get(key) or None for key in DOCKER_KEYS] == [theirs.get(key) or None for key in DOCKER_KEYS]
