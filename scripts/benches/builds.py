"""Builds of one program of several sizes: for the first time, with overlay, once more, and twenty at once."""

from __future__ import annotations

import re
import subprocess
import time

from traces import Store, shared_files, store_files

from benches.home import OURS, SETTLED, SIZES, Bench, to_layout
from benches.series import Result, Rows, ratio, seconds, table

BARE = """set -e
container=$(buildah from scratch)
root=$(buildah mount "$container")
cp "$1" "$root/hello"
buildah config --user 65532:65532 --entrypoint '["/hello"]' "$container"
buildah umount "$container" >&2
buildah commit -q "$container" bench
buildah rm "$container" >&2
"""

_PROBE = 'c=$(buildah from scratch) && m=$(buildah mount "$c") && cat /proc/self/mountinfo; buildah rm "$c" >&2'
_CROWD = 20
_AT_ONCE = """for number in $(seq "$0"); do "$1" build -q -t "crowd-$number" "$2" >/dev/null &
each="$each $!"; done
for one in $each; do wait "$one" || exit 1; done"""


def measure_build(bench: Bench) -> Result:
    """Whole builds into an empty store and to a new layout, from the command to its end."""
    rows: Rows = [("program", "work", "time", "`buildah build`", "ratio", "runs")]
    copied: Rows = [("program", "`build -o oci:`", "`cp` + sha256", "ratio", "runs")]
    scripted: Rows = [("program", "`build -t`", "the same steps as a shell script", "ratio", "runs")]
    figures = {}
    for size in SIZES:
        context = bench.context(size)
        source, copy = str(context / "hello"), str(bench.home / "copy")
        ours = [OURS, "build", "-q", source]
        ways = {
            "default": [*ours, "-t", "bench"],
            "direct": [*ours, "-t", "bench", "--backend", "direct"],
            "oci": to_layout(bench.home / "layout", *ours),
            "theirs": ["buildah", "build", "-q", "-t", "bench", str(context)],
            "copied": ["sh", "-c", 'rm -f "$1"; cp "$0" "$1" && openssl sha256 "$1"', source, copy],
        }
        if size != "500MB":  # its four minutes would tell nothing that 100 MB do not
            ways["bare"] = ["buildah", "unshare", "sh", "-c", BARE, "sh", source]
        series = bench.alternate(ways, after=bench.empty)
        runs = str(series.runs)
        labels = {"default": "`-t`", "direct": "`-t --backend direct`", "oci": "`-o oci:`"}
        for way, label in labels.items():
            figure = figures[f"build.{way}.{size}"] = series.ratio(way, "theirs")
            times = (seconds(series.median(way)), seconds(series.median("theirs")))
            rows.append((size, label, *times, ratio(figure), runs))
        for way, other, target in (("oci", "copied", copied), ("default", "bare", scripted)):
            if other in ways:
                figure = figures[f"build.{way}.{size}.{other}"] = series.ratio(way, other)
                target.append(
                    (size, *(seconds(series.median(each)) for each in (way, other)), ratio(figure), runs)
                )
    tables = (
        table("Building", rows),
        table("A layout against any copy and its digest", copied),
        table("The default line against its own steps", scripted),
    )
    return Result(tables=tables, figures=figures)


def measure_overlay(bench: Bench) -> Result:
    """The same builds with overlay of the kernel, in a home of its own, where this user can have that."""
    overlay = Bench("overlay", quick=bench.quick)
    try:
        missing = why_no_overlay(overlay)
        if missing:
            names = (f"overlay.{way}.{size}" for way in ("default", "direct") for size in SIZES)
            return Result(tables=(), figures={}, reasons=dict.fromkeys(names, missing))
        rows: Rows = [("program", "work", "time", "`buildah build`", "ratio", "runs")]
        figures = {}
        for size in SIZES:
            context = overlay.context(size)
            ours = [OURS, "build", "-q", str(context / "hello"), "-t", "bench"]
            ways = {
                "default": ours,
                "direct": [*ours, "--backend", "direct"],
                "theirs": ["buildah", "build", "-q", "-t", "bench", str(context)],
            }
            series = overlay.alternate(ways, after=overlay.empty)
            for way, label in (("default", "`-t`"), ("direct", "`-t --backend direct`")):
                figure = figures[f"overlay.{way}.{size}"] = series.ratio(way, "theirs")
                times = (seconds(series.median(way)), seconds(series.median("theirs")))
                rows.append((size, label, *times, ratio(figure), str(series.runs)))
    finally:
        overlay.close()
    return Result(tables=(table("Building with the storage driver overlay", rows),), figures=figures)


def why_no_overlay(bench: Bench) -> str | None:
    """Try to mount a container by overlay; None where the kernel does it, else why not."""
    done = subprocess.run(
        ["buildah", "unshare", "sh", "-c", _PROBE],
        env=bench.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if re.search(r"/overlay/\S+ .* - overlay ", done.stdout):
        return None
    if "fuse" in done.stdout:
        return "overlay is fuse-overlayfs here"
    lines = done.stderr.strip().splitlines() or ["buildah mounts no overlay here"]
    return lines[-1]


def measure_rebuild(bench: Bench) -> Result:
    """Builds with nothing changed, against the first `buildah build` of the same."""
    rows: Rows = [("program", "rebuild with nothing changed", "time", "first `buildah build`", "ratio", "runs")]
    figures = {}
    for size in ("0.75MB", "500MB"):
        context = bench.context(size)
        ours = [OURS, "build", "-q", str(context / "hello")]
        ways = {
            "default": [*ours, "-t", "kept-default"],
            "direct": [*ours, "-t", "kept-direct", "--backend", "direct"],
            "oci": [*ours, "-o", f"oci:{bench.home}/kept-layout-{size}"],
        }
        labels = {"default": "`-t`", "direct": "`-t --backend direct`", "oci": "`-o oci:`"}
        # The second build reads the blob that the first one wrote; from then on it is known too.
        for _ in range(2):
            time.sleep(SETTLED)
            for argv in ways.values():
                bench.time(argv)
        time.sleep(SETTLED)

        def forget(way: str) -> None:
            if way == "theirs":
                bench.time(["buildah", "rmi", "--force", "theirs"])

        theirs = {"theirs": ["buildah", "build", "-q", "-t", "theirs", str(context)]}
        series = bench.alternate({**ways, **theirs}, after=forget)
        for way, label in labels.items():
            figure = figures[f"rebuild.{way}.{size}"] = series.ratio(way, "theirs")
            times = (seconds(series.median(way)), seconds(series.median("theirs")))
            rows.append((size, label, *times, ratio(figure), str(series.runs)))
        bench.empty()
    return Result(tables=(table("Building again", rows),), figures=figures)


def measure_crowd(bench: Bench) -> Result:
    """Twenty builds at once, against twenty of `buildah build`; and what ours leave behind."""
    context = bench.context("0.75MB")
    store = Store(bench.environment)
    list(store.asked())  # podman makes its database when it is asked first
    shared, inside = shared_files(), store_files(store)
    left: set[str] = set()

    def look(way: str) -> None:
        if way == "ours":
            left.update((*store.traces(), *store.asked(), *(shared_files() - shared)))
        bench.empty()
        if way == "ours":
            left.update(store_files(store) - inside)

    together = ["sh", "-c", _AT_ONCE, str(_CROWD)]
    ways = {
        "ours": [*together, OURS, str(context / "hello")],
        "theirs": [*together, "buildah", str(context)],
    }
    series = bench.alternate(ways, after=look)
    figures = {"crowd": series.ratio("ours", "theirs"), "crowd.left": float(len(left))}
    head = ("", "`build -t`", "`buildah build`", "ratio", "runs", "left behind")
    times = (seconds(series.median("ours")), seconds(series.median("theirs")))
    found = "; ".join(sorted(left)) or "nothing"
    row = (f"{_CROWD} at once", *times, ratio(figures["crowd"]), str(series.runs), found)
    return Result(tables=(table("Many builds at once", (head, row)),), figures=figures)
