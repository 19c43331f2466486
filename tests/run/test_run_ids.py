"""`run` for an account without subordinate ids, made in a user namespace that has one id and hides /etc/subuid."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from containers import Home

pytestmark = pytest.mark.podman

HIDE = """mount --bind /dev/null /etc/subuid && mount --bind /dev/null /etc/subgid || exit 99
exec unshare --user --map-user="$1" --map-group="$2" sh -c "$3"
"""


def single(home: Home, script: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script as this very user, whom nobody has given other ids; `$RST` is rootless-scratch."""
    ids = [str(os.getuid()), str(os.getgid())]
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", HIDE, "sh", *ids, script],
        env=home.environment | {"RST": f"{sys.executable} -m rootless_scratch"},
        cwd=home.path,
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def image(fresh_home: Home) -> Home:
    """A home with the image `tools` of user 65532, in a store made without other ids."""
    busybox = shutil.which("busybox")
    assert busybox is not None, "install busybox-static"
    script = f"$RST build -q {busybox} -o docker-archive:tools.tar:tools && podman load --quiet --input tools.tar"
    done = single(fresh_home, script)
    assert done.returncode == 0, done.stderr.decode()
    (fresh_home.path / "volume").mkdir(mode=0o700)
    return fresh_home


def test_the_program_is_the_caller_which_is_said_and_what_it_writes_is_the_callers(image: Home) -> None:
    script = "id -u; echo x > /v/new; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status"
    done = single(image, f'$RST run --volume "$PWD/volume:/v" tools sh -c "{script}"')
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split() == [
        "0",
        "CapEff:",
        "0000000000000000",
        "CapBnd:",
        "0000000000000000",
        "NoNewPrivs:",
        "1",
    ]
    assert b"no subordinate ids, so the program runs as user 0" in done.stderr
    assert (image.path / "volume/new").stat().st_uid == os.getuid()
    assert single(image, "podman ps --all --quiet").stdout == b""


def test_debug_sees_a_container_and_an_image_all_the_same(image: Home) -> None:
    script = (
        "$RST run -q -d --network none --name t tools sleep 60 > /dev/null && "
        "$RST debug -q t --exec 'id -u; test -x /target/busybox && echo seen'; "
        "podman rm --force --time 0 t > /dev/null; "
        "$RST debug -q --user 0 tools --exec 'test -x /target/busybox && echo seen'"
    )
    done = single(image, script)
    assert done.stdout.split() == [b"0", b"seen", b"seen"], done.stderr.decode()


@pytest.mark.parametrize("words", ["--strict", "--user 65532"])
def test_it_is_refused_where_that_user_was_asked_for_or_nothing_may_differ(image: Home, words: str) -> None:
    done = single(image, f"$RST run {words} tools id")
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"outside the ids" in done.stderr
    assert b"--add-subuids" in done.stderr
