"""`watch` builds again what has changed, once it is written, and nothing else."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import time
from typing import TYPE_CHECKING

import pytest
from conftest import SOURCE
from layouts import read_layout
from tinyelf import hello
from watchers import watching

import rootless_scratch as rs

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with a program, as a compiler leaves it."""
    place = tmp_path / "project"
    place.mkdir()
    save(place / "hello", b"one\n")
    return place


def save(path: Path, text: bytes) -> None:
    """Write a program in place."""
    path.write_bytes(hello(text))
    path.chmod(0o755)


def renamed(path: Path, text: bytes) -> None:
    """Write it as editors and linkers do: beside its place, and then over it."""
    save(path.with_name("hello.tmp"), text)
    path.with_name("hello.tmp").rename(path)


def remade(path: Path, text: bytes) -> None:
    """Make its directory anew, as `rm -rf build && make` does."""
    shutil.rmtree(path.parent)
    time.sleep(0.2)
    path.parent.mkdir()
    time.sleep(0.2)
    save(path, text)


def moved(path: Path, text: bytes) -> None:
    """Have another directory take the place of its own."""
    other = path.parent.with_name("other")
    other.mkdir()
    save(other / path.name, text)
    path.parent.rename(path.parent.with_name("before"))
    other.rename(path.parent)


def image_of(home: Home, *words: str) -> str:
    """The ID of the image that `build` makes of it now."""
    return str(home.json("build", *words, "-o", "oci:once")["image_id"])


@pytest.mark.parametrize("way", [save, renamed, remade, moved])
@pytest.mark.parametrize("options", [(), ("--poll", "0.1")], ids=["told", "polled"])
def test_a_program_that_is_saved_is_built_again_however_it_is_saved(
    shared_home: Home, project: Path, way: object, options: tuple[str, ...]
) -> None:
    assert callable(way)
    with watching(shared_home, str(project / "hello"), "-o", f"oci:{project}.oci", *options) as watcher:
        first = watcher.out()
        watcher.err("watching 1 file")
        way(project / "hello", b"two\n")
        second = watcher.out()
        assert first != second == image_of(shared_home, str(project / "hello"))
        # And that is still watched.
        save(project / "hello", b"three\n")
        assert watcher.out() == image_of(shared_home, str(project / "hello"))
        assert watcher.end() == 130
    written = read_layout(project.with_name("project.oci")).files["/hello"]
    assert written.content == hashlib.sha256(hello(b"three\n")).hexdigest()


def test_what_comes_to_the_same_image_is_not_told_of(shared_home: Home, project: Path) -> None:
    with watching(shared_home, str(project / "hello"), "-o", f"oci:{project}.oci") as watcher:
        watcher.out()
        watcher.err("watching")
        (project / "hello").touch()
        save(project / "hello", b"one\n")
        (project / "beside").touch()
        assert watcher.is_silent(1)
        save(project / "hello", b"two\n")
        watcher.out()


def test_what_is_still_being_written_is_waited_for(shared_home: Home, project: Path) -> None:
    with watching(shared_home, str(project / "hello"), "-o", f"oci:{project}.oci") as watcher:
        watcher.out()
        watcher.err("watching")
        content = hello(b"two\n")
        with (project / "hello").open("wb", buffering=0) as file:
            for at in range(0, len(content), 64):
                file.write(content[at : at + 64])
                time.sleep(0.1)
            assert watcher.is_silent(0.5)
        assert watcher.out() == image_of(shared_home, str(project / "hello"))
        assert not any("failed" in line for line in watcher.seen)


def test_a_program_that_is_broken_is_told_of_in_one_sentence_and_mended(shared_home: Home, project: Path) -> None:
    with watching(shared_home, str(project / "hello"), "-o", f"oci:{project}.oci") as watcher:
        first = watcher.out()
        watcher.err("watching")
        (project / "hello").write_bytes(b"\x7fELF")
        watcher.err("hello changed: failed")
        assert "cannot be read as an ELF program" in watcher.err("rootless-scratch:")
        (project / "hello").unlink()
        assert "does not exist" in watcher.err("rootless-scratch:")
        save(project / "hello", b"one\n")
        assert watcher.out() == first


def test_what_a_copied_directory_holds_is_watched_but_for_what_it_leaves_out(
    shared_home: Home, project: Path
) -> None:
    site = project / "site"
    (site / "deep/er").mkdir(parents=True)
    (site / ".dockerignore").write_text("*.log\n.git\nout\n")
    (site / ".git").mkdir()
    words = (str(project / "hello"), "--copy", f"{site}:/site", "--exclude", "*.tmp")
    with watching(shared_home, *words, "-o", f"oci:{site}/out") as watcher:
        watcher.out()
        watcher.err("watching")
        (site / "deep/er/page").write_text("page")
        assert watcher.out() == image_of(shared_home, *words)
        (site / "new").mkdir()
        watcher.out()
        (site / "new/page").write_text("page")
        watcher.out()
        (site / "a.log").write_text("line")
        (site / ".git/index").write_text("index")
        (site / "page.tmp").write_text("page")
        assert watcher.is_silent(1)
        (site / ".dockerignore").write_text(".git\nout\n.dockerignore\n")
        assert watcher.out() == image_of(shared_home, *words)
        shutil.rmtree(site / "new")
        assert watcher.out() == image_of(shared_home, *words)


def test_many_files_at_once_come_to_one_image_of_all(shared_home: Home, project: Path) -> None:
    site = project / "site"
    site.mkdir()
    words = (str(project / "hello"), "--copy", f"{site}:/site")
    with watching(shared_home, *words, "-o", f"oci:{project}.oci") as watcher:
        watcher.out()
        watcher.err("watching")
        for number in range(2000):
            (site / f"{number}").write_text(f"{number}")
        wanted = image_of(shared_home, *words)
        while watcher.out() != wanted:
            pass
        assert watcher.is_silent(1)


def test_a_link_is_followed_to_what_it_leads_to_now(shared_home: Home, project: Path) -> None:
    for name in ("v1", "v2"):
        (project / name).mkdir()
        save(project / name / "hello", name.encode())
    (project / "current").symlink_to("v1")
    words = (str(project / "current/hello"),)
    with watching(shared_home, *words, "-o", f"oci:{project}.oci") as watcher:
        first = watcher.out()
        watcher.err("watching")
        (project / "next").symlink_to("v2")
        (project / "next").rename(project / "current")
        second = watcher.out()
        assert first != second
        save(project / "v2/hello", b"v3")
        assert watcher.out() == image_of(shared_home, *words)


def test_a_file_of_options_is_read_again_and_says_its_faults(shared_home: Home, project: Path) -> None:
    spec = project / "scratch.toml"
    spec.write_text('programs = ["hello"]\n')
    with watching(shared_home, "--spec", str(spec), "-o", f"oci:{project}.oci") as watcher:
        first = watcher.out()
        watcher.err("watching 2 files")
        spec.write_text('programs = ["hello"]\nuser = ')
        watcher.err("scratch.toml:2:8: error:")
        spec.write_text('programs = ["hello"]\nuser = "7"\n')
        assert watcher.out() != first
        save(project / "more", b"more\n")
        spec.write_text('programs = ["hello", "more"]\n')
        watcher.out()
        save(project / "more", b"other\n")
        assert watcher.out() == image_of(shared_home, "--spec", str(spec))


def test_an_sbom_below_what_is_copied_is_no_reason_to_build_again(shared_home: Home, project: Path) -> None:
    spec = project / "scratch.toml"
    spec.write_text('programs = ["hello"]\ncopy = [".:/srv"]\nsbom = "spdx:parts.json"\n')
    with watching(shared_home, "--spec", str(spec), "-o", f"oci:{project}.oci") as watcher:
        first = watcher.out()
        watcher.err("watching")
        assert watcher.is_silent(1)
        save(project / "hello", b"two\n")
        assert watcher.out() != first
        assert watcher.is_silent(1)
    assert (project / "parts.json").is_file()


def test_a_containerfile_and_what_it_copies_are_watched(shared_home: Home, project: Path) -> None:
    file = project / "Containerfile"
    file.write_text('FROM scratch\nARG NAME=hello\nCOPY $NAME static* /\nENTRYPOINT ["/hello"]\n')
    (project / "static").mkdir()
    (project / ".containerignore").write_text("*.log\n")
    words = ("-f", str(file), str(project))
    with watching(shared_home, *words, "-o", f"oci:{project}.oci") as watcher:
        watcher.out()
        watcher.err("watching")
        (project / "static/page").write_text("page")
        watcher.out()
        (project / "a.log").write_text("line")
        assert watcher.is_silent(0.5)
        save(project / "hello", b"two\n")
        watcher.out()
        file.write_text("FROM scratch\nCOPY missing /\n")
        watcher.err("Containerfile changed: failed")
        file.write_text('FROM scratch\nCOPY hello /\nENTRYPOINT ["/hello"]\n')
        assert watcher.out() == image_of(shared_home, *words)


def test_with_json_each_build_is_one_line(shared_home: Home, project: Path) -> None:
    with watching(shared_home, str(project / "hello"), "-o", f"oci:{project}.oci", "--json") as watcher:
        first = json.loads(watcher.out())
        assert (first["schema"], first["changed"], first["restarted"]) == (1, [], False)
        time.sleep(0.5)
        (project / "hello").write_bytes(b"\x7fELF")
        second = json.loads(watcher.out())
        assert second["error"]["kind"] == "elf"
        assert second["changed"] == [str(project / "hello")]
        save(project / "hello", b"two\n")
        assert json.loads(watcher.out())["image_id"] != first["image_id"]
        assert watcher.end(signal.SIGTERM) == 128 + signal.SIGTERM


def test_python_iterates_over_what_comes_of_each_change(
    python_home: Home, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    with rs.watch(project / "hello", output=f"oci:{project}.oci") as watching:
        found = iter(watching)
        first = next(found)
        assert first.image is not None
        assert (first.changed, first.container) == ((), None)
        save(project / "hello", b"two\n")
        second = next(found)
        assert second.image is not None
        assert second.image.image_id == image_of(python_home, str(project / "hello")) != first.image.image_id
        assert second.changed == (str(project / "hello"),)
    with pytest.raises(rs.SourceError):
        rs.build("missing", output="oci:out")
    with rs.watch(file=project / "none", output="oci:out", poll=1) as watching:
        assert isinstance(next(iter(watching)).error, rs.SourceError)


def test_without_watchfiles_one_sentence_says_how_to_get_it_and_looking_needs_none(
    shared_home: Home, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without/watchfiles.py").write_text("raise ImportError\n")
    environment = {"PYTHONPATH": f"{tmp_path}/without:{SOURCE}"}
    words = ("watch", str(project / "hello"), "-o", f"oci:{project}.oci")
    done = shared_home.cli(*words, environment=environment)
    assert done.returncode == 1
    assert b"pip install 'rootless-scratch[watch]'" in done.stderr
    with watching(shared_home, *words[1:], "--poll", "0.1", environment=environment) as watcher:
        watcher.out()
        save(project / "hello", b"two\n")
        watcher.out()


@pytest.mark.buildah
def test_a_limit_of_the_kernel_is_told_with_its_repair(shared_home: Home, project: Path) -> None:
    for limit, repair in (
        ("max_inotify_watches", b"sysctl fs.inotify.max_user_watches="),
        ("max_inotify_instances", b"sysctl fs.inotify.max_user_instances="),
    ):
        script = f'echo 0 > /proc/sys/user/{limit}; exec python3 -m rootless_scratch watch "$@"'
        words = ["unshare", "-Ur", "sh", "-c", script, "sh", str(project / "hello"), "-o", f"oci:{project}.oci"]
        done = shared_home.run(words, check=False)
        assert done.returncode == 1
        assert repair in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("hello",), "the image needs a name"),
        (("-", "-t", "hello"), "stdin cannot be watched"),
        (("hello", "-t", "hello", "--", "argument"), "behind `--run --`"),
        (("hello", "-t", "hello", "--run", "-d"), "--detach is not for a container that is restarted"),
        (("hello", "-t", "hello", "--run", "--nonsense"), "There is no --nonsense"),
        (("hello", "-t", "hello", "--run", "--json"), "Write --json before `--run`"),
        (("hello", "-t", "hello", "--run", "--poll=1"), "Write --poll before `--run`"),
        (("hello", "-o", "docker-archive:-"), "stdout"),
        (("hello", "-t", "hello", "--poll", "0"), "0 is not a number of seconds"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    shared_home: Home, project: Path, words: tuple[str, ...], sentence: str
) -> None:
    done = shared_home.cli("watch", *words, cwd=project)
    assert done.returncode == 2
    assert sentence in done.stderr.decode()
