"""Runs of a program that prints one line, and bytes that stream through one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benches.home import OURS, Bench
from benches.series import Result, Rows, ratio, seconds, table
from rootless_scratch.host.cgroups import choose_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOP = 50
_STREAM = 1_000_000_000
_KEPT = 30
"""Seconds after which no service that a run keeps for the next one is left, at the latest."""

_NO_NETWORK = ("--network", "none")


def podman() -> list[str]:
    """The podman of this host, with the OCI runtime that works here."""
    runtime = choose_runtime().name
    return ["podman", *(["--runtime", runtime] if runtime else [])]


def measure_run(bench: Bench) -> Result:
    """Whole runs: with a service of their own, with one that is kept, beside one, in a loop, and at once."""
    bench.time([OURS, "build", "-q", str(bench.program), "-t", "bench"])
    keeps = "--keep-service" in bench.ask(OURS, "run", "--help")
    ours = [OURS, "run", "-q", *_NO_NETWORK, "bench"]
    own = [*ours[:2], "--keep-service", "0", *ours[2:]] if keeps else ours
    theirs = [*podman(), "run", "--rm", *_NO_NETWORK, "bench"]
    loop = f"import rootless_scratch as rs\nfor _ in range({_LOOP}): rs.run('bench', network='none')"
    repeat = ["sh", "-c", f'for each in $(seq {_LOOP}); do "$@" >&2; done', "sh", *theirs]
    at_once = ["sh", "-c", f'for each in $(seq {_LOOP}); do "$@" >&2 & done; wait', "sh"]
    rows: Rows = [("", "`rootless-scratch run`", f"`{' '.join(theirs[:-1])}`", "ratio", "runs")]
    figures = {}
    with service(bench) as url:
        beside = ["env", f"CONTAINER_HOST={url}"]
        single = {"own": own, "beside": [*beside, *ours]}
        measured = [
            (bench.alternate({**single, "theirs": theirs}), tuple(single), 1),
            (
                bench.alternate({"loop": [*beside, sys.executable, "-c", loop], "theirs": repeat}),
                ("loop",),
                _LOOP,
            ),
            (
                bench.alternate({"at-once": [*at_once, *ours], "theirs": [*at_once, *theirs]}),
                ("at-once",),
                1,
            ),
        ]
    if keeps:  # by itself: what is kept would serve the others too
        measured.insert(1, (bench.alternate({"following": ours, "theirs": theirs}), ("following",), 1))
    labels = {
        "own": "with a service of its own" + (", `--keep-service 0`" if keeps else ""),
        "following": "one after the other, as by default",
        "beside": "beside a named service",
        "loop": f"`rs.run` beside one, each of {_LOOP} in a loop",
        "at-once": f"{_LOOP} at once",
    }
    for series, ways, count in measured:
        for way in ways:
            figure = figures[f"run.{way}"] = series.ratio(way, "theirs")
            times = (seconds(series.median(each) / count) for each in (way, "theirs"))
            rows.append((labels[way], *times, ratio(figure), str(series.runs)))
    if keeps:
        wait_for_services(bench)
    bench.empty()
    reasons = {} if keeps else {"run.following": "no service is kept"}
    return Result(tables=(table("Running", rows),), figures=figures, reasons=reasons)


@contextmanager
def service(bench: Bench) -> Iterator[str]:
    """Start a service of podman that listens until it is left, and yield its URL."""
    socket = bench.runtime / "bench.sock"
    process = subprocess.Popen(
        [*podman(), "system", "service", "--time=0", f"unix://{socket}"],
        env=bench.environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not socket.exists():
            if process.poll() is not None:
                sys.exit("bench: the service of podman has ended before it listened")
            time.sleep(0.05)
        yield f"unix://{socket}"
    finally:
        os.killpg(process.pid, 15)
        process.wait()
        socket.unlink(missing_ok=True)


def wait_for_services(bench: Bench) -> None:
    """Wait until no service is left that a run has kept."""
    mark = f"XDG_RUNTIME_DIR={bench.runtime}\0".encode()
    end = time.monotonic() + _KEPT
    while time.monotonic() < end:
        if not any(b"service" in words and mark in variables for words, variables in _processes()):
            return
        time.sleep(0.2)
    sys.exit(f"bench: a service is kept for more than {_KEPT} seconds")


def _processes() -> Iterator[tuple[list[bytes], bytes]]:
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as words, open(f"/proc/{entry}/environ", "rb") as variables:
                yield words.read().split(b"\0"), variables.read()
        except OSError:
            continue


def measure_streams(bench: Bench) -> Result:
    """Bytes through stdin and stdout of `cat`, from a file and to a pipe that is read at once."""
    bench.time([OURS, "build", "-q", "--bundle-libraries", "/bin/cat", "-t", "cat"])
    source = bench.home / "zeros"
    source.touch()
    os.truncate(source, _STREAM)  # no block of it lies on a disk, so nobody waits for one
    through = ["sh", "-c", '"$@" <"$0" | cat >/dev/null', str(source)]
    ways = {
        "ours": [*through, OURS, "run", "-q", "-i", *_NO_NETWORK, "cat"],
        "theirs": [*through, *podman(), "run", "--rm", "-i", *_NO_NETWORK, "cat"],
    }
    series = bench.alternate(ways)
    bench.empty()
    figure = series.ratio("ours", "theirs")
    speeds = (f"{_STREAM / 1e6 / series.median(each):.0f} MB/s" for each in ("ours", "theirs"))
    rows = [
        (
            "1 GB through stdin and stdout",
            "`rootless-scratch run -i`",
            "`podman run -i`",
            "ratio of times",
            "runs",
        ),
        ("`cat`", *speeds, ratio(figure), str(series.runs)),
    ]
    return Result(tables=(table("Streaming", rows),), figures={"stream": figure})
