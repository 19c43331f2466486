"""scripts/bench for real: a small group is measured, recorded, and compared with a commit before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2]


def bench(tree: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    home = tree.parent / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [tree / "scripts/bench", *words],
        env={**os.environ, "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def git(tree: Path, *words: str) -> str:
    author = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    done = subprocess.run(["git", *author, "-C", tree, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with these scripts, for which nothing has to be set up."""
    tree = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCE / "scripts", tree / "scripts", ignore=ignored)
    (tree / "docs").mkdir()
    for page in ("performance.md", "hello.c"):
        shutil.copy(SOURCE / "docs" / page, tree / "docs")
    for path, command in (("scripts/setup", ":"), (".venv/bin/python", f'exec "{sys.executable}" "$@"')):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(f"#!/bin/sh\n{command}\n")
        (tree / path).chmod(0o755)
    (tree / ".gitignore").write_text(".venv\n__pycache__\n")
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "first")
    return tree


@pytest.mark.buildah
@pytest.mark.podman
def test_what_has_become_slower_since_a_commit_is_named(checkout: Path, tmp_path: Path) -> None:
    measured = tmp_path / "line.json"
    done = bench(checkout, "--only", "start", "--quick", "--json", measured)
    assert done.returncode == 0, done.stderr
    assert "| `--version`, `build --help` against `python -c pass` | 2, 3 | m" in done.stdout
    assert "podman run" not in done.stdout
    line = json.loads(measured.read_text())
    assert set(line["ratios"]) == {"start.version", "start.help"}
    assert (line["commit"], line["changed"], line["quick"]) == (git(checkout, "rev-parse", "HEAD"), False, True)
    assert line["driver"] in ("vfs", "overlay")
    assert line["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert {"buildah", "podman", "python"} < set(line["tools"])

    twice = {name: ratio / 2 for name, ratio in line["ratios"].items()}
    history = checkout / "docs/performance-history.jsonl"
    history.write_text(json.dumps({**line, "ratios": twice}) + "\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "second")
    slower = bench(checkout, "--compare", "HEAD", f"--measured={measured}")
    assert slower.returncode == 1
    assert sorted(line.split(":")[0] for line in slower.stdout.splitlines()) == ["start.help", "start.version"]
    assert slower.stdout.count("(+100 %)") == 2

    history.write_text(json.dumps(line) + "\n")
    same = bench(checkout, "--compare", "HEAD", "--measured", measured)
    assert (same.returncode, same.stdout) == (0, "")
    assert "nothing is worse by more than 10 %" in same.stderr
    left = [each.name for each in (tmp_path / "home").iterdir()]
    assert [name for name in left if name.startswith(".rootless-scratch-bench-")] == []


@pytest.mark.buildah
def test_a_comparison_with_what_was_never_measured_is_refused(checkout: Path) -> None:
    done = bench(checkout, "--compare", "HEAD", "--only", "start")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "bench: performance-history.jsonl has no line of HEAD, nor of a commit before it"
    )
    assert bench(checkout, "--compare", "v0").stderr == "bench: git knows no commit v0\n"
    assert bench(checkout, "--json").stderr == "bench: --json needs a value\n"


@pytest.mark.buildah
@pytest.mark.parametrize("option", ["--quick", "--only=start", "--measured=x"])
def test_only_whole_measurements_are_kept(checkout: Path, option: str) -> None:
    done = bench(checkout, "--write", option)
    assert done.returncode == 2
    assert "--write keeps whole measurements" in done.stderr
    assert not (checkout / "docs/performance-history.jsonl").exists()
