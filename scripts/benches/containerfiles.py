"""What `build -f` and `check -f` take, against `buildah build` of the same Containerfile and context."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from benches.home import CONTAINERFILE, OURS, Bench, to_layout
from benches.series import Result, Rows, ratio, seconds, table

if TYPE_CHECKING:
    from pathlib import Path

_STAGES = """FROM tools AS build
COPY hello /out/hello
RUN ["/busybox", "sh", "-c", "/busybox chmod 0755 /out/hello"]

FROM scratch
COPY --from=build /out/hello /hello
USER 65532:65532
ENTRYPOINT ["/hello"]
"""

_LINES = 40


def measure_containerfiles(bench: Bench) -> Result:
    """Whole builds of a Containerfile, and a whole `check -f`."""
    context = bench.home / "files-context"
    context.mkdir()
    shutil.copy(bench.program, context / "hello")
    parts = [_layout(bench, context), _stages(bench, context), _check(bench, context)]
    return Result(
        tables=tuple(text for part in parts for text in part.tables),
        figures={name: figure for part in parts for name, figure in part.figures.items()},
    )


def _layout(bench: Bench, context: Path) -> Result:
    file = context / "Containerfile"
    file.write_text(CONTAINERFILE, encoding="ascii")
    ways = {
        "ours": to_layout(bench.home / "file-layout", OURS, "build", "-q", "-f", str(file), str(context)),
        "theirs": ["buildah", "build", "-q", "-t", "bench", str(context)],
    }
    series = bench.alternate(ways, after=bench.empty)
    figure = series.ratio("ours", "theirs")
    times = (seconds(series.median("ours")), seconds(series.median("theirs")))
    rows = [
        ("program", "`build -f -o oci:`", "`buildah build`", "ratio", "runs"),
        ("0.75MB", *times, ratio(figure), str(series.runs)),
    ]
    title = "Building the scratch stage of a Containerfile"
    return Result(tables=(table(title, rows),), figures={"containerfile.oci": figure})


def _stages(bench: Bench, context: Path) -> Result:
    """Both with all that they keep from the build before."""
    base = bench.home / "tools-context"
    base.mkdir()
    (base / "Containerfile").write_text("FROM scratch\nCOPY busybox /busybox\n", encoding="ascii")
    shutil.copy("/bin/busybox", base / "busybox")
    bench.time(["buildah", "build", "-q", "-t", "tools", str(base)])
    file = context / "Containerfile"
    file.write_text(_STAGES, encoding="ascii")
    # The OCI runtime that is buildah's default starts no container on hosts with hybrid cgroups.
    alike = ("env", "BUILDAH_ISOLATION=chroot")
    ours = [*alike, OURS, "build", "-q", "-f", str(file), str(context)]
    ways = {
        "stored": [*ours, "-t", "bench"],
        "oci": to_layout(bench.home / "stages-layout", *ours),
        "theirs": [*alike, "buildah", "build", "-q", "--layers", "-t", "bench", str(context)],
    }
    series = bench.alternate(ways)
    rows: Rows = [("", "time", "`buildah build --layers`", "ratio", "runs")]
    figures = {}
    for way, label in (("stored", "`build -f -t`"), ("oci", "`build -f -o oci:`")):
        figure = figures[f"containerfile.stages.{way}"] = series.ratio(way, "theirs")
        times = (seconds(series.median(way)), seconds(series.median("theirs")))
        rows.append((label, *times, ratio(figure), str(series.runs)))
    bench.empty()
    title = "Building a Containerfile with a stage that runs something, nothing changed"
    return Result(tables=(table(title, rows),), figures=figures)


def _check(bench: Bench, context: Path) -> Result:
    labels = "".join(f"LABEL com.example.label-{number}=value\n" for number in range(_LINES - 4))
    file = context / "Containerfile"
    file.write_text(CONTAINERFILE.replace("USER", f"{labels}USER"), encoding="ascii")
    ways = {
        "ours": [OURS, "check", "-q", "-f", str(file), str(context)],
        "python": [sys.executable, "-c", "pass"],
    }
    series = bench.alternate(ways)
    taken, figure = series.median("ours"), series.ratio("ours", "python")
    rows = [
        ("", "time", "against `python -c pass`", "runs"),
        (f"`check -f`, {_LINES} lines", seconds(taken), ratio(figure), str(series.runs)),
    ]
    figures = {"containerfile.check": figure, "containerfile.check.seconds": taken}
    return Result(tables=(table("Checking a Containerfile", rows),), figures=figures)
