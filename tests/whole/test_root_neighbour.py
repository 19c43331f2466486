"""Another user of the host, who watches and races: a builder's files are not theirs to move, nor to have moved."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf

from rootless_scratch import private

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

pytestmark = pytest.mark.root

SOURCE = Path(__file__).resolve().parents[2]
SETTING = Path("/proc/sys/fs/protected_symlinks")
CONTENT = "the builder's own"

RACE = """
import os, sys
shared, precious = sys.argv[1:]
seen, count = set(), 0
os.set_blocking(0, False)
while True:
    try:
        if os.read(0, 1) == b"":
            break
    except BlockingIOError:
        pass
    paths = [f"{shared}/{name}" for name in os.listdir(shared)]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = os.fsdecode(file.read()).split(chr(0))
        except OSError:
            continue
        paths += [shared + word.partition(shared)[2].partition(":")[0] for word in words if shared + "/" in word]
    for path in paths:
        top = "/".join(path.split("/")[: len(shared.split("/")) + 1])
        try:
            if os.lstat(top).st_uid != os.getuid():
                os.rename(top, f"{shared}/moved-{count}")
        except OSError:
            pass
        try:
            os.symlink(precious, top)
        except OSError:
            continue
        count += 1
print(count)
"""
"""Whatever path below the shared directory is seen, also in an argument list, is taken for a link of theirs."""


class Hosts:
    """Two ordinary users, and a directory that both may write to; the builder has files that must stay."""

    def __init__(self, place: Path) -> None:
        self.builder = pwd.getpwuid(SOURCE.stat().st_uid)
        self.neighbour = pwd.getpwnam("nobody")
        assert self.builder.pw_uid not in (0, self.neighbour.pw_uid)
        self.place = place
        place.chmod(0o755)
        self.home, self.shared, self.precious = place / "home", place / "shared", place / "precious"
        for each in (self.home, self.home / "run", self.precious):
            each.mkdir(mode=0o700)
            os.chown(each, self.builder.pw_uid, self.builder.pw_gid)
        # What is emptied or written over in a race is seen here.
        self.precious.chmod(0o755)
        self.file = self.precious / "layer"
        self.file.write_text(CONTENT)
        os.chown(self.file, self.builder.pw_uid, self.builder.pw_gid)
        self.shared.mkdir()
        tinyelf.write(place / "program").chmod(0o755)

    def cli(self, *words: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
        """Call the command line as the builder, with TMPDIR in the shared directory."""
        return subprocess.run(
            [sys.executable, "-m", "rootless_scratch", *words],
            env={
                "HOME": str(self.home),
                "XDG_RUNTIME_DIR": str(self.home / "run"),
                "TMPDIR": str(self.shared),
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(SOURCE),
                "PYTHONDONTWRITEBYTECODE": "1",
                **(environment or {}),
            },
            cwd=self.home,
            user=self.builder.pw_uid,
            group=self.builder.pw_gid,
            extra_groups=(),
            capture_output=True,
            timeout=120,
            check=False,
        )

    def race(self) -> subprocess.Popen[bytes]:
        """The neighbour, at work until its stdin is closed; it says how many links it could make."""
        return subprocess.Popen(
            ["/usr/bin/python3", "-c", RACE, str(self.shared), str(self.precious)],
            user=self.neighbour.pw_uid,
            group=self.neighbour.pw_gid,
            extra_groups=(),
            cwd="/",
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def own(self, path: Path, account: pwd.struct_passwd) -> None:
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


@pytest.fixture(params=["0", "1"], ids=["links followed", "links protected"])
def hosts(request: pytest.FixtureRequest) -> Iterator[Hosts]:
    before = SETTING.read_text()
    place = Path(tempfile.mkdtemp(prefix="rsn-", dir="/tmp"))
    try:
        SETTING.write_text(request.param)
        yield Hosts(place)
    finally:
        SETTING.write_text(before)
        shutil.rmtree(place)


@pytest.mark.parametrize("mode", [0o1777, 0o777], ids=["sticky", "not sticky"])
def test_a_racing_neighbour_moves_nothing_of_a_builders_and_loses_nothing(hosts: Hosts, mode: int) -> None:
    hosts.shared.chmod(mode)
    # What is theirs and looks like ours stays theirs.
    theirs = hosts.shared / f"rootless-scratch.{'0' * 32}"
    theirs.mkdir(mode=0o700)
    (theirs / "file").touch()
    for each in (theirs, theirs / "file"):
        hosts.own(each, hosts.neighbour)
    program, archive = str(hosts.place / "program"), str(hosts.home / "archive")
    racing = hosts.race()
    calls: Sequence[Sequence[str]] = (
        ("build", program, "-t", "one"),
        ("build", program, "-t", "two", "-o", f"oci:{hosts.home}/layout"),
        ("check", "one"),
        ("save", "one", "-o", archive),
        ("check", f"docker-archive:{archive}"),
        ("build", program, "-t", "three"),
    )
    done = [hosts.cli(*words) for words in calls]
    links, _ = racing.communicate(timeout=30)
    assert [each.returncode for each in done] == [0] * len(calls), [each.stderr for each in done]
    said = b"TMPDIR is ignored: other users can exchange what lies in" in done[0].stderr
    assert said is not bool(mode & 0o1000)
    assert hosts.file.read_text() == CONTENT
    assert os.listdir(hosts.precious) == ["layer"]
    # Its own links, at paths that were gone by then, stay as they are; each call works in spite of them.
    names = [each for each in hosts.shared.iterdir() if each.is_symlink()]
    assert len(names) <= int(links)
    assert any(
        each.name in (theirs.name, "moved-0") or (each / "file").exists() for each in hosts.shared.iterdir()
    )
    assert [each for each in hosts.shared.iterdir() if each.lstat().st_uid == hosts.builder.pw_uid] == []


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive", "oci"])
def test_a_link_of_a_neighbour_does_not_choose_what_an_output_replaces(hosts: Hosts, transport: str) -> None:
    hosts.shared.chmod(0o1777)
    output = hosts.shared / "image"
    output.symlink_to(hosts.precious if transport == "oci" else hosts.file)
    hosts.own(output, hosts.neighbour)
    program = str(hosts.place / "program")
    done = hosts.cli("build", program, "-o", f"{transport}:{output}")
    assert done.returncode == 1
    assert b"is a symbolic link of another user" in done.stderr
    assert hosts.file.read_text() == CONTENT
    assert os.listdir(hosts.precious) == ["layer"]
    # One's own link is followed, as everywhere.
    own = hosts.shared / "own"
    own.symlink_to(hosts.home / "new")
    hosts.own(own, hosts.builder)
    if transport == "oci":
        (hosts.home / "new").mkdir()
        hosts.own(hosts.home / "new", hosts.builder)
    done = hosts.cli("build", program, "-o", f"{transport}:{own}")
    assert done.returncode == 0, done.stderr
    assert (hosts.home / "new").exists()


def test_a_service_of_podman_listens_nowhere_that_a_neighbour_has_made(hosts: Hosts) -> None:
    """Without a runtime directory the socket lies in /tmp, where anybody may have been first."""
    from rootless_scratch.engine.service.directory import abandoned, private_directory

    hosts.shared.chmod(0o777)
    used = private_directory({"TMPDIR": str(hosts.shared)})
    assert used.path.startswith("/tmp/rootless-scratch-")
    used.leave(lambda: None)
    theirs = hosts.shared / "rootless-scratch-0123456789abcdef"
    theirs.symlink_to(hosts.precious)
    (hosts.precious / "users").touch()
    with pytest.raises(OSError, match=r"directory|others"):
        abandoned(str(theirs))
    assert sorted(os.listdir(hosts.precious)) == ["layer", "users"]


def test_a_neighbour_who_gives_a_directory_such_a_name_has_nothing_of_it_removed(hosts: Hosts) -> None:
    """Where others may rename, a name and an owner prove nothing."""
    hosts.shared.chmod(0o777)
    renamed = Path(private.fresh_path(str(hosts.shared)))
    subprocess.run(["mv", hosts.precious, renamed], check=True)
    renamed.chmod(0o700)
    layout = f"oci:{hosts.home}/layout"
    program = str(hosts.place / "program")
    for words in (
        ("build", program, "-o", layout),
        ("check", layout),
        ("inspect", layout),
        ("build", program, "-t", "x"),
    ):
        assert hosts.cli(*words).returncode == 0
        assert (renamed / "layer").read_text() == CONTENT, words


def test_a_link_of_a_neighbour_is_no_place_for_temporary_files(hosts: Hosts) -> None:
    hosts.shared.chmod(0o1777)
    link = hosts.shared / "link"
    link.symlink_to(hosts.home)
    hosts.own(link, hosts.neighbour)
    done = hosts.cli("build", str(hosts.place / "program"), "-t", "x", environment={"TMPDIR": str(link)})
    assert done.returncode == 0, done.stderr
    # Where the kernel protects links it does not follow this one.
    assert b"TMPDIR is ignored: " in done.stderr
    assert str(link).encode() in done.stderr
