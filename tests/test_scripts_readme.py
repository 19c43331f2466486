"""The README's error is what a newcomer will see: its commands are run and its text compared."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Home

SOURCE = Path(__file__).resolve().parent.parent
HEADING = "## What an error looks like"


def transcript() -> list[tuple[str, str]]:
    """The commands of the README's error and what it shows after each."""
    section = (SOURCE / "README.md").read_text().partition(HEADING)[2]
    block = section.partition("```console\n")[2].partition("```")[0]
    steps = []
    for part in block.split("$ ")[1:]:
        command, _, output = part.partition("\n")
        steps.append((command, output))
    return steps


@pytest.mark.buildah
@pytest.mark.compiler
def test_the_error_that_the_readme_shows_is_the_error_that_a_newcomer_gets(
    shared_home: Home, tmp_path: Path
) -> None:
    shutil.copy(SOURCE / "docs/hello.c", tmp_path)
    compile_, build = transcript()
    compiler, *words = shlex.split(compile_[0])
    assert compiler == "gcc"
    done = shared_home.run(["gcc", "-o", str(tmp_path / words[1]), str(tmp_path / words[2])])
    assert done.stdout.decode() == compile_[1]
    ours, *words = shlex.split(build[0])
    assert ours == "rootless-scratch"
    refused = shared_home.cli(*words, cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stdout == b""
    assert refused.stderr.decode() == build[1]
