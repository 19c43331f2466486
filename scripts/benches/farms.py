"""`bake` by Dask on this host against `--executor processes`: what the engine costs, not what it brings."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benches.home import OURS, Bench, pad, to_layout
from benches.series import Result, Rows, ratio, seconds, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_IMAGES, _PROGRAMS, _WORKERS = 100, 5, 2
_SIZE = 20_000_000
_FIGURES = {"gzip": "dask.gzip", "none": "dask.plain"}

_FILE = """
[image.all]
name = "s-${{n}}-${{p}}"
programs = ["program${{p}}:/server"]
env = {{N = "${{n}}"}}
matrix = {{n = {numbers}, p = {programs}}}
"""


def measure_dask(bench: Bench) -> Result:
    """100 images of 20 MB to one layout, compressed and not, by two workers and by two processes."""
    if importlib.util.find_spec("distributed") is None:
        missing = "the Python package distributed is not installed"
        return Result(tables=(), figures={}, reasons=dict.fromkeys(_FIGURES.values(), missing))
    shop = _shop(bench)
    rows: Rows = [("layers", "`dask:ADDRESS`", "`processes`", "ratio", "runs")]
    figures = {}
    with _cluster(bench.home / "dask", bench) as address:
        for compression, name in _FIGURES.items():
            ours = [OURS, "bake", "-q", str(shop / "scratch.toml"), "--compress", compression, "--executor"]
            ways = {
                "dask": to_layout(shop / "out", *ours, f"dask:{address}"),
                "processes": to_layout(shop / "out", *ours, "processes", "--jobs", str(_WORKERS)),
            }
            series = bench.alternate(ways, after=lambda _: _forget(bench))
            figure = figures[name] = series.ratio("dask", "processes")
            times = (seconds(series.median(each)) for each in ways)
            rows.append((compression, *times, ratio(figure), str(series.runs)))
    title = f"{_IMAGES} images of 20 MB by {_WORKERS} workers of Dask on this host"
    return Result(tables=(table(title, rows),), figures=figures)


def _shop(bench: Bench) -> Path:
    shop = bench.home / "shop"
    shop.mkdir()
    for number in range(_PROGRAMS):
        pad(bench.program, shop / f"program{number}", _SIZE)
    lists = [json.dumps([str(number) for number in range(size)]) for size in (_IMAGES // _PROGRAMS, _PROGRAMS)]
    (shop / "scratch.toml").write_text(_FILE.format(numbers=lists[0], programs=lists[1]), encoding="ascii")
    return shop


def _forget(bench: Bench) -> None:
    """What is known of layers would let them be taken for written; workers have a home of their own."""
    for home in (bench.home, bench.home / "dask"):
        shutil.rmtree(home / ".cache/rootless-scratch", ignore_errors=True)


@contextmanager
def _cluster(place: Path, bench: Bench) -> Iterator[str]:
    """The address of a scheduler with workers of one thread each."""
    place.mkdir()
    environment = {**bench.environment, "HOME": str(place)}
    file = place / "scheduler.json"
    program = [sys.executable, "-m"]
    here = ["--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)]
    worker = ["--nthreads", "1", "--no-nanny", "--local-directory", str(place), "--scheduler-file", str(file)]
    argvs = [
        [*program, "distributed.cli.dask_scheduler", *here, "--no-dashboard"],
        *([*program, "distributed.cli.dask_worker", *worker, "--no-dashboard"] for _ in range(_WORKERS)),
    ]
    quiet = subprocess.DEVNULL
    children = [subprocess.Popen(argv, env=environment, stdout=quiet, stderr=quiet) for argv in argvs]
    try:
        while not file.exists():
            time.sleep(0.05)
        address: str = json.loads(file.read_text(encoding="ascii"))["address"]
        wait = "import sys, distributed; distributed.Client(sys.argv[1]).wait_for_workers(int(sys.argv[2]))"
        subprocess.run([sys.executable, "-c", wait, address, str(_WORKERS)], env=environment, check=True)
        yield address
    finally:
        for each in children:
            each.kill()
            each.wait()
