"""A store of stages that somebody else has changed: said in one sentence, and made again once it is removed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import Home
from staging import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.buildah, pytest.mark.podman]

OWN = 'FROM scratch AS build\nCOPY busybox /b\nRUN ["/b", "true"]\nFROM scratch\nCOPY --from=build /b /b\n'
"""A stage that needs no image of the user's storage."""

FILE = "FROM base AS build\nRUN echo made >/made\nFROM scratch\nCOPY --from=build /made /\n"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    home = Home(Path(tempfile.mkdtemp(prefix="rst-")))
    yield Bench(home, tmp_path)
    home.remove()


def test_each_damage_has_a_cause_and_a_fix_that_works(bench: Bench) -> None:
    bench.build(FILE)
    store = bench.store
    for name, change in (
        ("lock", lambda path: (path.unlink(), path.mkdir())),
        ("lock", lambda path: (path.rmdir(), path.symlink_to("/etc/passwd"))),
        ("tmp", lambda path: (bench.home.run(["buildah", "unshare", "rm", "-rf", str(path)]), path.touch())),
    ):
        change(store / name)
        done = bench.build(FILE, "--no-cache", code=1)
        said = done.stderr.decode()
        assert f"Containerfile:1: the stage `build` is built by buildah: the store of stages '{store}'" in said
        assert f"{store}/{name}: " in said
        assert "Errno" not in said
        assert f"fix: Remove it, as it is a cache: `buildah unshare rm -rf {store}`." in said
    subprocess.run(["buildah", "unshare", "rm", "-rf", str(store)], env=bench.home.environment, check=True)
    assert bench.files(FILE)["/made"][3] == b"made\n"
    # What was remembered of it is no reason to fail either.
    for path in (store / "memory").iterdir():
        path.write_bytes(path.read_bytes()[:20])
    (store / "settings.json").write_text("[")
    assert bench.files(FILE)["/made"][3] == b"made\n"


def test_a_full_disk_is_told_wherever_it_is_full(bench: Bench) -> None:
    mount = 'mount -t tmpfs -o size="$0" tmpfs "$1" && shift && exec "$@"'
    (bench.context / "Containerfile").write_text(OWN)
    small = bench.context / "small"
    small.mkdir()
    build = ["-m", "rootless_scratch", "build", "-f", "Containerfile", ".", "-o", f"oci:{bench.context}/l"]
    for size in ("4k", "600k"):
        argv = ["buildah", "unshare", "sh", "-c", mount, size, str(small)]
        argv += ["env", f"XDG_DATA_HOME={small}", sys.executable, *build]
        done = subprocess.run(
            argv, cwd=bench.context, env=bench.home.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, done.stderr
        assert "No space left" in done.stderr or "no space left" in done.stderr
        assert "Errno" not in done.stderr
        assert "  fix: " in done.stderr
        assert not (bench.context / "l").exists()
