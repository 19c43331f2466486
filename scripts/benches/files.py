"""Many small files, what an interpreter needs, and compressed archives."""

from __future__ import annotations

import shutil

from benches.home import OURS, Bench, to_layout
from benches.series import Result, Rows, ratio, seconds, table

FEW, MANY = 10_000, 100_000


def measure_files(bench: Bench) -> Result:
    """Small files to a layout, against an archive of the same files and its digest."""
    rows: Rows = [("small files", "`--copy`, `-o oci:`", "`tar -cf` + `openssl sha256`", "ratio", "runs")]
    figures, medians = {}, {}
    for count in (FEW, MANY):
        context = bench.tree(count)
        archiving = 'rm -f "$1"; tar -C "$0" -cf "$1" tree && openssl sha256 "$1"'
        copying = ("--copy", f"{context}/tree:/srv")
        ways = {
            "ours": to_layout(bench.home / "files", OURS, "build", "-q", str(context / "hello"), *copying),
            "theirs": ["sh", "-c", archiving, str(context), str(bench.home / "files.tar")],
        }
        series = bench.alternate(ways, after=bench.empty)
        medians[count] = series.median("ours")
        figure = figures[f"files.{count}"] = series.ratio("ours", "theirs")
        times = (seconds(medians[count]), seconds(series.median("theirs")))
        rows.append((f"{count:,}", *times, ratio(figure), str(series.runs)))
    growth = figures["files.growth"] = medians[MANY] / medians[FEW]
    text = f"{MANY:,} files take {growth:.1f} times as long as {FEW:,}."
    return Result(tables=(table("Writing small files", rows), text), figures=figures)


def measure_copies(bench: Bench) -> Result:
    """Ten thousand small files by each way, and as a Containerfile, against `buildah build` with COPY."""
    context = bench.tree(FEW)
    ours = [OURS, "build", "-q", str(context / "hello"), "--copy", f"{context}/tree:/srv"]
    file = [OURS, "build", "-q", "-f", str(context / "Containerfile"), str(context)]
    ways = {
        "default": [*ours, "-t", "bench"],
        "direct": [*ours, "-t", "bench", "--backend", "direct"],
        "oci": to_layout(bench.home / "copies", *ours),
        "file": to_layout(bench.home / "copies", *file),
        "theirs": ["buildah", "build", "-q", "-t", "bench", str(context)],
    }
    series = bench.alternate(ways, after=bench.empty)
    labels = {
        "default": "`--copy`, `-t`",
        "direct": "`--copy`, `-t --backend direct`",
        "oci": "`--copy`, `-o oci:`",
        "file": "`build -f`, `-o oci:`",
    }
    rows: Rows = [(f"{FEW:,} small files", "time", "`buildah build`", "ratio", "runs")]
    figures = {}
    for way, label in labels.items():
        figure = figures[f"copies.{way}"] = series.ratio(way, "theirs")
        times = (seconds(series.median(way)), seconds(series.median("theirs")))
        rows.append((label, *times, ratio(figure), str(series.runs)))
    return Result(tables=(table("Copying small files", rows),), figures=figures)


def measure_interpreter(bench: Bench) -> Result:
    """An interpreter with what its recipe brings, against copying the very files, and `buildah build` of them."""
    ours = [OURS, "build", "-q", "/usr/bin/python3", "--bundle-libraries", "--with", "auto"]
    layout, tree, context = (bench.home / name for name in ("python", "python-tree", "python-context"))
    bench.time([*ours, "-o", f"oci:{layout}"])
    blobs = (layout / "blobs/sha256").iterdir()
    tree.mkdir()
    bench.time(["tar", "-xf", str(max(blobs, key=lambda path: path.stat().st_size)), "-C", str(tree)])
    context.mkdir()
    shutil.copytree(tree, context / "tree", symlinks=True)
    (context / "Containerfile").write_text("FROM scratch\nCOPY tree /\n", encoding="ascii")
    copying = 'rm -rf "$1"; cp -a "$0" "$1" && find "$1" -type f -exec cat {} + | openssl sha256'
    ways = {
        "oci": to_layout(layout, *ours),
        "default": [*ours, "-t", "bench"],
        "copied": ["sh", "-c", copying, str(tree), str(bench.home / "copy-of-python")],
        "theirs": ["buildah", "build", "-q", "-t", "bench", str(context)],
    }
    series = bench.alternate(ways, after=bench.empty)
    rows: Rows = [("", "time", "to the same files copied and summed", "to `buildah build` of them", "runs")]
    figures = {}
    for way, label in (("oci", "`-o oci:`"), ("default", "`-t`")):
        copied = figures[f"interpreter.{way}.copied"] = series.ratio(way, "copied")
        theirs = figures[f"interpreter.{way}"] = series.ratio(way, "theirs")
        rows.append((label, seconds(series.median(way)), ratio(copied), ratio(theirs), str(series.runs)))
    title = "`build /usr/bin/python3 --bundle-libraries --with auto`"
    return Result(tables=(table(title, rows),), figures=figures)


def measure_archives(bench: Bench) -> Result:
    """A compressed archive, against the usual way to one: save from storage, then gzip."""
    source = str(bench.context("100MB") / "hello")
    bench.time([OURS, "build", "-q", source, "-t", "bench"])
    archive = str(bench.home / "archive.tar")
    ours = ["sh", "-c", 'rm -f "$0"; exec "$@" -o "oci-archive:$0" --compress gzip', archive]
    ways = {
        "ours": [*ours, OURS, "build", "-q", source],
        "theirs": ["sh", "-c", 'podman save -q --format oci-archive bench | gzip -n >"$0"', f"{archive}.gz"],
    }
    series = bench.alternate(ways)
    bench.empty()
    figure = series.ratio("ours", "theirs")
    times = (seconds(series.median("ours")), seconds(series.median("theirs")))
    head = ("program", "`build -o oci-archive: --compress gzip`", "`podman save \\| gzip`", "ratio", "runs")
    row = ("100MB", *times, ratio(figure), str(series.runs))
    return Result(tables=(table("Writing a compressed archive", (head, row)),), figures={"archive.gzip": figure})
