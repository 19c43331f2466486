"""Where COPY takes from: nothing leaves the root, whoever swaps what, and only what is needed is read."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from copied import copied, link, result
from planning import put, refusal

from rootless_scratch.containerfile.copying import CopyRequest, copy_into
from rootless_scratch.containerfile.files import StageFiles, open_entry
from rootless_scratch.containerfile.ignoring import IgnoreFile, ignore_file_of
from rootless_scratch.containerfile.origins import EntriesOrigin, HostOrigin
from rootless_scratch.elf.identity import FileIdentity
from rootless_scratch.errors import ScratchError, SourceError, SpecError
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.rootfs import Directory, File, Symlink, make_rootfs
from rootless_scratch.image.write.layer import write_layer

if TYPE_CHECKING:
    from pathlib import Path

SECRET = b"nobody's business"


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every directory that is listed."""
    seen: list[object] = []
    real = os.scandir

    def scandir(path: Any) -> Any:  # noqa: ANN401 - os.scandir's own
        seen.append(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return seen


def copied_from(origin: HostOrigin | EntriesOrigin, *sources: str, to: str = "/t/") -> StageFiles:
    files = StageFiles()
    with ExitStack() as kept:
        copy_into(files, CopyRequest(sources=sources, destination=to), origin, kept)
    return files


def test_links_are_followed_inside_the_root_alone(tmp_path: Path) -> None:
    put(tmp_path, "outside", SECRET)
    put(tmp_path, "context/inside", b"in")
    put(tmp_path, "context/outside", b"its own")
    for name, target in (
        ("up", "../../../outside"),
        ("absolute", "/inside"),
        ("host", str(tmp_path / "outside")),
        ("root", "/"),
        ("dir/above", "../.."),
    ):
        link(tmp_path / "context", name, target)
    here = tmp_path / "context"
    assert copied("COPY up /t", here)["/t"][4] == b"its own"
    assert copied("COPY absolute /t", here)["/t"][4] == b"in"
    assert copied("COPY dir/above/inside /t", here)["/t"][4] == b"in"
    assert copied("COPY root/root/outside /t", here)["/t"][4] == b"its own"
    assert copied("COPY ../../outside /t", here)["/t"][4] == b"its own"
    refusal(lambda: copied("COPY host /t", here), SourceError)
    assert copied("COPY dir /t", here)["/t/above"][4] == "../.."


def test_a_directory_that_is_swapped_for_a_link_while_it_is_read_gives_no_file_of_it(
    tmp_path: Path,
) -> None:
    put(tmp_path, "outside/f", SECRET)
    for number in range(20):
        put(tmp_path, f"context/d{number}/f", b"in")
    here = tmp_path / "context"
    done = threading.Event()

    def swap() -> None:
        # os.replace() cannot put a link over a directory, so they change their names.
        while not done.is_set():
            for number in range(20):
                directory, aside = here / f"d{number}", tmp_path / f"aside{number}"
                directory.rename(aside)
                directory.symlink_to(tmp_path / "outside")
                directory.unlink()
                aside.rename(directory)

    swapper = threading.Thread(target=swap)
    swapper.start()
    read = refused = 0
    try:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            for source in ("d7", "d3/f", "."):
                try:
                    found = copied(f"COPY {source} /t/", here)
                except ScratchError:
                    refused += 1
                    continue
                read += 1
                contents = {entry[4] for entry in found.values() if entry[0] == "file"}
                assert contents <= {b"in"}
    finally:
        done.set()
        swapper.join()
    assert read
    assert refused


def test_a_file_that_is_swapped_before_the_layer_is_written_gives_an_error(tmp_path: Path) -> None:
    put(tmp_path, "outside", SECRET)
    put(tmp_path, "context/d/f", b"in")
    with HostOrigin(str(tmp_path / "context"), name="the context") as origin:
        files = copied_from(origin, "d")
    file = files.entry("/t/f")
    assert isinstance(file, File)
    (tmp_path / "context/d/f").unlink()
    link(tmp_path / "context", "d/f", "../../outside")
    refusal(lambda: open_entry(file), SourceError)
    with HostFiles() as host, open(tmp_path / "layer", "wb") as layer:
        rootfs = make_rootfs(files.entries())
        refusal(lambda: write_layer(rootfs, layer.fileno(), mtime=0, size=2, files=host), SourceError)
    assert SECRET not in (tmp_path / "layer").read_bytes()


def test_of_a_large_context_only_what_is_named_is_listed(tmp_path: Path, scanned: list[object]) -> None:
    for number in range(300):
        put(tmp_path, f"node_modules/m{number}/index.js")
    put(tmp_path, "bin/app")
    put(tmp_path, "src/a/b.c")
    put(tmp_path, ".dockerignore", b"node_modules\n!bin/keep\n")
    assert set(copied("COPY bin/app /", tmp_path)) == {"/app"}
    assert len(scanned) == 0
    assert set(copied("COPY b*/app /", tmp_path)) == {"/app"}
    assert len(scanned) == 1
    assert "/bin/app" in copied("COPY . /", tmp_path)
    # The context, bin, src and src/a; those that are left out are not entered.
    assert len(scanned) == 1 + 4
    assert set(copied("COPY */app /", tmp_path)) == {"/app"}
    assert len(scanned) == 5 + 1


def test_what_is_left_out_is_entered_where_something_may_return(tmp_path: Path, scanned: list[object]) -> None:
    for number in range(50):
        put(tmp_path, f"out/m{number}/f")
    put(tmp_path, ".dockerignore", b"*\n!out/m7/f\n")
    assert set(copied("COPY . /", tmp_path)) == {"/out", "/out/m7", "/out/m7/f"}
    assert len(scanned) == 3


def test_ten_thousand_files_are_looked_at_in_no_time_and_not_read(tmp_path: Path) -> None:
    for directory in range(100):
        (tmp_path / f"d{directory}").mkdir()
        for number in range(100):
            (tmp_path / f"d{directory}/f{number}").touch()
    times = []
    for _ in range(3):
        begin = time.process_time()
        with HostOrigin(str(tmp_path), name="the context") as origin:
            files = copied_from(origin, ".", to="/srv/")
        assert len(files.entries()) == 10_101
        times.append(time.process_time() - begin)
    assert min(times) < 0.3


def test_ten_thousand_instructions_take_little_each(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"f{number}").touch()
    files = StageFiles()
    begin = time.process_time()
    with ExitStack() as kept, HostOrigin(str(tmp_path), name="the context") as origin:
        for number in range(10_000):
            request = CopyRequest(sources=(f"f{number % 1000}",), destination=f"/srv/x/f{number}")
            copy_into(files, request, origin, kept)
    assert len(files.entries()) == 10_002
    assert time.process_time() - begin < 3


def test_the_mounted_root_of_a_stage_keeps_owners_modes_and_attributes(tmp_path: Path) -> None:
    put(tmp_path, "usr/bin/su", b"x")
    (tmp_path / "usr/bin/su").chmod(0o4755)
    os.setxattr(tmp_path / "usr/bin/su", "user.a", b"b")
    with HostOrigin(str(tmp_path), name="the stage build", is_stage=True) as origin:
        files = copied_from(origin, "/usr/bin/su")
    file = files.entry("/t/su")
    assert isinstance(file, File)
    assert (file.mode, file.uid, file.gid) == (0o4755, os.geteuid(), os.getegid())
    assert file.xattrs == (("user.a", b"b"),)


def test_entries_are_an_origin_as_a_directory_is(tmp_path: Path) -> None:
    source = put(tmp_path, "f", b"in")
    with HostOrigin(str(tmp_path), name="the context") as host:
        found = host.find("/f")
    assert found is not None
    assert isinstance(found.entry, File)
    empty = FileIdentity(device=0, inode=0, size=2, mtime_ns=0, ctime_ns=0)
    entries = (
        File(path="/usr/lib/a", mode=0o640, uid=3, gid=4, source=source, identity=found.entry.identity),
        File(path="/etc/b", mode=0o600, uid=0, gid=0, source=None, identity=empty, content=b"hi"),
        Symlink(path="/lib", target="usr/lib"),
        Symlink(path="/usr/up", target="../../../etc"),
        Directory(path="/usr", mode=0o711, uid=9, gid=9),
    )
    origin = EntriesOrigin(entries, name="the stage a")
    assert [entry.path for entry in copied_from(origin, "lib/*", "usr/up/b").entries()] == ["/t", "/t/a", "/t/b"]
    assert copied_from(origin, "usr").entry("/t/lib") == Directory(path="/t/lib", mode=0o755, uid=0, gid=0)
    assert copied_from(origin, "/", to="/").entry("/usr") == entries[4]
    assert copied_from(origin, "etc/b", to="/x").content("/x") == b"hi"
    for source in ("nope", "etc/b/c", "usr/x*"):
        refusal(lambda source=source: copied_from(origin, source), SourceError)  # type: ignore[misc]


def test_a_context_that_is_not_there_or_cannot_be_read_is_told(tmp_path: Path) -> None:
    put(tmp_path, "f")
    for name in ("nope", "f", "a\0b"):
        refusal(lambda name=name: HostOrigin(str(tmp_path / name), name="the context"), SourceError)  # type: ignore[misc]
    if os.geteuid() == 0:
        return
    put(tmp_path, "context/private")
    put(tmp_path, "context/shut/f")
    (tmp_path / "context/private").chmod(0)
    (tmp_path / "context/shut").chmod(0)
    for text in ("COPY private /t", "COPY shut /t", "COPY shut/f /t", "COPY . /t", "COPY shut/* /t"):
        error = refusal(lambda text=text: copied(text, tmp_path / "context"), SourceError)  # type: ignore[misc]
        assert "ermission" in error.message, text
    put(tmp_path, "context/.dockerignore", b"private\nshut\n")
    assert set(copied("COPY . /t", tmp_path / "context")) == {"/t", "/t/.dockerignore"}
    (tmp_path / "context/shut").chmod(0o700)


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    put(tmp_path, "a/b/c/f")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        result("COPY a/b/c/f /t\nCOPY a /x\nCOPY a/*/c /y", tmp_path)
    HostOrigin(str(tmp_path), name="the context").find("/a/b/c/f")
    assert len(os.listdir("/proc/self/fd")) == before


def test_one_ignore_file_counts(tmp_path: Path) -> None:
    context, file = tmp_path / "context", str(tmp_path / "My.Containerfile")
    context.mkdir()
    assert ignore_file_of(file, str(context)) is None
    for path, compat in (
        (f"{context}/.dockerignore", "docker"),
        (f"{context}/.containerignore", "ours"),
        (f"{file}.containerignore", "ours"),
        (f"{file}.dockerignore", "docker"),
    ):
        with open(path, "w") as opened:
            opened.write(f"# {path}\n{os.path.basename(path)}\n\n")
        expected = IgnoreFile(path=path, patterns=(os.path.basename(path),))
        assert ignore_file_of(file, str(context), compat="ours") == expected
        if compat == "docker":
            assert ignore_file_of(file, str(context), compat="docker") == expected
    assert ignore_file_of(None, str(context)) == IgnoreFile(
        path=f"{context}/.containerignore", patterns=(".containerignore",)
    )
    (context / ".containerignore").write_text("")
    assert ignore_file_of(None, str(context)) == IgnoreFile(path=f"{context}/.containerignore", patterns=())
    (context / ".containerignore").write_text("a[\n")
    assert "line 1" in refusal(lambda: ignore_file_of(None, str(context)), SpecError).message
