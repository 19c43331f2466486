"""A team bakes all its images with one call: several at a time, and none is kept back by another."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import refusal
from registries import registry
from shops import make_shop

import rootless_scratch as rs
from rootless_scratch.errors import SpecFileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from conftest import Home

FILE = """
[group]
default = ["server", "worker", "page"]

[image.server]
tag = "localhost/bake-server:1"
output = "oci:out/server"
programs = ["server:/usr/bin/server"]

[image.worker]
inherits = ["server"]
tag = "localhost/bake-worker:1"
output = ["oci:out/all:worker", "oci-archive:out/worker.tar"]
cmd = ["--work"]

[image.page]
output = "oci:out/all:page"
programs = ["server"]
copy = ["page.html:/srv/index.html"]
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A directory with a program, a page, and the file of three images, none of which goes to local storage."""
    return make_shop(tmp_path, "\n".join(line for line in FILE.split("\n") if "tag =" not in line))


def names_in(layout: Path) -> dict[str, str]:
    """The digests of a layout's images by their names."""
    index = json.loads((layout / "index.json").read_text())
    return {
        each.get("annotations", {}).get("org.opencontainers.image.ref.name", ""): each["digest"]
        for each in index["manifests"]
    }


def test_all_images_of_the_directory_go_where_the_file_says(shared_home: Home, shop: Path) -> None:
    done = shared_home.cli("bake", cwd=shop)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    assert [name for name, _ in lines] == ["server", "worker", "page"]
    assert sorted(line.split(":")[0] for line in done.stderr.decode().splitlines()) == ["page", "server", "worker"]
    for (_, image_id), layout in zip(
        lines, ("oci:out/server", "oci:out/all:worker", "oci:out/all:page"), strict=True
    ):
        assert shared_home.json("inspect", layout, cwd=shop)["image_id"] == image_id
    assert (shop / "out/worker.tar").is_file()
    again = shared_home.cli("bake", "-q", cwd=shop)
    assert (again.stdout, again.stderr) == (done.stdout, b"")


def test_one_layout_takes_all_by_their_targets_with_the_digests_of_single_builds(
    shared_home: Home, shop: Path
) -> None:
    baked = shared_home.json("bake", "-o", "oci:one", cwd=shop)
    digests = {result["image"]: result["digest"] for result in baked["results"]}
    assert names_in(shop / "one") == digests
    assert not (shop / "out/server").exists()
    for name, digest in digests.items():
        of_file = ["--spec", "scratch.toml", "--image", name, "-o", "oci:single"]
        assert shared_home.json("build", *of_file, cwd=shop)["digest"] == digest


def test_an_image_that_fails_keeps_no_other_from_being_built(shared_home: Home, shop: Path) -> None:
    text = (shop / "scratch.toml").read_text()
    (shop / "scratch.toml").write_text(text.replace('["server:/usr/bin/server"]', '["missing"]', 1))
    done = shared_home.cli("bake", cwd=shop)
    assert done.returncode == 1
    assert done.stdout.decode().startswith("page ")
    told = done.stderr.decode()
    assert "server: failed\n" in told
    assert "'" + str(shop / "missing") + "'" in told
    assert told.splitlines()[-1] == "rootless-scratch: 2 of 3 failed: server, worker."
    answer = json.loads(shared_home.cli("bake", "--json", cwd=shop).stdout)
    assert [result.get("error", {}).get("kind") for result in answer["results"]] == ["source", "source", None]
    quiet = shared_home.cli("bake", "-q", cwd=shop)
    assert quiet.returncode == 1
    assert b"missing" in quiet.stderr


def test_targets_and_settings_are_named_as_for_docker(shared_home: Home, shop: Path) -> None:
    words = ["-f", "scratch.toml", "worker", "--set", "*.user=0", "--set", "worker.output=oci:other:w"]
    assert [each["image"] for each in shared_home.json("bake", *words, cwd=shop)["results"]] == ["worker"]
    config = shared_home.json("inspect", "oci:other:w", cwd=shop)["config"]
    assert config["config"]["User"] == "0"
    shown = shared_home.json("bake", *words, "--print", cwd=shop)
    assert shown["group"]["default"]["targets"] == ["server", "worker", "page"]
    assert shown["target"]["worker"] == {
        "output": ["oci:other:w"],
        "programs": ["server:/usr/bin/server"],
        "cmd": ["--work"],
        "user": "0",
    }


def test_check_judges_all_and_makes_none(shared_home: Home, shop: Path) -> None:
    assert shared_home.cli("bake", "--check", cwd=shop).stdout == b"server: starts\nworker: starts\npage: starts\n"
    (shop / "server").write_text("#!/bin/sh\n")
    done = shared_home.cli("bake", "--check", "--json", cwd=shop)
    assert done.returncode == 1
    assert [each["verdict"] for each in json.loads(done.stdout)["results"]] == ["fails"] * 3
    assert list((shop / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sever"], "Did you mean 'server'?"),
        (["--jobs", "0"], "number of jobs"),
        (["--executor", "cloud"], "threads"),
        (["-o", "oci-archive:x.tar"], "oci:DIR"),
        (["--push"], "no tag"),
        (["--load"], "no tag"),
        (["--check", "--push"], "--push"),
        (["--set", "page.output=oci:out/all:worker"], "are the same"),
        (["--set", "page.output=nowhere"], "oci:DIR"),
        (["--set", "*.tag=one"], "same name"),
        (["--set", "*.sbom=spdx:parts.json"], "would write one SBOM"),
        (["-o", "oci:out/all", "--set", "*.sbom=spdx"], "all.spdx.json"),
        (
            ["worker", "--set", "*.output=oci:out/w", "--set", "*.sbom=spdx", "--executor", "dask:127.0.0.1:1"],
            "SBOM",
        ),
    ],
)
def test_what_does_not_fit_is_usage_and_nothing_is_built(
    shared_home: Home, shop: Path, words: list[str], told: str
) -> None:
    done = shared_home.cli("bake", *words, cwd=shop)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr.decode()
    assert list((shop / "out").iterdir()) == []


def test_no_file_and_an_image_that_goes_nowhere_are_told(shared_home: Home, tmp_path: Path) -> None:
    assert shared_home.cli("bake", cwd=tmp_path).returncode == 1
    tinyelf.write(tmp_path / "server")
    (tmp_path / "scratch.toml").write_text('[image.a]\nprograms = ["server"]\n')
    done = shared_home.cli("bake", cwd=tmp_path)
    assert done.returncode == 2
    assert b"neither a tag nor an output" in done.stderr
    assert shared_home.cli("bake", "-o", "oci:out", cwd=tmp_path).returncode == 0
    (tmp_path / "scratch.toml").write_text('programs = ["server"]\noutput = "oci:alone"\n')
    assert shared_home.cli("bake", cwd=tmp_path).returncode == 0


def executors() -> dict[str, Executor | str | None]:
    return {
        "one": None,
        "threads": "threads",
        "processes": "processes",
        "own threads": ThreadPoolExecutor(2),
        "own processes": ProcessPoolExecutor(2, mp_context=get_context("spawn")),
    }


@pytest.mark.usefixtures("python_home")
@pytest.mark.parametrize("name", executors())
def test_every_executor_makes_the_same_images(shop: Path, name: str) -> None:
    executor = executors()[name]
    baked = rs.bake(
        shop / "scratch.toml", output=f"oci:{shop}/one", jobs=1 if name == "one" else 2, executor=executor
    )
    single = rs.bake(shop / "scratch.toml", ["page"], output=f"oci:{shop}/single")
    assert list(baked.images) == ["server", "worker", "page"]
    assert names_in(shop / "one") == {result.name: result.image.digest for result in baked if result.image}
    assert baked.images["page"].digest == single.images["page"].digest
    if not isinstance(executor, (str, type(None))):
        executor.shutdown()


@pytest.mark.usefixtures("python_home")
def test_in_python_errors_are_values_and_faults_of_the_file_are_raised(shop: Path) -> None:
    (shop / "page.html").unlink()
    baked = rs.bake(shop / "scratch.toml", output=f"oci:{shop}/one")
    assert list(baked.errors) == ["page"]
    assert baked.failed
    refusal(lambda: rs.bake(shop / "scratch.toml", ["sever"]), UsageError)
    refusal(lambda: rs.bake(shop / "scratch.toml", executor=3), UsageError)  # type: ignore[arg-type] # on purpose
    (shop / "scratch.toml").write_text("[image.a]\nx = 1\n")
    refusal(lambda: rs.bake(shop / "scratch.toml"), SpecFileError)


def many(place: Path, count: int, programs: int = 30) -> None:
    """A file of many images with few programs."""
    for number in range(programs):
        tinyelf.write(place / f"program{number}", text=b"%d\n" % number)
    numbers = [json.dumps([str(number) for number in range(size)]) for size in (count // programs, programs)]
    (place / "scratch.toml").write_text(f"""
[image.all]
name = "s-${{n}}-${{p}}"
programs = ["program${{p}}:/server"]
with = ["tmp"]
env = {{N = "${{n}}"}}
matrix = {{n = {numbers[0]}, p = {numbers[1]}}}
""")


def argv(*words: str) -> Sequence[str]:
    return [sys.executable, "-m", "rootless_scratch", "bake", *words]


@pytest.mark.slow
def test_a_thousand_images_killed_twice_on_the_way_are_there_after_the_third_call(
    shared_home: Home, tmp_path: Path
) -> None:
    many(tmp_path, 1020)
    for after in (60, 300):
        with subprocess.Popen(
            argv("-o", "oci:out"), env=shared_home.environment, cwd=tmp_path, stderr=subprocess.PIPE
        ) as killed:
            assert killed.stderr is not None
            for _ in range(after):
                killed.stderr.readline()
            killed.send_signal(signal.SIGKILL)
        before = names_in(tmp_path / "out")
        assert len(before) < 1020
    with subprocess.Popen(
        argv("-q", "--json", "-o", "oci:out"), env=shared_home.environment, cwd=tmp_path, stdout=subprocess.PIPE
    ) as third:
        assert third.stdout is not None
        results = json.loads(third.stdout.read())["results"]
        _, status, usage = os.wait4(third.pid, 0)
        third.returncode = os.waitstatus_to_exitcode(status)
    assert third.returncode == 0
    assert usage.ru_maxrss < 300 << 10
    assert names_in(tmp_path / "out") == {each["image"]: each["digest"] for each in results}
    assert len(results) == 1020
    named = names_in(tmp_path / "out")
    for number in range(30):
        one = f"{number % 34}"
        single = rs.build(
            f"{tmp_path}/program{number}:/server",
            env={"N": one},
            essentials=["tmp"],
            output=f"oci:{tmp_path}/single",
        )
        assert single.digest == named[f"s-{one}-{number}"]
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_no_process_of_a_killed_bake_lives_on(shared_home: Home, tmp_path: Path) -> None:
    many(tmp_path, 300)
    with subprocess.Popen(
        argv("-o", "oci:out", "--executor", "processes", "--jobs", "3"),
        env=shared_home.environment,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
    ) as killed:
        assert killed.stderr is not None
        killed.stderr.readline()
        made = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text(encoding="ascii").split()
        held = [os.pidfd_open(int(pid)) for pid in made]
        killed.send_signal(signal.SIGKILL)
    assert len(held) == 3
    for descriptor in held:
        ended, _, _ = select.select([descriptor], [], [], 10)
        os.close(descriptor)
        assert ended
    again = shared_home.cli("bake", "-q", "-o", "oci:out", "--executor", "processes", cwd=tmp_path)
    assert again.returncode == 0
    assert len(names_in(tmp_path / "out")) == 300


@pytest.mark.slow
def test_two_bakes_at_once_into_one_layout_are_both_right(shared_home: Home, tmp_path: Path) -> None:
    many(tmp_path, 120)
    calls = [
        subprocess.Popen(
            argv("-q", "-o", "oci:out"), env=shared_home.environment, cwd=tmp_path, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    first, second = (call.communicate()[0] for call in calls)
    assert [call.returncode for call in calls] == [0, 0]
    assert first == second
    assert len(names_in(tmp_path / "out")) == 120


@pytest.mark.registry
def test_tags_are_pushed_to_their_registries(shared_home: Home, shop: Path, tmp_path: Path) -> None:
    with registry(tmp_path / "registry") as at:
        words = ["--set", f"server.tag={at.host}/shop/server:1", "--set", f"worker.tag={at.host}/shop/worker:1"]
        answer = shared_home.json("bake", "server", "worker", *words, "--push", "--tls-verify=false", cwd=shop)
        for result in answer["results"]:
            assert at.manifest(f"shop/{result['image']}", "1") is not None
    assert list((shop / "out").iterdir()) == []


@pytest.mark.buildah
def test_tags_go_to_local_storage_several_at_a_time(fresh_home: Home, shop: Path) -> None:
    (shop / "scratch.toml").write_text(FILE)
    answer = fresh_home.json("bake", "server", "worker", "--load", "--jobs", "2", cwd=shop)
    for result in answer["results"]:
        shown = fresh_home.json("inspect", f"localhost/bake-{result['image']}:1")
        assert shown["image_id"] == result["image_id"]
    assert list((shop / "out").iterdir()) == []
