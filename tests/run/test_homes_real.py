"""Programs that look for their own files find them, for they lie where they lie on this host."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

pytestmark = pytest.mark.podman


def test_git_serves_a_repository_with_the_helpers_of_its_package(shared_home: Home, tmp_path: Path) -> None:
    repository = tmp_path / "shop.git"
    subprocess.run(["git", "init", "-q", "--bare", str(repository)], check=True)
    words = [
        "/usr/bin/git",
        "/bin/dash:/bin/sh",
        "-t",
        "git-home",
        "--bundle-libraries",
        "--bundle-package",
        "git",
    ]
    more = ["--with", "tmp", "--env", "PATH=/usr/bin:/bin"]
    built = shared_home.cli("build", *words, *more)
    assert built.returncode == 0, built.stderr.decode()
    safe = [
        "--env",
        "GIT_CONFIG_COUNT=1",
        "--env",
        "GIT_CONFIG_KEY_0=safe.directory",
        "--env",
        "GIT_CONFIG_VALUE_0=*",
    ]
    run = ["run", "--volume", f"{tmp_path}:/data:ro", "--tmpfs", "/work", *safe, "git-home"]
    done = shared_home.cli(*run, "clone", "file:///data/shop.git", "/tmp/shop")
    assert b"Cloning into" in done.stderr, done.stderr.decode()
    assert done.returncode == 0, done.stderr.decode()


def test_a_system_program_is_found_by_its_path_and_by_its_name_alone(shared_home: Home) -> None:
    shared_home.json("build", "/usr/bin/git", "-t", "git-names", "--bundle-libraries")
    assert shared_home.cli("run", "git-names", "--version").stdout.startswith(b"git version")
    assert shared_home.cli("run", "--entrypoint", "/git", "git-names", "--version").stdout.startswith(
        b"git version"
    )
