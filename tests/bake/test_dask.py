"""A team whose images are too many for one machine bakes them by the Dask cluster that it has."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf
from clusters import cluster
from registries import free_port, registry

import rootless_scratch as rs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clusters import Cluster
    from conftest import Home

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def four(shared_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("dask"), shared_home.environment, workers=2) as made:
        yield made


def many(place: Path, count: int, size: int = 3_000_000) -> Path:
    """A file of many images: five programs, a file that all have, and what only one has."""
    place.mkdir()
    for number in range(5):
        tinyelf.write(place / f"program{number}", text=b"%d\n" % number)
    (place / "data").write_bytes(b"0123456789abcdef" * (size // 16))
    (place / "small").mkdir()
    for number in range(20):
        (place / "small" / str(number)).write_bytes(b"%d" % number * 100)
    numbers = json.dumps([str(number) for number in range(count // 5)])
    (place / "scratch.toml").write_text(f"""
[image.all]
name = "s-${{n}}-${{p}}"
programs = ["program${{p}}:/server"]
copy = ["data:/data", "small:/small"]
with = ["tmp"]
env = {{N = "${{n}}"}}
matrix = {{n = {numbers}, p = ["0", "1", "2", "3", "4"]}}
""")
    return place


def digests(layout: Path) -> dict[str, str]:
    """The digests of a layout's images by their names."""
    index = json.loads((layout / "index.json").read_text())
    return {
        each["annotations"]["org.opencontainers.image.ref.name"]: each["digest"] for each in index["manifests"]
    }


def argv(*words: str) -> Sequence[str]:
    return [sys.executable, "-m", "rootless_scratch", "bake", *words]


def left_in(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if path.name.startswith(".")]


def test_the_images_are_those_of_one_machine(shared_home: Home, tmp_path: Path, four: Cluster) -> None:
    shop = many(tmp_path / "shop", 20)
    here = shared_home.json("bake", "-o", "oci:here", cwd=shop)
    there = shared_home.json("bake", "-o", "oci:there", "--executor", f"dask:{four.address}", cwd=shop)
    for one, other in zip(here["results"], there["results"], strict=True):
        assert one | {"outputs": []} == other | {"outputs": []}
        assert other["outputs"][0]["ref"] == f"oci:there:{other['image']}"
    assert digests(shop / "here") == digests(shop / "there")
    assert rs.check(f"oci:{shop}/there:s-3-4").verdict == "starts"
    packed = [
        shared_home.json("bake", "-o", f"oci:{name}", "--compress", "gzip", *how, "s-0-0", "s-1-4", cwd=shop)
        for name, how in (("a", ()), ("b", ("--executor", f"dask:{four.file}")))
    ]
    assert [each["digest"] for each in packed[0]["results"]] == [each["digest"] for each in packed[1]["results"]]
    assert left_in(shop / "there") == left_in(shop / "b") == []


def test_archives_and_layouts_of_an_index_come_back_too(shared_home: Home, tmp_path: Path, four: Cluster) -> None:
    tinyelf.write(tmp_path / "amd64")
    tinyelf.write(tmp_path / "arm64", machine="aarch64")
    (tmp_path / "scratch.toml").write_text("""
[image.both]
programs = ["amd64:/server", "arm64:/server"]
output = ["oci:LAYOUT:both", "oci-archive:ARCHIVE.tar"]
[image.one]
programs = ["amd64:/server"]
output = ["docker-archive:ARCHIVE-one.tar"]
[image.wrong]
programs = ["scratch.toml"]
output = ["oci:LAYOUT:wrong"]
[image.missing]
programs = ["nothing"]
output = ["oci:LAYOUT:missing"]
""")
    results = []
    for name, how in (("here", ()), ("farm", ("--executor", f"dask:{four.address}"))):
        text = (tmp_path / "scratch.toml").read_text()
        (tmp_path / f"{name}.toml").write_text(text.replace("LAYOUT", f"{name}-layout").replace("ARCHIVE", name))
        done = shared_home.cli("bake", f"{name}.toml", "--json", *how, cwd=tmp_path)
        assert done.returncode == 1
        results.append(json.loads(done.stdout.replace(f":{name}".encode(), b":"))["results"])
    assert results[0] == results[1]
    assert [each.get("error", {}).get("kind") for each in results[0]] == [None, None, "refused", "source"]
    for ending in (".tar", "-one.tar"):
        assert (tmp_path / f"here{ending}").read_bytes() == (tmp_path / f"farm{ending}").read_bytes()


def test_the_images_of_a_worker_that_is_killed_are_made_by_another(shared_home: Home, tmp_path: Path) -> None:
    shop = many(tmp_path / "shop", 40)
    with cluster(tmp_path / "dask", shared_home.environment, workers=4) as workers:
        words = argv("-o", "oci:out", "--json", "--executor", f"dask:{workers.address}")
        with subprocess.Popen(
            words, env=shared_home.environment, cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as bake:
            while len(list((shop / "out").glob("blobs/sha256/*"))) < 12:
                assert bake.poll() is None
                time.sleep(0.01)
            workers.workers[1].send_signal(signal.SIGKILL)
            stdout, stderr = bake.communicate()
    assert (bake.returncode, stderr) == (0, b"")
    found = {each["image"]: each["digest"] for each in json.loads(stdout)["results"]}
    assert len(found) == 40
    here = shared_home.json("bake", "-o", "oci:here", cwd=shop)
    assert found == {each["image"]: each["digest"] for each in here["results"]}
    assert found == digests(shop / "out")


@pytest.mark.buildah
def test_workers_that_see_no_file_of_ours_are_sent_what_they_need(shared_home: Home, tmp_path: Path) -> None:
    """As on other machines: an empty directory lies over all of ours, and one worker of three sees the files."""
    shop = many(tmp_path / "shop", 15, size=9_000_000)
    for name in ("scratch.toml", "program0"):
        # What only this user may read, and what only its caller can.
        (shop / name).chmod(0o700 if name.startswith("program") else 0o600)
    with cluster(tmp_path / "dask", shared_home.environment, workers=0) as workers:
        blind = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
        workers.add(2, before=[*blind, 'mount -t tmpfs none "$0" && exec "$@"', str(shop)])
        workers.wait_for(2)
        words = ["-o", "oci:out", "--executor", f"dask:{workers.address}"]
        blindly = shared_home.json("bake", *words, cwd=shop)
        workers.add(1)
        workers.wait_for(3)
        words = ["-o", "oci:mixed", "--compress", "zstd", "--executor", f"dask:{workers.address}"]
        mixed = shared_home.json("bake", *words, cwd=shop)
    here = shared_home.json("bake", "-o", "oci:here", cwd=shop)
    assert [each["digest"] for each in blindly["results"]] == [each["digest"] for each in here["results"]]
    assert digests(shop / "out") == digests(shop / "here")
    here = shared_home.json("bake", "-o", "oci:here", "--compress", "zstd", cwd=shop)
    assert [each["digest"] for each in mixed["results"]] == [each["digest"] for each in here["results"]]
    for name, digest in digests(shop / "mixed").items():
        assert rs.check(f"oci:{shop}/mixed:{name}", limits={"ratio": 9999}).verdict == "starts", digest


@pytest.mark.buildah
def test_a_worker_without_the_files_that_is_killed_is_no_loss_either(shared_home: Home, tmp_path: Path) -> None:
    shop = many(tmp_path / "shop", 40)
    with cluster(tmp_path / "dask", shared_home.environment, workers=0) as workers:
        blind = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
        workers.add(4, before=[*blind, 'mount -t tmpfs none "$0" && exec "$@"', str(shop)])
        workers.wait_for(4)
        words = argv("-o", "oci:out", "--json", "--executor", f"dask:{workers.address}")
        with subprocess.Popen(words, env=shared_home.environment, cwd=shop, stdout=subprocess.PIPE) as bake:
            while len(list((shop / "out").glob("blobs/sha256/*"))) < 12:
                assert bake.poll() is None
                time.sleep(0.01)
            for worker in workers.workers[:3]:
                worker.send_signal(signal.SIGKILL)
            stdout, _ = bake.communicate()
    assert bake.returncode == 0
    here = shared_home.json("bake", "-o", "oci:here", cwd=shop)
    assert [each["digest"] for each in json.loads(stdout)["results"]] == [
        each["digest"] for each in here["results"]
    ]


@pytest.mark.parametrize("address", ["nowhere", "tcp://", "localhost", "http://a:1", "", "a b:1"])
def test_what_names_no_scheduler_is_usage(shared_home: Home, tmp_path: Path, address: str) -> None:
    shop = many(tmp_path / "shop", 5)
    done = shared_home.cli("bake", "-o", "oci:out", "--executor", f"dask:{address}", cwd=shop)
    assert done.returncode == 2
    assert b"dask:HOST:PORT" in done.stderr
    assert not (shop / "out").exists()


def test_where_no_scheduler_answers_one_sentence_says_so(shared_home: Home, tmp_path: Path) -> None:
    shop = many(tmp_path / "shop", 5)
    for address in (f"127.0.0.1:{free_port()}", "scheduler.invalid:8786", str(tmp_path / "none.json")):
        done = shared_home.cli("bake", "-o", "oci:out", "--executor", f"dask:{address}", cwd=shop)
        assert done.returncode == 1
        assert done.stderr.startswith(
            f"rootless-scratch: No Dask scheduler can be reached at {address}: ".encode()
        )
        assert len(done.stderr.splitlines()) == 2
        assert not (shop / "out").exists()


def test_images_of_local_storage_and_judgements_are_not_for_workers(shared_home: Home, tmp_path: Path) -> None:
    shop = many(tmp_path / "shop", 5)
    for words, told in (
        (["--set", "s-0-0.tag=localhost/x"], b"local storage"),
        (["--check"], b"on this host"),
    ):
        done = shared_home.cli("bake", *words, "s-0-0", "--executor", "dask:127.0.0.1:1", cwd=shop)
        assert done.returncode == 2
        assert told in done.stderr


def test_images_of_containerfiles_are_not_for_workers(shared_home: Home, tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text("FROM scratch\n")
    (tmp_path / "docker-bake.json").write_text('{"target": {"default": {"tags": ["localhost/x"]}}}')
    done = shared_home.cli("bake", "-o", "oci:out", "--executor", "dask:127.0.0.1:1", cwd=tmp_path)
    assert done.returncode == 2
    assert b"'default' is an image of a Containerfile" in done.stderr


def other_version(place: Path) -> dict[str, str]:
    """The environment of a worker with another version of the package."""
    shutil.copytree(SOURCE / "rootless_scratch", place / "rootless_scratch")
    surface = place / "rootless_scratch/__init__.py"
    surface.write_text(surface.read_text().replace(f'"{rs.__version__}"', '"0.0.1"'))
    return {"PYTHONPATH": str(place)}


def test_workers_of_another_version_are_refused_whenever_they_come(shared_home: Home, tmp_path: Path) -> None:
    shop = many(tmp_path / "shop", 5)
    other = other_version(tmp_path / "other")
    with cluster(tmp_path / "dask", shared_home.environment, workers=0) as workers:
        words = ["bake", "-q", "-o", "oci:out", "--executor", f"dask:{workers.address}"]
        late = threading.Timer(5, workers.add, (1,), {"environment": other})
        late.start()
        after = shared_home.cli(*words, cwd=shop)
        late.join()
        before = shared_home.cli(*words, cwd=shop)
    said = f"has rootless-scratch 0.0.1, and not {rs.__version__} as this host".encode()
    for done in (after, before):
        assert done.returncode == 1
        assert said in done.stderr, done.stderr
        assert b"Traceback" not in done.stderr
    assert len(before.stderr.splitlines()) == 2
    assert not (shop / "out").exists()


def test_a_scheduler_that_ends_is_told_for_what_was_not_made(shared_home: Home, tmp_path: Path) -> None:
    shop = many(tmp_path / "shop", 40, size=10_000_000)
    with cluster(tmp_path / "dask", shared_home.environment) as workers:
        words = argv("-o", "oci:out", "--executor", f"dask:{workers.address}")
        with subprocess.Popen(words, env=shared_home.environment, cwd=shop, stderr=subprocess.PIPE) as bake:
            assert bake.stderr is not None
            bake.stderr.readline()
            workers.scheduler.kill()
            rest = bake.stderr.read().decode()
    assert bake.returncode == 1
    assert "Traceback" not in rest, rest
    assert f"The connection to {workers.address} was lost" in rest
    made = digests(shop / "out")
    assert f"{40 - len(made)} of 40 failed" in rest
    assert 0 < len(made) < 40


def test_an_interrupt_cancels_what_is_under_way(shared_home: Home, tmp_path: Path, four: Cluster) -> None:
    from distributed import Client

    shop = many(tmp_path / "shop", 60, size=10_000_000)
    words = argv("-o", "oci:out", "--compress", "gzip:3", "--executor", f"dask:{four.address}")
    with subprocess.Popen(words, env=shared_home.environment, cwd=shop, stderr=subprocess.PIPE) as bake:
        assert bake.stderr is not None
        bake.stderr.readline()
        bake.send_signal(signal.SIGINT)
        rest = bake.stderr.read()
    assert bake.returncode == 130
    assert b"Traceback" not in rest
    with Client(four.address, set_as_default=False) as client:
        while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
            time.sleep(0.1)
    assert left_in(shop / "out") == []
    assert 0 < len(digests(shop / "out")) < 60


def test_without_the_package_of_dask_it_is_named(shared_home: Home, tmp_path: Path) -> None:
    shop = many(tmp_path / "shop", 5)
    (tmp_path / "without").mkdir()
    (tmp_path / "without/distributed.py").write_text("raise ImportError\n")
    environment = {"PYTHONPATH": f"{tmp_path}/without:{SOURCE}"}
    words = ["bake", "-o", "oci:out", "--executor", "dask:127.0.0.1:1"]
    done = shared_home.cli(*words, cwd=shop, environment=environment)
    assert done.returncode == 1
    assert b"pip install 'rootless-scratch[dask]'" in done.stderr


PROGRAM = """
import sys
from distributed import Client
import rootless_scratch as rs

with Client(sys.argv[1], set_as_default=False) as client:
    for number in range(2):
        baked = rs.bake("scratch.toml", output=f"oci:out{number}", executor=client)
        assert not baked.failed, baked.errors
print(len(baked.images))
"""


def test_in_python_a_client_of_its_own_is_taken_and_stays_open(
    shared_home: Home, tmp_path: Path, four: Cluster
) -> None:
    shop = many(tmp_path / "shop", 10)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, four.address],
        env=shared_home.environment,
        cwd=shop,
        check=False,
        capture_output=True,
    )
    assert (done.stdout, done.returncode) == (b"10\n", 0), done.stderr
    assert digests(shop / "out0") == digests(shop / "out1")


@pytest.mark.registry
def test_what_workers_make_is_pushed_from_here(shared_home: Home, tmp_path: Path, four: Cluster) -> None:
    shop = many(tmp_path / "shop", 10)
    with registry(tmp_path / "registry") as at:
        tags = [word for n in "01" for p in "01234" for word in ("--set", f"s-{n}-{p}.tag={at.host}/s/{n}-{p}:1")]
        words = [*tags, "--push", "--tls-verify=false"]
        there = shared_home.json("bake", *words, "--executor", f"dask:{four.address}", cwd=shop)
        for result in there["results"]:
            (output,) = result["outputs"]
            name = result["image"].removeprefix("s-")
            assert output["ref"] == f"docker://{at.host}/s/{name}:1"
            assert at.manifest(f"s/{name}", "1") == at.manifest(f"s/{name}", result["digest"])
        here = shared_home.json("bake", *words, cwd=shop)
        assert [each["digest"] for each in here["results"]] == [each["digest"] for each in there["results"]]


def test_what_a_killed_call_has_left_in_a_layout_is_gone_after_the_next(
    shared_home: Home, tmp_path: Path, four: Cluster
) -> None:
    shop = many(tmp_path / "shop", 20, size=10_000_000)
    words = ("-o", "oci:out", "--executor", f"dask:{four.address}")
    with subprocess.Popen(argv(*words), env=shared_home.environment, cwd=shop, stderr=subprocess.PIPE) as bake:
        assert bake.stderr is not None
        bake.stderr.readline()
        bake.kill()
    assert left_in(shop / "out")
    done = shared_home.json("bake", *words, cwd=shop)
    assert digests(shop / "out") == {each["image"]: each["digest"] for each in done["results"]}
    assert left_in(shop / "out") == []
