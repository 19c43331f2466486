"""Programs are looked up in absolute directories only: what lies in the working directory may be anybody's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import tinyelf

from rootless_scratch.host.environment import tool_environment
from rootless_scratch.spawn import find

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

NAMES = ("buildah", "podman", "skopeo", "newuidmap", "sh", "conmon", "runc", "crun", "python3")


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A working directory, and one below it, with programs of somebody else's; they leave a trace."""
    place = tmp_path / "checkout"
    for directory in (place, place / "bin"):
        directory.mkdir()
        for name in NAMES:
            (directory / name).write_text(f'#!/bin/sh\n: > "{tmp_path}/ran-{name}"\nexit 1\n')
            (directory / name).chmod(0o755)
    return place


@pytest.mark.buildah
@pytest.mark.podman
@pytest.mark.parametrize("path", ["", ":", ".", "bin", ":bin:.:", None])
def test_no_program_of_the_working_directory_is_run(
    fresh_home: Home, trap: Path, tmp_path: Path, path: str | None
) -> None:
    program = str(tinyelf.write(tmp_path / "program"))
    fresh_home.environment.pop("PATH")
    more = {} if path is None else {"PATH": path}
    for words in (
        ("build", program, "-t", "x"),
        ("build", program, "-t", "y", "-o", f"oci:{tmp_path}/layout"),
        ("check", "x"),
        ("save", "x", "-o", f"{tmp_path}/x.tar"),
        ("run", "--network", "none", "x"),
    ):
        done = fresh_home.cli(*words, cwd=trap, environment=more)
        assert done.returncode == 0, done.stderr
    # What clears the home away is looked up as well.
    fresh_home.environment["PATH"] = os.environ["PATH"]
    assert [name for name in os.listdir(tmp_path) if name.startswith("ran-")] == []


def test_the_first_absolute_directory_that_has_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "buildah").write_text("#!/bin/sh\n")
    (own / "buildah").chmod(0o755)
    monkeypatch.chdir(trap)
    monkeypatch.setenv("PATH", f"bin::{own}:/usr/bin")
    assert find("buildah") == f"{own}/buildah"
    assert find("./buildah") == f"{trap}/buildah"
    environment = tool_environment({"HOME": str(tmp_path), "PATH": "bin:/usr/bin::/bin"})
    assert environment.variables["PATH"] == "/usr/bin:/bin"
    assert len(environment.notes) == 1
    assert tool_environment({"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}).notes == ()
