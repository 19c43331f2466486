"""The scripts: what they say where they cannot go on, and that CI runs what a developer runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent
SHELL = ("setup", "demo", "test", "bench", "corpus", "sizes")


@pytest.mark.parametrize("name", SHELL)
def test_each_script_stops_at_its_first_error(name: str) -> None:
    text = (SOURCE / "scripts" / name).read_text()
    assert "\nset -euo pipefail\n" in text
    assert os.access(SOURCE / "scripts" / name, os.X_OK)


def test_ci_runs_the_test_script_and_nothing_else() -> None:
    lines = (SOURCE / ".ci/run").read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert [line for line in lines[1:] if line] == ['exec "$(dirname "${BASH_SOURCE[0]}")/../scripts/test"']


def test_an_unknown_argument_of_setup_is_named_before_anything_is_done() -> None:
    done = subprocess.run([SOURCE / "scripts/setup", "--tset"], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr == b"setup: unknown argument: --tset (usage: scripts/setup [--test | --fast])\n"


@pytest.fixture
def bare_host(tmp_path: Path) -> dict[str, str]:
    """A PATH with a shell and the package manager, and nothing that setup would install; no sudo either."""
    for name in ("bash", "env", "id", "dirname", "cut", "apt-get", "dnf"):
        found = shutil.which(name)
        if found is not None:
            (tmp_path / name).symlink_to(found)
    return {"PATH": str(tmp_path)}


def packages(environment: dict[str, str], script: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell with the functions of packages.sh."""
    sources = "set -euo pipefail; . scripts/common.sh; PATH=$1; . scripts/packages.sh; shift; "
    return subprocess.run(
        ["bash", "-c", sources + script, "setup", environment["PATH"]],
        cwd=SOURCE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_on_a_bare_host_everything_is_missing_and_a_demo_needs_no_package_of_the_tests(
    bare_host: dict[str, str],
) -> None:
    for_demo = packages(bare_host, "missing '' 1").stdout.split()
    for_tests = packages(bare_host, "missing test 1").stdout.split()
    assert {"podman", "buildah", "uidmap", "crun", "gcc"} <= set(for_demo)
    assert {"golang-go", "busybox-static", "musl-tools", "shellcheck", "git"} <= set(for_tests) - set(for_demo)
    assert "shadow-utils" in packages(bare_host, "missing '' 2").stdout.split()


@pytest.mark.podman
@pytest.mark.compiler
def test_where_everything_is_installed_nothing_is_missing_and_nothing_is_asked_of_root() -> None:
    done = packages(dict(os.environ), "missing test 1; install_missing test")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_rights_setup_names_the_command_for_the_administrator(bare_host: dict[str, str]) -> None:
    done = packages(bare_host, "is_root() { return 1; }; install_missing ''")
    assert done.returncode == 1
    assert done.stderr.startswith("setup: missing: podman buildah ")
    assert "  fix: have an administrator run: sudo " in done.stderr
    assert "install" in done.stderr.splitlines()[1]
