"""A build of what local storage has already: nothing is started for it, and no change is missed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import tinyelf
from test_build_faults import frozen, with_pid_gone
from test_remembered import SETTLED, is_known_file_system

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

LISTING = ("buildah", "images", "--quiet", "--no-trunc")

Way = tuple[str, ...]

pytestmark = [pytest.mark.buildah, pytest.mark.slow]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tinyelf.write(tmp_path / "program")
    time.sleep(SETTLED)
    return path


@pytest.fixture(params=[(), ("--backend", "direct")], ids=["buildah", "direct"])
def way(request: pytest.FixtureRequest) -> Way:
    """How the image comes into storage."""
    found: Way = request.param
    return found


def build(home: Home, program: Path, *options: str) -> str:
    done = home.cli("build", str(program), "-t", "x", *options)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def named(home: Home) -> str:
    return home.run([*LISTING, "localhost/x"]).stdout.decode().strip()


def traced(home: Home, program: Path, *options: str) -> list[str]:
    """The programs that Python is asked to start during a build."""
    script = (
        "import sys\n"
        "sys.addaudithook(lambda event, values: event == 'os.posix_spawn' and print(values[0], file=sys.stderr))\n"
        "sys.argv = ['rootless-scratch', *sys.argv[1:]]\n"
        "from rootless_scratch.cli.main import main\n"
        "main()\n"
    )
    argv = [sys.executable, "-c", script, "build", str(program), "-t", "x", *options]
    return home.run(argv).stderr.decode().splitlines()


def test_nothing_is_started_where_storage_has_the_image_under_its_name(
    fresh_home: Home, program: Path, way: Way
) -> None:
    image = build(fresh_home, program, *way)
    traced(fresh_home, program, *way)
    assert traced(fresh_home, program, *way) == [] or not is_known_file_system(program)
    assert build(fresh_home, program, *way) == image
    assert named(fresh_home) == f"sha256:{image}"


def test_what_a_killed_build_has_left_is_taken_back_all_the_same(
    fresh_home: Home, program: Path, way: Way
) -> None:
    build(fresh_home, program, *way)
    build(fresh_home, program, *way)
    victim = subprocess.Popen(
        [sys.executable, "-m", "rootless_scratch", "build", "--copy", "/usr/bin:/bin", str(program), "-t", "y"],
        env=fresh_home.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    containers = ["buildah", "containers", "--quiet"]
    while victim.poll() is None and not fresh_home.run(containers).stdout:
        time.sleep(0.01)
    for pid in frozen(victim.pid):
        with_pid_gone(pid)
    victim.communicate()
    assert fresh_home.run(containers).stdout
    build(fresh_home, program, *way)
    assert not fresh_home.run(containers).stdout


def test_a_changed_program_is_built_whatever_its_times_say(fresh_home: Home, program: Path, way: Way) -> None:
    before = build(fresh_home, program, *way)
    build(fresh_home, program, *way)
    status = program.stat()
    content = program.read_bytes()
    program.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(program, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = build(fresh_home, program, *way)
    assert after != before
    assert named(fresh_home) == f"sha256:{after}"


def test_small_files_of_a_tree_count_by_their_bytes(
    fresh_home: Home, program: Path, way: Way, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    page = tmp_path / "tree/page"
    images = set()
    for text in ("one", "two", "one"):
        # In the tick of the last build, and of the same size.
        page.write_text(text)
        images.add(build(fresh_home, program, *way, "--copy", f"{page.parent}:/tree"))
        page.write_text(text)
        images.add(build(fresh_home, program, *way, "--copy", f"{page.parent}:/tree"))
    assert len(images) == 2


@pytest.mark.parametrize("lost", ["the image", "its name", "another image has its name"])
def test_what_storage_has_no_more_is_built_or_named_again(
    fresh_home: Home, program: Path, way: Way, lost: str
) -> None:
    image = build(fresh_home, program, *way)
    build(fresh_home, program, *way)
    if lost == "the image":
        fresh_home.run(["buildah", "rmi", "--force", image])
    elif lost == "its name":
        fresh_home.run(["buildah", "tag", image, "kept"])
        fresh_home.run(["buildah", "rmi", "localhost/x:latest"])
    else:
        fresh_home.run(["buildah", "tag", image, "kept"])
        build(fresh_home, tinyelf.write(program.with_name("other")), *way)
    assert build(fresh_home, program, *way) == image
    assert named(fresh_home) == f"sha256:{image}"


def test_other_options_make_another_image(fresh_home: Home, program: Path, way: Way) -> None:
    plain = build(fresh_home, program, *way)
    labeled = build(fresh_home, program, *way, "--label", "a=b")
    assert labeled != plain
    assert build(fresh_home, program, *way) == plain
    assert build(fresh_home, program, *way, "--label", "a=b") == labeled


def test_settings_that_name_another_storage_are_heeded(
    fresh_home: Home, program: Path, way: Way, tmp_path: Path
) -> None:
    image = build(fresh_home, program, *way)
    build(fresh_home, program, *way)
    other = tmp_path / "storage.conf"
    driver = json.loads(fresh_home.run(["buildah", "info"]).stdout)["store"]["GraphDriverName"]
    other.write_text(
        f'[storage]\ndriver = "{driver}"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n'
    )
    variables = {"CONTAINERS_STORAGE_CONF": str(other)}
    try:
        done = fresh_home.cli("build", str(program), "-t", "x", *way, environment=variables)
        assert done.stdout.decode().strip() == image, done.stderr.decode()
        listed = fresh_home.run(["env", f"CONTAINERS_STORAGE_CONF={other}", *LISTING])
        assert listed.stdout.decode().strip() == f"sha256:{image}"
    finally:
        fresh_home.run(["buildah", "unshare", "rm", "-rf", f"{tmp_path}/graph", f"{tmp_path}/run"])


def test_what_direct_has_stored_is_told_as_it_was(fresh_home: Home, program: Path) -> None:
    words = ["build", str(program), "-t", "one", "-t", "two:2", "--label", "a=b", "--annotation", "c=d"]
    direct = [*words, "--backend", "direct"]
    first = fresh_home.json(*direct)
    assert fresh_home.json(*direct) == first
    fresh_home.run(["buildah", "rmi", "localhost/two:2"])
    assert fresh_home.json(*direct) == first


def test_a_storage_that_is_moved_is_found_again(fresh_home: Home, program: Path) -> None:
    direct = ("--backend", "direct")
    image = build(fresh_home, program, *direct)
    build(fresh_home, program, *direct)
    settings = fresh_home.path / ".config/containers/storage.conf"
    driver = json.loads(fresh_home.run(["buildah", "info"]).stdout)["store"]["GraphDriverName"]
    kept = settings.read_bytes() if settings.exists() else None
    settings.parent.mkdir(parents=True, exist_ok=True)
    graph = fresh_home.path / "graph"
    try:
        settings.write_text(
            f'[storage]\ndriver = "{driver}"\nrootless_storage_path = "{graph}"\ngraphroot = "{graph}"\n'
        )
        for _ in range(2):
            assert build(fresh_home, program, *direct) == image
            assert named(fresh_home) == f"sha256:{image}"
        assert len(list(graph.glob("*-images"))) == 1
    finally:
        fresh_home.run(["buildah", "unshare", "rm", "-rf", str(graph)])
        settings.unlink()
        if kept is not None:
            settings.write_bytes(kept)
