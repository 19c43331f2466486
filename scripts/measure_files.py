"""What `build -f` and `check -f` take, against `buildah build` of the same Containerfile and context."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench_home import seconds, table

if TYPE_CHECKING:
    from bench_home import Bench

OURS = str(Path(sys.executable).with_name("rootless-scratch"))
_FILES = 10_000

_ONE = """FROM scratch
COPY hello /hello
USER 65532:65532
ENTRYPOINT ["/hello"]
"""

_MANY = """FROM scratch
COPY hello /hello
COPY tree /srv
USER 65532:65532
ENTRYPOINT ["/hello"]
"""

_STAGES = """FROM tools AS build
COPY hello /out/hello
RUN ["/busybox", "sh", "-c", "/busybox chmod 0755 /out/hello"]

FROM scratch
COPY --from=build /out/hello /hello
USER 65532:65532
ENTRYPOINT ["/hello"]
"""

_LINES = 40


def measure_containerfiles(bench: Bench, program: Path) -> str:
    """Whole builds of a Containerfile, and a whole `check -f`."""
    context = bench.home / "files-context"
    (context / "tree").mkdir(parents=True)
    (context / "hello").write_bytes(program.read_bytes())
    (context / "hello").chmod(0o755)
    for number in range(_FILES):
        (context / "tree" / f"{number:05}.txt").write_text(f"page {number}\n", encoding="ascii")
    parts = [_layouts(bench, context), _stages(bench, context), _check(bench, context)]
    return "\n\n".join(parts)


def _layouts(bench: Bench, context: Path) -> str:
    rows = [("files", "`build -f -o oci:`", "`buildah build`", "ratio")]
    layout = str(bench.home / "files-layout")
    for label, text, runs in (("0.75 MB", _ONE, 15), (f"{_FILES} small files", _MANY, 5)):
        file = context / "Containerfile"
        file.write_text(text, encoding="ascii")
        ways = {
            "ours": [
                *("sh", "-c", 'rm -rf "$1"; exec "$0" build -q -f "$2/Containerfile" "$2" -o "oci:$1"'),
                *(OURS, layout, str(context)),
            ],
            "theirs": ["buildah", "build", "-q", "-t", "bench", str(context)],
        }
        ours, theirs = bench.alternate(ways, runs=runs, clean=True).values()
        rows.append((label, seconds(ours), seconds(theirs), f"{ours / theirs:.2f}"))
    return table("Building the scratch stage of a Containerfile", rows)


def _stages(bench: Bench, context: Path) -> str:
    """Both with all that they keep from the build before."""
    base = bench.home / "tools-context"
    base.mkdir()
    (base / "Containerfile").write_text("FROM scratch\nCOPY busybox /busybox\n", encoding="ascii")
    (base / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (base / "busybox").chmod(0o755)
    bench.time(["buildah", "build", "-q", "-t", "tools", str(base)])
    (context / "Containerfile").write_text(_STAGES, encoding="ascii")
    file = str(context / "Containerfile")
    # The OCI runtime that is buildah's default starts no container on hosts with hybrid cgroups.
    alike = ("env", "BUILDAH_ISOLATION=chroot")
    ways = {
        "ours": [*alike, OURS, "build", "-q", "-f", file, str(context), "-t", "bench"],
        "layout": [
            *(*alike, "sh", "-c", 'rm -rf "$1"; exec "$0" build -q -f "$2/Containerfile" "$2" -o "oci:$1"'),
            *(OURS, str(bench.home / "stages-layout"), str(context)),
        ],
        "theirs": [*alike, "buildah", "build", "-q", "--layers", "-t", "bench", str(context)],
    }
    ours, layout, theirs = bench.alternate(ways, runs=9, clean=False).values()
    rows = [
        ("", "time", "`buildah build --layers`", "ratio"),
        ("`build -f -t`", seconds(ours), seconds(theirs), f"{ours / theirs:.2f}"),
        ("`build -f -o oci:`", seconds(layout), seconds(theirs), f"{layout / theirs:.2f}"),
    ]
    bench.time(["buildah", "rmi", "--all", "--force"])
    return table("Building a Containerfile with a stage that runs something, nothing changed", rows)


def _check(bench: Bench, context: Path) -> str:
    labels = "".join(f"LABEL com.example.label-{number}=value\n" for number in range(_LINES - 4))
    (context / "Containerfile").write_text(_ONE.replace("USER", f"{labels}USER"), encoding="ascii")
    ways = {
        "ours": [OURS, "check", "-q", "-f", str(context / "Containerfile"), str(context)],
        "python": [sys.executable, "-c", "pass"],
    }
    ours, python = bench.alternate(ways, runs=20, clean=False).values()
    rows = [
        ("", "time", "against `python -c pass`"),
        (f"`check -f`, {_LINES} lines", seconds(ours), f"{ours / python:.1f}"),
    ]
    return table("Checking a Containerfile", rows)
