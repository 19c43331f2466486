"""`build -t` by the backend direct begins before there is an image, and leaves nothing where there is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Home

pytestmark = pytest.mark.buildah

SETTLED = 3.2
PATIENCE = 30


def storing(home: Home) -> list[int]:
    """The processes of skopeo, and what holds it, in this home."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if b"containers-storage:" in words and f"HOME={home.path}\0".encode() in (
                    (entry / "environ").read_bytes()
                ):
                    found.append(int(entry.name))
    return sorted(found)


def waits(home: Home) -> bool:
    """Whether all of them are there: the tether, skopeo, and skopeo in its namespace."""
    return len(storing(home)) == len(("tether", "skopeo", "within"))


def comes_true(what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def begin(home: Home, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "rootless_scratch", "build", *words, "--backend", "direct"],
        env=home.environment,
        cwd=home.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def names(home: Home) -> set[str]:
    listed = home.run(["buildah", "images", "--all", "--noheading", "--format", "{{.Name}}:{{.Tag}}"])
    return set(listed.stdout.decode().split())


def records(home: Home) -> list[Path]:
    place = home.path / ".local/state/rootless-scratch/builds"
    return [path for path in place.rglob("*") if path.is_file()]


def test_storage_is_ready_before_the_program_is(fresh_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    build = begin(fresh_home, "-", "-t", "piped")
    assert comes_true(lambda: waits(fresh_home))
    printed, errors = build.communicate(program.read_bytes(), timeout=PATIENCE)
    assert build.returncode == 0, errors.decode()
    twin = fresh_home.json("build", f"{program}:/piped", "-o", f"oci:{tmp_path}/layout")
    assert printed.decode().strip() == twin["image_id"]
    assert names(fresh_home) == {"localhost/piped:latest"}
    assert (fresh_home.temporary_files(), records(fresh_home), storing(fresh_home)) == ([], [], [])


@pytest.mark.parametrize(
    "words",
    [
        ["/no/such/program", "-t", "x"],
        [__file__, "-t", "x"],
        ["PROGRAM", "-t", "x", "--user", "nobody:-1"],
        ["PROGRAM", "-t", "x", "--no-such-option"],
        ["PROGRAM", "-t", "x", "--platform", "linux/nonsense=PROGRAM"],
        ["PROGRAM", "-t", "UPPER"],
    ],
    ids=[
        "no program",
        "a program that would not start",
        "a bad value",
        "a bad option",
        "no platform",
        "a bad name",
    ],
)
def test_what_was_begun_ends_where_there_will_be_no_image(
    fresh_home: Home, tmp_path: Path, words: list[str]
) -> None:
    program = tinyelf.write(tmp_path / "program")
    done = fresh_home.cli(
        "build", *(str(program) if word == "PROGRAM" else word for word in words), "--backend=direct"
    )
    assert done.returncode in (1, 2)
    assert b"fix: " in done.stderr
    assert comes_true(lambda: not storing(fresh_home))
    assert (fresh_home.temporary_files(), records(fresh_home)) == ([], [])
    assert names(fresh_home) == set()


@pytest.mark.parametrize("killed", ["the caller", "the caller and the tether", "everything"])
def test_a_kill_while_it_waits_leaves_nothing_that_the_next_build_meets(
    fresh_home: Home, tmp_path: Path, killed: str
) -> None:
    program = tinyelf.write(tmp_path / "program")
    build = begin(fresh_home, "-", "-t", "victim")
    assert comes_true(lambda: waits(fresh_home))
    skopeos = storing(fresh_home)
    victims = {"the caller": [], "the caller and the tether": skopeos[:1], "everything": skopeos}[killed]
    for pid in (*victims, build.pid):
        os.kill(pid, signal.SIGKILL)
    build.communicate()
    assert fresh_home.json("build", str(program), "-t", "next", "--backend", "direct")["names"] == [
        "localhost/next:latest"
    ]
    assert comes_true(lambda: not storing(fresh_home))
    assert (fresh_home.temporary_files(), records(fresh_home)) == ([], [])
    assert names(fresh_home) == {"localhost/next:latest"}


def test_where_only_the_tether_is_killed_the_build_says_so_and_ends(fresh_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    build = begin(fresh_home, "-", "-t", "victim")
    assert comes_true(lambda: waits(fresh_home))
    os.kill(storing(fresh_home)[0], signal.SIGKILL)
    printed, errors = build.communicate(program.read_bytes(), timeout=PATIENCE)
    assert (build.returncode, printed) == (1, b"")
    assert b"was ended by signal 9" in errors
    assert comes_true(lambda: not storing(fresh_home))
    assert (fresh_home.temporary_files(), records(fresh_home), names(fresh_home)) == ([], [], set())


BEGUN = """
import os, signal, sys
from rootless_scratch.backends.storing import Storing
storing = Storing("victim")
print(flush=True)
storing.record.stores(sys.stdin.readline().strip())
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("stored", ["half", "whole", "named", "before"])
def test_what_skopeo_was_killed_within_storing_is_removed_by_the_next_build_and_nothing_else(
    fresh_home: Home, tmp_path: Path, stored: str
) -> None:
    program = tinyelf.write(tmp_path / "program")

    def stored_image() -> str:
        image_id = str(fresh_home.json("build", str(program), "-t", "victim")["image_id"])
        if stored != "named":
            fresh_home.run(["podman", "untag", image_id])
        return image_id

    image_id = stored_image() if stored == "before" else ""
    victim = subprocess.Popen(
        [sys.executable, "-c", BEGUN],
        env=fresh_home.environment,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert victim.stdout is not None
    victim.stdout.readline()
    image_id = image_id or stored_image()
    if stored == "half":
        (manifest,) = fresh_home.path.glob(f".local/share/containers/storage/*-images/{image_id}/manifest")
        manifest.unlink()
        assert fresh_home.run(["podman", "images", "--all"], check=False).returncode != 0
    victim.communicate(image_id.encode() + b"\n")
    other = tinyelf.write(tmp_path / "other", text=b"Other\n")
    fresh_home.json("build", str(other), "-t", "next", "--backend", "direct")
    listed = fresh_home.run(["podman", "images", "--all", "--quiet", "--no-trunc"]).stdout.decode()
    assert (image_id in listed) == (stored in ("named", "before"))
    assert (fresh_home.temporary_files(), records(fresh_home), storing(fresh_home)) == ([], [], [])


def test_ctrl_c_while_it_waits_ends_all_of_it(fresh_home: Home) -> None:
    build = begin(fresh_home, "-", "-t", "victim")
    # An interrupt in the middle of an import may be lost by Python.
    reads = Path(f"/proc/{build.pid}/wchan")
    assert comes_true(lambda: waits(fresh_home) and "pipe_read" in reads.read_text())
    build.send_signal(signal.SIGINT)
    printed, errors = build.communicate(timeout=PATIENCE)
    assert (build.returncode, printed) == (130, b""), errors.decode()
    assert comes_true(lambda: not storing(fresh_home))
    assert (fresh_home.temporary_files(), records(fresh_home), names(fresh_home)) == ([], [], set())


def test_names_that_only_a_file_tells_and_several_ones_are_given(fresh_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    (tmp_path / "scratch.toml").write_text(f'programs = ["{program}"]\ntag = ["one", "two:2", "three/four"]\n')
    built = fresh_home.json("build", "--spec", f"{tmp_path}/scratch.toml", "--backend", "direct")
    expected = {"localhost/one:latest", "localhost/two:2", "localhost/three/four:latest"}
    assert (set(built["names"]), names(fresh_home)) == (expected, expected)
    for name in expected:
        assert fresh_home.json("inspect", name)["image_id"] == built["image_id"]


@pytest.mark.slow
def test_a_layer_that_storage_has_is_not_made_again_and_one_that_it_lost_is(
    fresh_home: Home, tmp_path: Path
) -> None:
    program, data = tinyelf.write(tmp_path / "program"), tmp_path / "data"
    data.write_bytes(os.urandom(9 << 20))
    time.sleep(SETTLED)
    words = ("build", str(program), "--copy", f"{data}:/data", "--backend", "direct")
    first = fresh_home.json(*words, "-t", "first")
    again = fresh_home.json(*words, "-t", "again")
    other = fresh_home.json(*words, "-t", "other", "--env", "A=1")
    assert first["image_id"] == again["image_id"] != other["image_id"]
    assert fresh_home.json("verify", "other", str(program), "--copy", f"{data}:/data", "--env", "A=1")[
        "verdict"
    ] == ("identical")
    fresh_home.run(["buildah", "rmi", "--all", "--force"])
    lost = fresh_home.json(*words, "-t", "lost", "-o", f"oci:{tmp_path}/layout")
    assert lost["image_id"] == first["image_id"]
    assert fresh_home.json("verify", "lost", str(program), "--copy", f"{data}:/data")["verdict"] == "identical"
    data.write_bytes(os.urandom(9 << 20))
    assert fresh_home.json(*words, "-t", "changed")["image_id"] != first["image_id"]
    assert fresh_home.json("verify", "changed", str(program), "--copy", f"{data}:/data")["verdict"] == "identical"
    assert fresh_home.temporary_files() == []


def test_two_at_once_of_one_name_and_one_content_both_succeed(fresh_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    builds = [begin(fresh_home, str(program), "-t", name) for name in ("same", "same", "other", "same")]
    printed = {build.communicate(timeout=120)[0] for build in builds}
    assert [build.returncode for build in builds] == [0, 0, 0, 0]
    assert len(printed) == 1
    assert names(fresh_home) == {"localhost/same:latest", "localhost/other:latest"}
    assert (fresh_home.temporary_files(), records(fresh_home)) == ([], [])
