"""Containerfiles of the shapes that public projects have: the same image as `buildah build` makes, and it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import shapes
from workshops import Workshop, assert_same, workshop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Home

pytestmark = pytest.mark.buildah


@pytest.fixture(scope="module")
def built(shared_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with workshop(shared_home, tmp_path_factory.mktemp("shapes"), shapes.SHAPES, shapes.prepare) as opened:
        yield opened


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_a_containerfile_gives_the_image_that_buildah_makes_of_it(built: Workshop, name: str) -> None:
    assert_same(built.made(name))


@pytest.mark.podman
@pytest.mark.parametrize("name", [name for name in shapes.SHAPES if "runs" in shapes.options_of(name)])
def test_the_image_of_a_containerfile_runs(built: Workshop, name: str) -> None:
    done = built.home.cli("run", "-q", f"oci:{built.made(name).layout}")
    assert done.stdout.decode().strip() == shapes.options_of(name)["runs"], done.stderr.decode()
