"""From a program that is saved to the first line of its container: by `watch`, and by hand."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benches.home import CONTAINERFILE, OURS, Bench
from benches.runs import podman, wait_for_services
from benches.series import Result, Series, ratio, rounds, seconds, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_MARK = b"NUMBER00000000"
_SOURCE = f"""#include <stdio.h>
#include <unistd.h>
int main(void) {{ puts("{_MARK.decode()}"); fflush(stdout); for (;;) pause(); }}
"""
"""Says which one it is, and stays, as a server does."""

_REST = 0.7
"""Seconds before the next change: nobody saves in the moment in which the one before has come up."""

_NO_NETWORK = ("--network", "none")


def measure_watch(bench: Bench) -> Result:
    """Each round saves the program once for `watch`, and once for `buildah build` and `podman run`."""
    context = bench.home / "watched"
    context.mkdir()
    (context / "Containerfile").write_text(CONTAINERFILE, encoding="ascii")
    source = context / "hello.c"
    source.write_text(_SOURCE, encoding="ascii")
    bench.time(["gcc", "-static", "-o", str(context / "hello"), str(source)])
    content = (context / "hello").read_bytes()
    ours, theirs = bench.home / "ours/hello", context / "hello"
    ours.parent.mkdir()
    _save(ours, content, 0)
    by_watch: list[float] = []
    by_hand: list[float] = []
    watch = [OURS, "watch", "-q", str(ours), "-t", "watched", "--run", *_NO_NETWORK]
    with _started(bench, watch) as lines:
        _expect(lines, 0)
        for number in range(1, rounds(0, quick=bench.quick) + 2):
            time.sleep(_REST)
            begin = time.perf_counter()
            _save(ours, content, number)
            _expect(lines, number)
            by_watch.append(time.perf_counter() - begin)
            time.sleep(_REST)
            begin = time.perf_counter()
            _save(theirs, content, number)
            bench.time(["buildah", "build", "-q", "-t", "by-hand", str(context)])
            name = f"by-hand-{number}"
            with _started(bench, [*podman(), "run", "--rm", "--name", name, *_NO_NETWORK, "by-hand"]) as output:
                _expect(output, number)
                by_hand.append(time.perf_counter() - begin)
                bench.time([*podman(), "kill", name])
    # The first round fills the page cache.
    series = Series(times={"ours": by_watch[1:], "theirs": by_hand[1:]})
    wait_for_services(bench)
    bench.empty()
    figures = {"watch": series.ratio("ours", "theirs"), "watch.seconds": series.median("ours")}
    rows = [
        ("", "`watch --run`", "`buildah build` and `podman run`", "ratio", "runs"),
        (
            "from a save to the first line",
            *(seconds(series.median(each)) for each in ("ours", "theirs")),
            ratio(figures["watch"]),
            str(series.runs),
        ),
    ]
    return Result(tables=(table("Watching", rows),), figures=figures)


def _save(path: Path, content: bytes, number: int) -> None:
    """Replace the program as a linker or an editor does."""
    new = path.with_name("hello.new")
    new.write_bytes(content.replace(_MARK, b"NUMBER%08d" % number))
    new.chmod(0o755)
    new.rename(path)


@contextmanager
def _started(bench: Bench, argv: Sequence[str]) -> Iterator[Iterator[bytes]]:
    """The lines of what is started, which is ended then."""
    # What it says of an error comes before the line that is not expected.
    with subprocess.Popen(
        argv,
        env=bench.environment,
        cwd=bench.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        try:
            yield iter(process.stdout)
        finally:
            process.terminate()


def _expect(lines: Iterator[bytes], number: int) -> None:
    line = next(lines, b"nothing")
    if line.strip() != b"NUMBER%08d" % number:
        rest = b"".join(lines).decode(errors="replace")
        sys.exit(f"bench: the program is not number {number}:\n{line.decode(errors='replace')}{rest}")
