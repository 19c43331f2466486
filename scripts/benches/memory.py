"""The most memory that calls of each kind have at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benches.files import FEW, MANY
from benches.home import OURS, Bench
from benches.runs import wait_for_services
from benches.series import Result, table
from benches.starts import list_programs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_EVERY = 0.005
_SPARSE = 2_000_000_000


def measure_memory(bench: Bench) -> Result:
    """What processes of ours have together: this call, its workers and its pool, but not the engines it calls."""
    sparse = bench.home / "sparse"
    shutil.copy(bench.program, sparse)
    os.truncate(sparse, _SPARSE)
    zeros = bench.home / "streamed"
    zeros.touch()
    os.truncate(zeros, _SPARSE)
    bench.time([OURS, "build", "-q", "--bundle-libraries", "/bin/cat", "-t", "cat"])
    stored = ("-t", "bench")
    layout = ("-o", f"oci:{bench.home}/memory")
    padded, few, many = bench.context("100MB"), bench.tree(FEW), bench.tree(MANY)
    build = (OURS, "build", "-q")
    calls: dict[str, tuple[str, Sequence[str]]] = {
        "default": ("`build -t`, 100 MB", [*build, str(padded / "hello"), *stored]),
        "direct": (
            "`build -t --backend direct`, 100 MB",
            [*build, str(padded / "hello"), *stored, "--backend", "direct"],
        ),
        "oci": ("`build -o oci:`, 2 GB", [*build, str(sparse), *layout]),
        "copies": (
            f"`build -t --copy`, {FEW:,} files",
            [*build, str(few / "hello"), "--copy", f"{few}/tree:/srv", *stored],
        ),
        "file": (
            f"`build -f -o oci:`, {FEW:,} files",
            [*build, "-f", str(few / "Containerfile"), str(few), *layout],
        ),
        "files": (
            f"`build -o oci: --copy`, {MANY:,} files",
            [*build, str(many / "hello"), "--copy", f"{many}/tree:/srv", *layout],
        ),
        "run": ("`run`", [OURS, "run", "-q", "--network", "none", "cat", "/dev/null"]),
        "stream": (
            "`run -i`, 2 GB",
            ["sh", "-c", 'exec "$@" <"$0"', str(zeros), OURS, "run", "-q", "-i", "--network", "none", "cat"],
        ),
        "check": (
            "`check --bundle-libraries /usr/bin/*`",
            [OURS, "check", "--bundle-libraries", *list_programs()],
        ),
        "doctor": ("`doctor`", [OURS, "doctor"]),
    }
    rows = [("call", "memory")]
    figures = {}
    for name, (label, argv) in calls.items():
        figure = figures[f"memory.{name}"] = peak(bench, argv)
        rows.append((label, f"{figure:.0f} MB"))
    wait_for_services(bench)
    bench.empty()
    return Result(tables=(table("Memory", rows),), figures=figures)


def peak(bench: Bench, argv: Sequence[str]) -> float:
    """Megabytes that processes of ours have together at most, looked at every few milliseconds.

    A page that several processes share counts for a part of it in each: Pss of proc(5). Python's own files may
    be shared with others.
    """
    process = subprocess.Popen(
        argv, env=bench.environment, cwd=bench.home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    most = 0
    while process.poll() is None:
        most = max(most, sum(map(_memory, _ours(process.pid))))
        time.sleep(_EVERY)
    if process.returncode not in (0, 1):  # 1: `check` has found something
        sys.exit(f"bench: {argv} failed")
    return most / 1000


def _ours(pid: int) -> Iterator[int]:
    """This process and those below it that are a Python, as all of ours are."""
    try:
        exe = os.readlink(f"/proc/{pid}/exe")
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return
    if exe == os.path.realpath(sys.executable):
        yield pid
    for each in below:
        yield from _ours(int(each))


def _memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
