"""SIGINT while the program still loads: no traceback, and the exit code 130."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2]

INTERRUPT = """
import importlib.abc, os, pkgutil, runpy, signal, sys
number, moment, way = 0, int(sys.argv.pop(1)), sys.argv.pop(1)

class Watcher(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        global number
        number += 1
        if number == moment:
            os.kill(os.getpid(), signal.SIGINT)

def count():
    os.write(2, f"imports: {number}".encode())
    ended(0)

sys.argv[0] = "rootless-scratch"
# What runs before our own code is Python's: the package itself is the last of it.
import rootless_scratch
sys.meta_path.insert(0, Watcher())
if moment == 0:
    ended, os._exit = os._exit, lambda code: count()
if way == "-m":
    runpy.run_module("rootless_scratch", run_name="__main__", alter_sys=True)
else:
    from rootless_scratch.__main__ import main
    sys.exit(main())
"""


def start(moment: int, way: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """A start in which SIGINT comes as the import of that number begins; at 0 the imports are counted."""
    return subprocess.run(
        [sys.executable, "-c", INTERRUPT, str(moment), way, *words],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("way", ["-m", "script"])
def test_an_interrupt_at_any_import_ends_it_with_130_and_without_a_traceback(way: str) -> None:
    words = ("check", "/nonexistent/program")
    counted = start(0, way, *words).stderr.decode()
    imports = int(counted.rpartition("imports: ")[2])
    assert imports > 20, counted
    # Before the second none of our own lines has run.
    for moment in {2, 3, 4, 5, 6, 7, 8, *range(9, imports, imports // 25)}:
        done = start(moment, way, *words)
        assert (done.returncode, done.stdout) == (130, b""), (moment, done.stderr.decode())
        assert b"Traceback" not in done.stderr, (moment, done.stderr.decode())


def test_where_interrupts_are_ignored_they_stay_so() -> None:
    script = 'trap "" INT; exec "$@"'
    words = ["sh", "-c", script, "sh", sys.executable, "-c", INTERRUPT, "9", "script", "--version"]
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
