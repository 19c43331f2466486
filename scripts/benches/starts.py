"""What `check` of all programs and `doctor` take, and the start of the program itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from benches.home import OURS, ROOT, Bench
from benches.series import Result, ratio, seconds, table


def measure_check(bench: Bench) -> Result:
    """Judge every program of /usr/bin in one call, against ldd(1), which asks the loader one by one."""
    programs = list_programs()
    # Both say by their exit code what they found, which is not asked here.
    ways = {
        "ours": ["sh", "-c", '"$@" >checked 2>&1 || :', "sh", OURS, "check", "--bundle-libraries", *programs],
        "theirs": ["sh", "-c", 'for each; do ldd "$each"; done >listed 2>&1 || :', "sh", *programs],
    }
    series = bench.alternate(ways)
    figure, taken = series.ratio("ours", "theirs"), series.median("ours")
    count = len(programs)
    rows = [
        ("programs", "`check --bundle-libraries`", "programs per second", "`ldd` one by one", "ratio", "runs"),
        (
            *(str(count), seconds(taken), f"{count / taken:.0f}"),
            *(seconds(series.median("theirs")), ratio(figure), str(series.runs)),
        ),
    ]
    return Result(tables=(table("Checking", rows),), figures={"check": figure})


def list_programs() -> list[str]:
    """The ELF files of /usr/bin that this user may read."""
    return [str(path) for path in sorted(Path("/usr/bin").iterdir()) if _is_program(path)]


def _is_program(path: Path) -> bool:
    if not path.is_file() or not os.access(path, os.R_OK):
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def measure_start(bench: Bench) -> Result:
    """Time the start of the program itself against that of Python, and name what it imports."""
    ways = {
        "python": [sys.executable, "-c", "pass"],
        "version": [OURS, "--version"],
        "help": [OURS, "build", "--help"],
    }
    labels = {"python": "`python -c pass`", "version": "`--version`", "help": "`build --help`"}
    series = bench.alternate(ways)
    rows = [("start of", "time", "ratio", "runs")]
    figures = {}
    for way, label in labels.items():
        figure = series.ratio(way, "python")
        if way != "python":
            figures[f"start.{way}"] = figure
        rows.append((label, f"{series.median(way) * 1000:.0f} ms", ratio(figure), str(series.runs)))
    return Result(tables=(table("Starting", rows), _imports(bench)), figures=figures)


def _imports(bench: Bench) -> str:
    """Name the slowest imports of `build --help` that a bare Python does not make."""
    baseline = set(_import_times(bench, "-c", "pass"))
    found = _import_times(bench, "-m", "rootless_scratch", "build", "--help")
    own = {name: taken for name, taken in found.items() if name not in baseline}
    top = sorted(own.items(), key=lambda each: -each[1])[:10]
    named = ", ".join(f"{name} {taken / 1000:.1f}" for name, taken in top)
    return (
        f"`build --help` imports {len(own)} modules that a bare Python does not; "
        f"the slowest by themselves, in ms: {named}."
    )


def _import_times(bench: Bench, *argv: str) -> dict[str, int]:
    """Microseconds that each import took by itself, as `python -X importtime` tells."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *argv],
        env=bench.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", done.stderr, re.MULTILINE)
    return {name: int(taken) for taken, name in lines}


_REFUSING = """
echo 0 >/proc/sys/user/max_user_namespaces
exec setpriv --inh-caps -all --ambient-caps -all "$@" >refused || :
"""
"""In a user namespace of the same user: what it lets make none, and takes the effect of setuid bits."""


def measure_doctor(bench: Bench) -> Result:
    """Time `doctor` against `podman info`, here and where no namespace can be had, so that all probes fail."""
    # Its exit code says what it found, which is not asked here.
    apart = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", _REFUSING, "sh"]
    ways = {
        "healthy": ["sh", "-c", '"$@" >found || :', "sh", OURS, "doctor"],
        "refused": ["sh", "-c", '"$@" || :', "sh", *apart, OURS, "doctor"],
        "theirs": ["podman", "info"],
    }
    series = bench.alternate(ways)
    labels = {"healthy": "this host", "refused": "no user namespace"}
    rows = [("`doctor` on", "time", "`podman info`", "ratio", "runs")]
    figures = {}
    for way, label in labels.items():
        figures[f"doctor.{way}"] = series.ratio(way, "theirs")
        figures[f"doctor.{way}.seconds"] = series.median(way)
        rows.append(
            (
                *(label, seconds(series.median(way)), seconds(series.median("theirs"))),
                *(ratio(figures[f"doctor.{way}"]), str(series.runs)),
            )
        )
    return Result(tables=(table("Judging a host", rows),), figures=figures)
