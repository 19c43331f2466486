"""What SBOMs take: of a bundled program, of a hundred programs, and beside a build."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benches.home import OURS, to_layout
from benches.series import Result, ratio, seconds, table
from benches.starts import list_programs

if TYPE_CHECKING:
    from benches.home import Bench

_GIT = "/usr/bin/git"
_MANY = 100


def measure_sboms(bench: Bench) -> Result:
    """Time `sbom` against dpkg(1) that is asked file by file, and a build with a document against one without."""
    layout = bench.home / "sbom-layout"
    built = to_layout(layout, OURS, "build", "--bundle-libraries", "--no-check", _GIT)
    programs = list_programs()[:_MANY]
    asked = ["sh", "-c", 'for each; do dpkg -S "$each"; done >listed 2>&1 || :', "sh", *programs]
    ways = {
        "built": built,
        "with": [*built, "--sbom", "spdx:git.spdx.json"],
        "program": [OURS, "sbom", "--bundle-libraries", _GIT, "-q", "-o", "git.spdx.json"],
        "image": [OURS, "sbom", f"oci:{layout}", "-q", "-o", "image.spdx.json"],
        "many": [OURS, "sbom", *programs, "-q", "-o", "many.spdx.json"],
        "asked": asked,
    }
    series = bench.alternate(ways)
    figures = {
        "sbom.git.seconds": series.median("program"),
        "sbom.image.seconds": series.median("image"),
        "sbom.build": series.ratio("with", "built"),
        "sbom.programs": series.ratio("many", "asked"),
    }
    rows = [
        ("SBOM of", "time", "against", "time", "ratio", "runs"),
        ("a bundled git", seconds(series.median("program")), "", "", "", str(series.runs)),
        ("its image in a layout", seconds(series.median("image")), "", "", "", str(series.runs)),
        (
            *("a build of it, `-o oci: --sbom spdx`", seconds(series.median("with")), "without"),
            *(seconds(series.median("built")), ratio(figures["sbom.build"]), str(series.runs)),
        ),
        (
            *(f"{len(programs)} programs", seconds(series.median("many")), "`dpkg -S` one by one"),
            *(seconds(series.median("asked")), ratio(figures["sbom.programs"]), str(series.runs)),
        ),
    ]
    return Result(tables=(table("SBOMs", rows),), figures=figures)
