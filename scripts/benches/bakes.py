"""Many images of one file against as many calls of `buildah build`: new, nothing changed, with libraries."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING

from benches.home import OURS, SETTLED, Bench, pad
from benches.series import Result, Rows, ratio, seconds, table

if TYPE_CHECKING:
    from pathlib import Path

_COUNT = 100
_LIBRARY = 18_000_000
"""Bytes of a library that all programs of the second kind have; with those of the C library it is 20 MB."""

_SCRATCH = """[image.all]
name = "s-${{n}}"
programs = ["program${{n}}:/server"]
{more}
matrix = {{n = {numbers}}}
"""
_CONTAINERFILE = """FROM scratch
ARG N
COPY {also} /lib/
COPY program$N /server
USER 65532:65532
ENTRYPOINT ["/server"]
"""
_THEIRS = """for number in $(seq 0 "$1"); do
buildah build -q --build-arg "N=$number" -t "bake-$number" "$0" >/dev/null || exit 1; done"""
_NEW = 'rm -rf out "$HOME/.cache/rootless-scratch"; exec "$@"'


def measure_bake(bench: Bench) -> Result:
    """One call for a hundred images, to one layout."""
    rows: Rows = [(f"{_COUNT} images", "`bake -o oci:`", f"{_COUNT} of `buildah build`", "ratio", "runs")]
    figures = {}
    small = _project(bench.home / "bake-small", bench.program, more="")
    large = _with_library(bench)
    for name, label, project in (("new", "small programs, new", small), ("libraries", "20 MB each, new", large)):
        ways = {
            "ours": ["sh", "-c", f"cd {project} && {_NEW}", "sh", OURS, "bake", "-q", "-o", "oci:out"],
            "theirs": ["sh", "-c", _THEIRS, str(project), str(_COUNT - 1)],
        }
        series = bench.alternate(ways, after=lambda way: bench.empty() if way == "theirs" else None)
        figure = figures[f"bake.{name}"] = series.ratio("ours", "theirs")
        times = (seconds(series.median(way)) for way in ways)
        rows.append((label, *times, ratio(figure), str(series.runs)))
        if name == "new":
            rows.append(_again(bench, project, series.median("theirs"), figures))
        shutil.rmtree(project / "out")
    return Result(tables=(table("Many images", rows),), figures=figures)


def _again(bench: Bench, project: Path, theirs: float, figures: dict[str, float]) -> tuple[str, ...]:
    """The row of a bake in which nothing has changed, once what there is may be known by its status."""
    ours = ["sh", "-c", f'cd {project} && exec "$@"', "sh", OURS, "bake", "-q", "-o", "oci:out"]
    for _ in range(2):
        bench.time(ours)
        time.sleep(SETTLED)
    bench.time(ours)
    series = bench.alternate({"ours": ours})
    figure = figures["bake.again"] = series.median("ours") / theirs
    times = (seconds(series.median("ours")), seconds(theirs))
    return ("the same, nothing changed", *times, ratio(figure), str(series.runs))


def _project(place: Path, program: Path, *, more: str, also: str = "scratch.toml") -> Path:
    """A directory with programs that differ in their last bytes, and files for both ways."""
    place.mkdir(exist_ok=True)
    for number in range(_COUNT):
        path = place / f"program{number}"
        shutil.copy(program, path)
        with path.open("ab") as file:
            file.write(b"%d\n" % number)
    numbers = json.dumps([str(number) for number in range(_COUNT)])
    (place / "scratch.toml").write_text(_SCRATCH.format(more=more, numbers=numbers), encoding="ascii")
    (place / "Containerfile").write_text(_CONTAINERFILE.format(also=also), encoding="ascii")
    return place


def _with_library(bench: Bench) -> Path:
    """Programs that need a large library, and those of the C library."""
    place = bench.home / "bake-large"
    place.mkdir()
    source, small, library = (place / name for name in ("main.c", "small.so", "liblarge.so"))
    source.write_text("int large(void); int main(void) { return large(); }\n", encoding="ascii")
    (place / "large.c").write_text("int large(void) { return 0; }\n", encoding="ascii")
    soname = "-Wl,-soname,liblarge.so"
    bench.time(["gcc", "-shared", "-fPIC", soname, "-o", str(small), str(place / "large.c")])
    pad(small, library, _LIBRARY)
    program = place / "main"
    bench.time(["gcc", "-o", str(program), str(source), str(library), f"-Wl,-rpath,{place}"])
    found = bench.ask("ldd", str(program))
    others = [field for line in found.splitlines() for field in line.split() if field.startswith("/lib")]
    for path in others:
        shutil.copy(path, place)
    names = " ".join(["liblarge.so", *(path.rpartition("/")[2] for path in others)])
    return _project(place, program, more="bundle-libraries = true", also=names)
