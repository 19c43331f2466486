"""As real root, usual inside CI containers: everything works too, and root's image is any user's."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf
from conftest import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

SOURCE = Path(__file__).resolve().parents[2]
STORE = '[storage]\ndriver = "vfs"\ngraphroot = "{0}/graph"\nrunroot = "{0}/run"\n'


@pytest.fixture
def root_home() -> Iterator[Home]:
    """Root's image store does not follow its home, so this one has a storage.conf."""
    home = Home(Path(tempfile.mkdtemp(prefix="rst-", dir="/var/tmp")))
    home.environment["CONTAINERS_STORAGE_CONF"] = str(home.path / "storage.conf")
    (home.path / "storage.conf").write_text(STORE.format(home.path))
    yield home
    home.remove()


def test_root_builds_runs_checks_and_reads_an_image(root_home: Home, tmp_path: Path) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    assert root_home.cli("build", program, "-t", "hello").returncode == 0
    done = root_home.cli("run", "hello")
    assert (done.returncode, done.stdout) == (0, b"Hello World\n"), done.stderr
    assert root_home.json("check", "hello")["verdict"] == "starts"
    assert [file["path"] for file in root_home.json("inspect", "hello")["files"]] == ["/hello"]
    assert root_home.cli("doctor").returncode == 0


def test_roots_limits_are_enforced_and_its_volumes_are_let_be(root_home: Home) -> None:
    busybox = shutil.which("busybox")
    assert busybox is not None, "install busybox-static"
    assert root_home.cli("build", "-q", busybox, "-t", "tools").returncode == 0
    script = (
        "c=/sys/fs/cgroup; cat $c/memory.max $c/cpu.max $c/pids.max 2>/dev/null ||"
        " cat $c/memory/memory.limit_in_bytes $c/cpu/cpu.cfs_quota_us $c/pids/pids.max; echo x > /v/new"
    )
    place = root_home.path / "volume"
    place.mkdir()
    place.chmod(0o777)
    words = ["--strict", "--network", "none", "--memory", "64m", "--cpus", "0.5", "--pids-limit", "20"]
    done = root_home.cli("run", "-q", *words, "--volume", f"{place}:/v", "tools", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() in ([b"67108864", b"50000", b"100000", b"20"], [b"67108864", b"50000", b"20"])
    assert (place / "new").stat().st_uid == 65532, "ids of root's containers are those of the host"


def test_what_its_memory_limit_ended_is_explained_below_its_words(root_home: Home) -> None:
    busybox = shutil.which("busybox")
    assert busybox is not None, "install busybox-static"
    assert root_home.cli("build", "-q", busybox, "-t", "tools").returncode == 0
    # tail(1) keeps what it has read of a line, and this one has no end.
    words = ["--memory", "32m", "tools", "sh", "-c", "printf mine >&2; exec tail /dev/zero"]
    done = root_home.cli("run", "-q", "--network", "none", *words)
    assert (done.returncode, done.stdout) == (137, b"")
    assert done.stderr.startswith(b"mine\nerror: ")
    assert b"[memory-limit]\n  fix: " in done.stderr
    assert b"--memory" in done.stderr


def test_root_and_an_ordinary_user_get_the_same_image_id(root_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "hello")
    by_root = root_home.json("build", str(program), "-t", "hello")["image_id"]
    account = pwd.getpwuid(SOURCE.stat().st_uid)
    assert account.pw_uid != 0, "the checkout that is tested is an ordinary user's"
    home = Path(tempfile.mkdtemp(prefix="rst-"))
    try:
        shutil.copy2(program, home)
        shutil.chown(home, account.pw_uid)
        done = subprocess.run(
            [sys.executable, "-m", "rootless_scratch", "build", str(home / "hello"), "-t", "hello", "--json"],
            env={"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)},
            cwd=home,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=(),
            capture_output=True,
            timeout=120,
            check=True,
        )
        assert json.loads(done.stdout)["image_id"] == by_root
    finally:
        shutil.rmtree(home)


def test_what_root_left_when_it_was_killed_is_taken_back_from_another_home(
    root_home: Home, tmp_path: Path
) -> None:
    big = tinyelf.write(tmp_path / "big")
    with big.open("ab") as file:
        file.write(os.urandom(200 << 20))
    words = [sys.executable, "-m", "rootless_scratch", "build", str(big), "-t", "big"]
    with subprocess.Popen(words, env=root_home.environment, start_new_session=True) as victim:
        deadline = time.monotonic() + 30
        while not working_containers(root_home) and time.monotonic() < deadline:
            time.sleep(0.02)
        # The worker is in a session of its own and would take back what it began.
        for pid in subprocess.run(
            ["pgrep", "-f", root_home.environment["TMPDIR"]], capture_output=True, check=False, text=True
        ).stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        victim.kill()
    assert len(working_containers(root_home)) == 1
    elsewhere = {"HOME": str(tmp_path)}
    small = str(tinyelf.write(tmp_path / "small"))
    assert root_home.cli("build", small, "-t", "small", environment=elsewhere).returncode == 0
    assert working_containers(root_home) == []


def working_containers(home: Home) -> list[str]:
    return home.run(["buildah", "containers", "--all", "--quiet"]).stdout.decode().split()
