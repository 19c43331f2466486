"""Stages with RUN on this host as it is: which runtime starts their commands, and what WORKDIR leaves behind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import Home
from staging import Bench

from rootless_scratch.backends.isolation import isolation_here
from rootless_scratch.host.cgroups import choose_runtime
from rootless_scratch.host.network import private_network_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.buildah, pytest.mark.podman]

RUN = 'RUN ["/bin/busybox", "true"]\n'
BASE = f"FROM scratch\nCOPY busybox /bin/busybox\n{RUN}"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    home = Home(Path(tempfile.mkdtemp(prefix="rst-")))
    yield Bench(home, tmp_path_factory.mktemp("context"))
    home.remove()


def test_a_stage_is_built_by_the_runtime_that_works_here_and_a_note_says_so(bench: Bench) -> None:
    text = "FROM base AS build\nRUN echo made >/made\nFROM scratch\nCOPY --from=build /made /made\n"
    isolation = bench.home.environment.pop("BUILDAH_ISOLATION")
    try:
        done = bench.build(text)
        files = bench.files(text, "--no-cache")
    finally:
        bench.home.environment["BUILDAH_ISOLATION"] = isolation
    assert files["/made"][3] == b"made\n"
    runtime = choose_runtime().name
    assert runtime is None or f"RUN uses the runtime {runtime}, because" in done.stderr.decode()
    assert private_network_problem() is None or "RUN has no network, because" in done.stderr.decode()


def test_what_the_user_has_chosen_stays() -> None:
    assert isolation_here({"BUILDAH_ISOLATION": "chroot"}, network=None).flags == ()
    flags = isolation_here({"BUILDAH_RUNTIME": "/usr/bin/crun"}, network="host").flags
    assert flags == ()


@pytest.mark.parametrize(
    "steps",
    [
        "USER 7:8\nWORKDIR /n/y\n",
        "USER 7:8\nWORKDIR /n/y\nENV A=b\nUSER 9\nWORKDIR /m\n",
        f"USER 7:8\nWORKDIR /n\nWORKDIR y\n{RUN}",
        f"USER 7:8\n{RUN}WORKDIR /bin\nWORKDIR /bin/in\n",
    ],
)
def test_a_workdir_of_the_last_stage_with_run_is_made_as_a_plain_build_makes_it(bench: Bench, steps: str) -> None:
    ours = {path: entry[:3] for path, entry in bench.files(f"{BASE}{steps}").items()}
    (bench.context / "Base").write_text(f"{BASE}{steps}")
    argv = ["buildah", "build", "-q", "--layers=false", "-f", f"{bench.context}/Base", str(bench.context)]
    image = bench.home.run(argv).stdout.decode().strip()
    script = (
        'c=$(buildah from "$0") && cd "$(buildah mount "$c")" && find . -printf "%P %m %U %G\\n"; buildah rm "$c"'
    )
    listed = bench.home.run(["buildah", "unshare", "sh", "-c", script, image]).stdout.decode().splitlines()
    theirs = {}
    for fields in (line.split(" ") for line in listed if line.count(" ") == len(("mode", "uid", "gid"))):
        theirs[f"/{fields[0]}"] = (int(fields[1], 8), int(fields[2]), int(fields[3]))
    made = {path for path in theirs if path.startswith(("/n", "/m", "/bin/in"))}
    assert made
    assert {path: ours.get(path) for path in made} == {path: theirs[path] for path in made}


def test_a_workdir_before_a_copy_is_roots_in_a_stage_with_run(bench: Bench) -> None:
    (bench.context / "file").write_text("x")
    files = bench.files(f"{BASE}USER 7:8\nWORKDIR /n/y\nCOPY file ./\n")
    assert [files[path][1:3] for path in ("/n", "/n/y", "/n/y/file")] == [(0, 0)] * 3
