"""What lies in places that others share: nobody else foresees it, enters it, or decides what is done with it."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tinyelf

from rootless_scratch import private
from rootless_scratch.backends import leavings
from rootless_scratch.errors import BuildError
from rootless_scratch.host.environment import own_state, temporary_directory, tool_environment
from rootless_scratch.image.write import layout
from rootless_scratch.image.write.temporary import PREFIX, Temporary
from rootless_scratch.image.write.temporary import sweep as sweep_files

if TYPE_CHECKING:
    from conftest import Home

NAME = os.path.basename(private.fresh_path("/"))


def leftover(base: Path, name: str = NAME) -> Path:
    """What a call left that was killed: a directory of ours that nobody holds, with something in it."""
    place = base / name
    place.mkdir(mode=0o700)
    (place / "layer").write_text("big")
    (place / "deep" / "er").mkdir(parents=True)
    (place / "deep" / "er").chmod(0o500)
    return place


def test_a_private_directory_is_never_one_that_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir(mode=0o700)
    with pytest.raises(FileExistsError):
        private.make_at(f"{tmp_path}/taken")
    with private.make_private(str(tmp_path)) as made:
        assert stat.S_IMODE(os.stat(made.path).st_mode) == 0o700
        assert os.path.basename(made.path) not in Path("/proc/self/cmdline").read_text()
    assert os.listdir(tmp_path) == ["taken"]


@pytest.mark.slow
def test_directories_are_made_while_others_sweep(tmp_path: Path) -> None:
    sweeping = "import sys; from rootless_scratch import private\nwhile True: private.sweep(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", sweeping, str(tmp_path)]) as other:
        for _ in range(2000):
            with private.make_private(str(tmp_path)) as made:
                assert os.path.isdir(made.path)
        other.kill()


def test_what_a_killed_call_left_is_removed_whatever_lies_beside_it(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o700)
    (precious / "file").write_text("kept")
    shared = tmp_path / "shared"
    shared.mkdir()
    ours = leftover(shared)
    link = Path(private.fresh_path(str(shared)))
    link.symlink_to(precious)
    (ours / "link").symlink_to(precious)
    open_to_others = leftover(shared, os.path.basename(private.fresh_path("/")))
    open_to_others.chmod(0o755)
    other_name = leftover(shared, f"{private.PREFIX}notes")
    file = Path(private.fresh_path(str(shared)))
    file.write_text("no directory")
    private.sweep(str(shared))
    assert not ours.exists()
    assert (precious / "file").read_text() == "kept"
    assert link.is_symlink()
    assert (open_to_others / "layer").exists()
    assert (other_name / "layer").exists()
    assert file.exists()


def test_a_directory_lives_as_long_as_any_program_that_got_it(tmp_path: Path) -> None:
    made = private.make_private(str(tmp_path))
    os.set_inheritable(made.descriptor, True)  # noqa: FBT003 - os takes it so
    tool = subprocess.Popen(["sleep", "60"], close_fds=False)
    # As if this process had been killed: its own lock is gone, the tool's is not.
    os.close(made.descriptor)
    private.sweep(str(tmp_path))
    assert os.path.isdir(made.path)
    tool.kill()
    tool.wait()
    private.sweep(str(tmp_path))
    assert not os.path.exists(made.path)


def test_a_directory_in_which_others_can_exchange_things_is_told_from_others(tmp_path: Path) -> None:
    place = tmp_path / "place" / "below"
    place.mkdir(parents=True)
    for mode, found in ((0o755, None), (0o777, "place"), (0o1777, None), (0o700, None), (0o775, None)):
        place.parent.chmod(mode)
        expected = None if found is None else str(tmp_path / found)
        # A group that has this user's own number is this user's alone.
        if mode == 0o775 and os.getgid() not in (0, os.getuid()):
            expected = str(place.parent)
        assert private.exchangeable(str(place)) == expected, oct(mode)
    assert private.exchangeable("/var/tmp") is None


def test_a_tmpdir_in_which_others_can_exchange_things_is_not_used_and_that_is_said(tmp_path: Path) -> None:
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(0o777)
    environment = tool_environment({"HOME": str(tmp_path), "TMPDIR": str(place)})
    assert temporary_directory(environment.variables) == "/var/tmp"
    (note,) = environment.notes
    assert note == f"TMPDIR is ignored: other users can exchange what lies in {place}. [host-not-writable]"


def test_what_is_noted_in_the_home_directory_is_for_its_user_alone_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = own_state({"HOME": str(tmp_path / "home")}, "builds", "default")
    finally:
        os.umask(before)
    for place in (made, os.path.dirname(made), f"{tmp_path}/home/.local/state", f"{tmp_path}/home/.local"):
        assert stat.S_IMODE(os.stat(place).st_mode) == 0o700, place
    Path(made).chmod(0o777)
    own_state({"HOME": str(tmp_path / "home")}, "builds", "default")
    assert stat.S_IMODE(os.stat(made).st_mode) == 0o700, "what others could enter is closed"
    (tmp_path / "elsewhere").mkdir()
    os.rmdir(made)
    os.symlink(tmp_path / "elsewhere", made)
    with pytest.raises(OSError, match="directory"):
        own_state({"HOME": str(tmp_path / "home")}, "builds", "default")


def test_only_a_file_that_is_provably_a_killed_writers_is_removed_beside_an_output(tmp_path: Path) -> None:
    own = tmp_path / f"{PREFIX}notes.txt"
    own.write_text("a user's file")
    hexadecimal = tmp_path / f"{PREFIX}0123456789abcdef"
    hexadecimal.write_text("another")
    left = tmp_path / "left"
    left.write_text("half an image")
    inode = left.stat().st_ino
    left = left.rename(tmp_path / f"{PREFIX}{inode:x}-{'0' * 16}")
    copied = tmp_path / f"{PREFIX}{inode:x}-{'1' * 16}"
    copied.write_bytes(left.read_bytes())
    linked = tmp_path / "linked"
    linked.write_text("has two names")
    os.link(linked, tmp_path / f"{PREFIX}{linked.stat().st_ino:x}-{'2' * 16}")
    sweep_files(str(tmp_path))
    assert not left.exists()
    assert sorted(os.listdir(tmp_path)) == sorted(
        [own.name, hexadecimal.name, copied.name, linked.name, f"{PREFIX}{linked.stat().st_ino:x}-{'2' * 16}"]
    )


@pytest.mark.parametrize("nameless", [True, False], ids=["without a name", "where no file can be without one"])
def test_a_file_has_its_name_when_it_is_whole_and_replaces_what_had_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    if not nameless:
        monkeypatch.setattr("rootless_scratch.image.write.temporary._open_nameless", lambda _: -1)
    target = tmp_path / "target"
    for content in (b"first", b"second"):
        with Temporary(str(tmp_path)) as file:
            file.write(content)
            assert (PREFIX in "".join(os.listdir(tmp_path))) is not nameless
            # A live one is let be by others.
            sweep_files(str(tmp_path))
            file.rename(str(target))
        assert target.read_bytes() == content
        assert os.listdir(tmp_path) == ["target"]
    with Temporary(str(tmp_path)) as file:
        file.write(b"third")
    assert target.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["target"]


def test_a_layout_whose_lock_somebody_holds_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_LOCK_PATIENCE", 0.05)
    holder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(BuildError, match="held the lock"), layout.locked(str(tmp_path)):
        pass
    os.close(holder)
    with layout.locked(str(tmp_path)):
        pass


def test_nothing_is_swept_where_others_could_have_given_it_its_name(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    left = leftover(shared)
    shared.chmod(0o777)
    private.sweep(str(shared))
    assert (left / "layer").exists(), "it may be any directory of this user's, which another one has renamed"
    shared.chmod(0o1777)
    private.sweep(str(shared))
    assert not left.exists()


def test_what_another_kernel_made_is_not_swept_before_a_day_is_over(tmp_path: Path) -> None:
    left = leftover(tmp_path, f"{private.PREFIX}{'f' * 32}")
    private.sweep(str(tmp_path))
    assert left.exists(), "its lock may not be seen here"
    os.utime(left, (0, 0))
    private.sweep(str(tmp_path))
    assert not left.exists()


def test_a_link_is_as_safe_as_the_directory_that_holds_it(tmp_path: Path) -> None:
    target, shared = tmp_path / "target", tmp_path / "shared"
    target.mkdir()
    shared.mkdir()
    (shared / "link").symlink_to(target)
    (target / "below").mkdir()
    assert private.exchangeable(f"{shared}/link") is None
    assert private.exchangeable(f"{shared}/link/below") is None
    shared.chmod(0o777)
    for path in ("link", "link/below", "link/../target"):
        assert private.exchangeable(f"{shared}/{path}") == str(shared)
    assert private.exchangeable(str(target)) is None
    (tmp_path / "loop").symlink_to("loop")
    assert private.exchangeable(f"{tmp_path}/loop") == f"{tmp_path}/loop"


def test_a_state_directory_may_be_a_link_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "state/rootless-scratch").symlink_to(tmp_path / "real")
    made = own_state({"HOME": str(tmp_path), "XDG_STATE_HOME": f"{tmp_path}/state"}, "builds")
    assert made == f"{tmp_path}/real/builds"


def test_an_output_is_written_where_one_may_write_and_not_look(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(0o300)
    try:
        with Temporary(str(place)) as file:
            file.write(b"content")
            file.rename(f"{place}/out")
        assert (place / "out").read_bytes() == b"content"
    finally:
        place.chmod(0o700)


@pytest.mark.slow
@pytest.mark.parametrize("is_seen", [True, False])
def test_what_serves_a_mount_and_keeps_the_lock_is_waited_for_only_where_a_tool_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_seen: bool
) -> None:
    if not is_seen:
        monkeypatch.setattr(leavings, "_GIVE_UP", 1.5)
    made = private.make_private(str(tmp_path))
    os.set_inheritable(made.descriptor, True)  # noqa: FBT003 - os takes it so
    with subprocess.Popen(["sleep", "60"], close_fds=False) as server:
        os.close(made.descriptor)
        if is_seen:
            held = leavings.take_over(made.path, "rootless-scratch-0123456789abcdef", is_seen=True)
            assert held is not None
            held.remove()
            assert not os.path.exists(made.path)
        else:
            with pytest.raises(BlockingIOError):
                leavings.take_over(made.path, "rootless-scratch-0123456789abcdef", is_seen=False)
        server.kill()


@pytest.mark.buildah
def test_foreign_and_broken_entries_among_the_records_stop_no_build_and_stay(
    fresh_home: Home, tmp_path: Path
) -> None:
    program = str(tinyelf.write(tmp_path / "program"))
    assert fresh_home.cli("build", program, "-t", "x").returncode == 0
    records = fresh_home.path / ".local/state/rootless-scratch/builds/default"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    (records / "rootless-scratch-0000000000000000").mkdir()
    (records / "rootless-scratch-1111111111111111").symlink_to(precious / "file")
    os.mkfifo(records / "rootless-scratch-2222222222222222")
    (records / "notes").write_text("a user's")
    before = set(os.listdir(records))
    # These are left over: the lock of a name, and a record that a kill has torn.
    (records / "name-deadbeef").touch()
    (records / "rootless-scratch-3333333333333333").write_bytes(b"\xfb")
    for name in ("name-deadbeef", "rootless-scratch-3333333333333333"):
        (fresh_home.temporary / name).symlink_to(precious)
    done = fresh_home.cli("build", program, "-t", "y")
    assert done.returncode == 0, done.stderr
    assert set(os.listdir(records)) == before
    assert (precious / "file").read_text() == "kept"


@pytest.mark.buildah
def test_a_tool_that_outlived_its_worker_is_ended_before_what_it_left_is_removed(
    fresh_home: Home, tmp_path: Path
) -> None:
    """Caller and worker are killed while buildah makes the container: the next call leaves nothing of it."""
    program = str(tinyelf.write(tmp_path / "program"))
    real = subprocess.run(["which", "buildah"], capture_output=True, text=True, check=True).stdout.strip()
    tools = tmp_path / "tools"
    tools.mkdir()
    # As a slow host: this buildah takes long to begin, and makes its container when all others are gone.
    slow = (
        f"#!{sys.executable}\nimport os, sys, time\n"
        "if sys.argv[1] == 'from':\n    open(os.environ['STARTED'], 'w').close()\n    time.sleep(1)\n"
        f"os.execv({real!r}, ['buildah', *sys.argv[1:]])\n"
    )
    (tools / "buildah").write_text(slow)
    (tools / "buildah").chmod(0o755)
    started = tmp_path / "started"
    environment = fresh_home.environment | {
        "PATH": f"{tools}:{fresh_home.environment['PATH']}",
        "STARTED": str(started),
    }
    argv = [sys.executable, "-m", "rootless_scratch", "build", program, "-t", "killed"]
    victim = subprocess.Popen(argv, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not started.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    workers = [
        int(each.name)
        for each in Path("/proc").iterdir()
        if each.name.isdigit() and is_worker(each, str(fresh_home.path))
    ]
    assert workers
    for pid in (victim.pid, *workers):
        os.kill(pid, 9)
    victim.wait()
    done = fresh_home.cli("build", program, "-t", "next")
    assert done.returncode == 0, done.stderr
    time.sleep(1.2)
    storage = fresh_home.path / ".local/share/containers/storage"
    # Newer ones keep theirs in volatile-containers.json.
    lists = [each.read_text() for each in storage.glob("*-containers/*containers.json")]
    assert lists
    assert set(lists) == {"[]"}
    assert fresh_home.temporary_files() == []


def is_worker(process: Path, home: str) -> bool:
    """Whether it is the worker of a build in this home."""
    try:
        words = (process / "cmdline").read_text()
    except OSError:
        return False
    return "worker/main.py" in words and home in words


@pytest.mark.buildah
@pytest.mark.podman
def test_whatever_is_called_next_removes_what_a_killed_call_left(fresh_home: Home, tmp_path: Path) -> None:
    program, layout_word = str(tinyelf.write(tmp_path / "program")), f"oci:{tmp_path}/layout"
    assert fresh_home.cli("build", program, "-o", layout_word).returncode == 0
    for words in (
        ("build", program, "-t", "x"),
        ("build", program, "-t", "y", "-o", f"oci:{tmp_path}/other"),
        ("build", program, "-o", f"oci-archive:{tmp_path}/archive"),
        ("check", "x"),
        ("check", layout_word),
        ("inspect", layout_word),
        ("verify", layout_word, program),
        ("save", "x", "-o", f"{tmp_path}/x.tar"),
        ("run", "--network", "none", "x"),
        ("containerfile", program, "-o", str(tmp_path / "context")),
    ):
        # A context is written, and left by a kill, beside its directory.
        left = leftover(tmp_path, f".{NAME}") if words[0] == "containerfile" else leftover(fresh_home.temporary)
        done = fresh_home.cli(*words)
        assert done.returncode == 0, (words, done.stderr)
        assert not left.exists(), words


@pytest.mark.buildah
@pytest.mark.registry
def test_skopeo_spools_in_the_private_directory_of_the_call(fresh_home: Home, tmp_path: Path) -> None:
    """It does not heed TMPDIR, and what it leaves in /var/tmp when it is killed nobody removes."""
    program = str(tinyelf.write(tmp_path / "program"))
    real = subprocess.run(["which", "skopeo"], capture_output=True, text=True, check=True).stdout.strip()
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    (tools / "skopeo").write_text(f'#!/bin/sh\necho "$PWD $*" >> {log}\nexec {real} "$@"\n')
    (tools / "skopeo").chmod(0o755)
    path = {"PATH": f"{tools}:{fresh_home.environment['PATH']}"}
    done = fresh_home.cli("build", program, "-t", "x", "-o", f"oci:{tmp_path}/layout", environment=path)
    assert done.returncode == 0, done.stderr
    (line,) = log.read_text().splitlines()
    assert line.startswith(f"{fresh_home.temporary}/{private.PREFIX}")
    assert " --tmpdir . copy " in line
    assert private.PREFIX not in line.partition(" ")[2]
