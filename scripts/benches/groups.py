"""The table of measurements: the name of each group, the function that makes it, and what is aimed at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benches.aims import Aim
from benches.bakes import measure_bake
from benches.builds import measure_build, measure_crowd, measure_overlay, measure_rebuild
from benches.containerfiles import measure_containerfiles
from benches.farms import measure_dask
from benches.files import measure_archives, measure_copies, measure_files, measure_interpreter
from benches.memory import measure_memory
from benches.runs import measure_run, measure_streams
from benches.sboms import measure_sboms
from benches.starts import measure_check, measure_doctor, measure_start
from benches.watches import measure_watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.home import Bench
    from benches.series import Result


@dataclass(frozen=True, kw_only=True)
class Group:
    """What `--only NAME` measures; each name of a figure begins with that of its group, or a short form."""

    name: str
    measure: Callable[[Bench], Result]
    aims: tuple[Aim, ...] = ()


def _sizes(prefix: str, *limits: float) -> dict[str, float]:
    return {f"{prefix}.{size}": limit for size, limit in zip(("0.75MB", "100MB", "500MB"), limits, strict=True)}


_BUILDAH = "against `buildah build`: 0.75, 100, 500 MB"

GROUPS = (
    Group(
        name="build",
        measure=measure_build,
        aims=(
            Aim(
                what=f"`build -t` by the default line {_BUILDAH}", limits=_sizes("build.default", 0.90, 0.65, 0.65)
            ),
            Aim(what=f"`build -t --backend direct` {_BUILDAH}", limits=_sizes("build.direct", 0.65, 0.45, 0.40)),
            Aim(what=f"`build -o oci:` {_BUILDAH}", limits=_sizes("build.oci", 0.5, 0.25, 0.25)),
            Aim(what="the same against `cp` + sha256, 500 MB", limits={"build.oci.500MB.copied": 1.3}),
        ),
    ),
    Group(
        name="overlay",
        measure=measure_overlay,
        aims=(
            Aim(what=f"with overlay, default line {_BUILDAH}", limits=_sizes("overlay.default", 0.65, 0.45, 0.40)),
            Aim(
                what=f"with overlay, `--backend direct` {_BUILDAH}",
                limits=_sizes("overlay.direct", 0.65, 0.45, 0.40),
            ),
        ),
    ),
    Group(
        name="rebuild",
        measure=measure_rebuild,
        aims=(
            Aim(
                what="rebuild with nothing changed against the first `buildah build`, `-t`: 0.75, 500 MB",
                limits={"rebuild.default.0.75MB": 0.30, "rebuild.default.500MB": 0.30},
            ),
            Aim(
                what="likewise `-t --backend direct`: 0.75, 500 MB",
                limits={"rebuild.direct.0.75MB": 0.30, "rebuild.direct.500MB": 0.30},
            ),
            Aim(what="likewise `-o oci:`, 500 MB", limits={"rebuild.oci.500MB": 0.02}),
        ),
    ),
    Group(
        name="bake",
        measure=measure_bake,
        aims=(
            Aim(
                what="`bake` of 100 small images to one layout against 100 of `buildah build`",
                limits={"bake.new": 0.10},
            ),
            Aim(what="the same with nothing changed, against the first ones", limits={"bake.again": 0.01}),
            Aim(what="100 images of 20 MB with their libraries", limits={"bake.libraries": 0.05}),
        ),
    ),
    Group(
        name="files",
        measure=measure_files,
        aims=(
            Aim(what="100,000 small files, `-o oci:`, against tar + sha256", limits={"files.100000": 2.5}),
            Aim(what="time of 100,000 small files against that of 10,000", limits={"files.growth": 12}),
        ),
    ),
    Group(
        name="copies",
        measure=measure_copies,
        aims=(
            Aim(
                what="`--copy` of 10,000 small files against `buildah build`: `-t`, direct, `-o oci:`",
                limits={"copies.default": 0.95, "copies.direct": 0.55, "copies.oci": 0.05},
            ),
            Aim(what="the same by `build -f -o oci:`", limits={"copies.file": 0.3}),
        ),
    ),
    Group(name="interpreter", measure=measure_interpreter),
    Group(
        name="containerfile",
        measure=measure_containerfiles,
        aims=(
            Aim(
                what="scratch stage, 0.75 MB, `build -f -o oci:` against `buildah build`",
                limits={"containerfile.oci": 0.4},
            ),
            Aim(
                what="a stage with RUN, nothing changed, against `buildah build --layers`: `-t`, `-o oci:`",
                limits={"containerfile.stages.stored": 0.8, "containerfile.stages.oci": 0.8},
            ),
            Aim(what="`check -f` of 40 lines", limits={"containerfile.check.seconds": 0.08}, unit="s"),
        ),
    ),
    Group(
        name="archive",
        measure=measure_archives,
        aims=(Aim(what="a gzip archive against `podman save` + gzip", limits={"archive.gzip": 0.2}),),
    ),
    Group(
        name="run",
        measure=measure_run,
        aims=(
            Aim(what="`run` with a service of its own against `podman run`", limits={"run.own": 0.85}),
            Aim(
                what="`run` beside a service, and one after the other",
                limits={"run.beside": 0.70, "run.following": 0.70},
            ),
            Aim(what="`rs.run` in a loop of 50", limits={"run.loop": 0.50}),
            Aim(what="50 runs at once", limits={"run.at-once": 0.70}),
        ),
    ),
    Group(
        name="watch",
        measure=measure_watch,
        aims=(
            Aim(
                what="`watch --run`, from a save to the first line of the new container",
                limits={"watch.seconds": 0.35},
                unit="s",
            ),
        ),
    ),
    Group(
        name="stream",
        measure=measure_streams,
        aims=(Aim(what="1 GB through `run -i IMAGE cat` against `podman run -i`", limits={"stream": 1.25}),),
    ),
    Group(
        name="check",
        measure=measure_check,
        aims=(Aim(what="`check --bundle-libraries /usr/bin/*` against `ldd` one by one", limits={"check": 0.25}),),
    ),
    Group(
        name="sbom",
        measure=measure_sboms,
        aims=(
            Aim(what="`sbom` of a bundled git", limits={"sbom.git.seconds": 0.3}, unit="s"),
            Aim(what="`build --sbom` against the same build without", limits={"sbom.build": 1.15}),
            Aim(what="100 programs of /usr/bin against `dpkg -S` one by one", limits={"sbom.programs": 0.5}),
        ),
    ),
    Group(
        name="start",
        measure=measure_start,
        aims=(
            Aim(
                what="`--version`, `build --help` against `python -c pass`",
                limits={"start.version": 2.0, "start.help": 3.0},
            ),
        ),
    ),
    Group(
        name="doctor",
        measure=measure_doctor,
        aims=(
            Aim(what="`doctor` against `podman info`", limits={"doctor.healthy": 3.0}),
            Aim(
                what="`doctor` here, and where every probe fails",
                limits={"doctor.healthy.seconds": 0.5, "doctor.refused.seconds": 1.0},
                unit="s",
            ),
        ),
    ),
    Group(
        name="crowd",
        measure=measure_crowd,
        aims=(
            Aim(what="20 builds at once against 20 of `buildah build`", limits={"crowd": 0.8}),
            Aim(
                what="what ours leave behind: containers, layers, files",
                limits={"crowd.left": 0},
                unit="traces",
            ),
        ),
    ),
    Group(
        name="dask",
        measure=measure_dask,
        aims=(
            Aim(
                what="100 images of 20 MB, gzip, by 2 workers of Dask against `--executor processes`",
                limits={"dask.gzip": 1.25},
            ),
        ),
    ),
    Group(
        name="memory",
        measure=measure_memory,
        aims=(
            Aim(
                what="memory of `build`: `-t`, direct, 2 GB to a layout; 10,000 files by `-t`, by `-f`",
                limits=dict.fromkeys(
                    ("memory.default", "memory.direct", "memory.oci", "memory.copies", "memory.file"), 60
                ),
                unit="MB",
            ),
            Aim(what="memory of 100,000 files to a layout", limits={"memory.files": 200}, unit="MB"),
            Aim(
                what="memory of `run`, of 2 GB through `run -i`, of `check /usr/bin/*`, of `doctor`",
                limits=dict.fromkeys(("memory.run", "memory.stream", "memory.check", "memory.doctor"), 60),
                unit="MB",
            ),
        ),
    ),
)

MAIN = {
    "build.default.0.75MB": "`-t`, 0.75 MB",
    "build.default.500MB": "`-t`, 500 MB",
    "build.direct.0.75MB": "direct, 0.75 MB",
    "build.direct.500MB": "direct, 500 MB",
    "build.oci.0.75MB": "`-o oci:`, 0.75 MB",
    "rebuild.default.0.75MB": "rebuild, `-t`",
    "files.100000": "100,000 files",
    "run.own": "`run`, own service",
    "run.beside": "`run`, beside one",
    "check": "`check`",
    "start.help": "`build --help`",
}
"""The figures that the table of the history has, each with its heading."""
