"""What `debug` runs beside a container is the toolbox that it makes, whatever else has its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tinyelf
from containers import Home, podman

import rootless_scratch as rs
from rootless_scratch.engine.api.images import is_image

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

pytestmark = [pytest.mark.podman]

TOOLBOX = "localhost/rootless-scratch-toolbox"


@pytest.fixture
def target(fresh_home: Home, tmp_path: Path) -> Home:
    """A home with an image to look into, over which a toolbox has been made once."""
    program = tinyelf.write(tmp_path / "hello")
    assert fresh_home.cli("build", "-q", str(program), "-t", "looked-into").returncode == 0
    assert look(fresh_home).stdout == b"hello\n"
    return fresh_home


def look(home: Home, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return home.cli("debug", "-q", "looked-into", "--exec", "ls /target", environment=environment)


def toolboxes(home: Home) -> list[str]:
    return podman(home, "images", "--no-trunc", "--format", "{{.Tag}} {{.ID}}", TOOLBOX)


def foreign(place: Path) -> Path:
    """A program that says that it was run, in place of a shell."""
    return tinyelf.write(place / "sh", text=b"foreign\n")


def test_a_foreign_image_under_the_name_of_the_toolbox_is_not_run(target: Home, tmp_path: Path) -> None:
    tag, own = toolboxes(target)
    podman(target, "rmi", "--force", own)
    archive = f"docker-archive:{tmp_path}/foreign.tar:{TOOLBOX}:{tag}"
    rs.build(foreign(tmp_path), output=archive, entrypoint=["/sh"], mkdir=["/target"])
    podman(target, "load", "--input", f"{tmp_path}/foreign.tar")
    assert toolboxes(target)[0] == tag
    assert look(target).stdout == b"hello\n"
    assert toolboxes(target) == [tag, own]


def test_a_toolbox_of_an_archive_for_docker_counts_for_it_holds_the_same(target: Home, tmp_path: Path) -> None:
    tag, own = toolboxes(target)
    target.run(["podman", "save", "--format", "docker-archive", "-o", f"{tmp_path}/it.tar", f"{TOOLBOX}:{tag}"])
    podman(target, "rmi", "--force", own)
    podman(target, "load", "--input", f"{tmp_path}/it.tar")
    for _twice in range(2):
        assert look(target).stdout == b"hello\n"


@pytest.mark.parametrize(
    ("said", "same"),
    [
        ({"Id": "1", "Digest": "sha256:2"}, True),
        ({"Id": "1", "Digest": "sha256:3", "RepoDigests": ["localhost/a@sha256:2"]}, True),
        ({"Id": "1", "Digest": "sha256:3", "RepoDigests": ["localhost/a@sha256:4"]}, False),
        ({"Id": "2", "Digest": "sha256:2"}, False),
        ({"Id": "1"}, False),
    ],
)
def test_an_image_is_the_toolbox_by_its_id_and_by_its_manifest(said: dict[str, object], same: bool) -> None:
    assert is_image(said, image_id="1", digest="sha256:2") is same


def test_it_is_the_same_toolbox_whatever_time_builds_are_given(target: Home) -> None:
    before = toolboxes(target)
    assert look(target, SOURCE_DATE_EPOCH="86400").stdout == b"hello\n"
    assert toolboxes(target) == before
