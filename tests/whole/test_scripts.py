"""The scripts: what they say where they cannot go on, and that CI runs what a developer runs."""

from __future__ import annotations

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2]
SHELL = ("setup", "demo", "test", "bench", "corpus", "hosts", "image", "sizes")


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


def lower_bounds() -> dict[str, str]:
    found = runpy.run_path(str(SOURCE / "scripts/lower_bounds.py"))["lower_bounds"]()
    assert isinstance(found, dict)
    return found


def test_the_lowest_versions_are_those_that_the_project_asks_for() -> None:
    done = subprocess.run(
        [sys.executable, SOURCE / "scripts/lower_bounds.py"], capture_output=True, text=True, check=True
    )
    asked = re.sub(r"\[[a-z-]+\]>=", ">=", (SOURCE / "pyproject.toml").read_text())
    for line in done.stdout.splitlines():
        assert f'"{line.replace("==", ">=")}' in asked
    assert {"click", "podman", "sh", "zstandard", "pytest"} < set(lower_bounds())


@pytest.mark.parametrize("requirement", ["click", "click<9", "click==8.2", "click>=8.2,<9"])
def test_a_requirement_of_which_nobody_knows_what_was_tested_is_refused(tmp_path: Path, requirement: str) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(
        f'[project]\nname = "x"\ndependencies = ["{requirement}"]\n[project.optional-dependencies]\n'
    )
    bounds = runpy.run_path(str(SOURCE / "scripts/lower_bounds.py"))["lower_bounds"]
    with pytest.raises(ValueError, match="no lower bound"):
        bounds(project)


def test_the_lock_has_what_the_project_asks_for() -> None:
    lines = (SOURCE / "requirements.lock").read_text().splitlines()
    locked = dict(re.findall(r"^([a-z0-9-]+)==([0-9.]+)", line)[0] for line in lines if line[:1].isalpha())
    for name, lowest in lower_bounds().items():
        assert numbers(locked[name]) >= numbers(lowest), name


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.strip(".").split(".")]


def test_nox_and_the_test_script_mean_the_same_tests_by_those_without_tools() -> None:
    said = re.findall(r"^WITHOUT_TOOLS='(.*)'$", (SOURCE / "scripts/common.sh").read_text(), re.MULTILINE)
    sessions = ast.parse((SOURCE / "noxfile.py").read_text()).body
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in sessions
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    assert [values["WITHOUT_TOOLS"]] == said


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
