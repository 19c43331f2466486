"""A dozen real programs, sound and broken: verdict and reality agree. `scripts/corpus` takes the whole list."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Home

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / "tests/corpus/programs.txt").read_text().splitlines()

EVERYWHERE = (
    "/bin/busybox",
    "/usr/bin/bash",
    "/usr/bin/curl",
    "/usr/bin/find",
    "/usr/bin/git",
    "/usr/bin/grep",
    "/usr/bin/podman",
    "/usr/bin/sed",
    "/usr/bin/skopeo",
    "/usr/bin/sqlite3",
    "/usr/bin/tar",
    "/usr/bin/x86_64-linux-gnu-gcc-12",
    "/usr/bin/xargs",
)
"""Static and dynamic ones, of C, C++ and Go; all but the compiler's name are those of any host of the tests."""


@pytest.mark.buildah
@pytest.mark.podman
def test_a_dozen_real_programs_start_and_their_broken_variants_do_not(shared_home: Home) -> None:
    here = [program for program in EVERYWHERE if os.path.exists(program)]
    words = [sys.executable, str(ROOT / "scripts/corpus.py"), *(f"{each} " for each in here)]
    done = subprocess.run(words, env=shared_home.environment, capture_output=True, timeout=900, check=False)
    assert len(here) >= 10
    said = done.stdout.decode()
    assert said.splitlines()[-1] == f"{len(here)} programs, 0 where verdict and reality differ", said


def test_the_list_has_enough_programs_and_none_of_them_twice() -> None:
    programs = [line.split()[1] for line in LINES if not line.startswith("#")]
    assert len(programs) == len(set(programs)) >= 120
    assert set(EVERYWHERE) <= set(programs)
