"""What a plan reads from the host: links, odd names, great numbers, and what is no file at all."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
import tinyelf
from planning import planned, put, refusal

from rootless_scratch.errors import SourceError
from rootless_scratch.image.rootfs import File, Symlink
from rootless_scratch.image.spec import Copy
from rootless_scratch.image.syntax import parse_copy

if TYPE_CHECKING:
    from pathlib import Path

ODD_NAMES = [
    "a b",
    "a\nb",
    "'a\"b`$c",
    "a:b",
    "-o",
    "--",
    "a\\b",
    "*?[x]",
    b"caf\xe9\xff".decode("utf-8", "surrogateescape"),
    "...",
    "\u202e\u200b",
]


def test_links_in_a_copied_directory_stay_links_and_are_never_followed(tmp_path: Path) -> None:
    put(tmp_path, "secret/key")
    put(tmp_path, "tree/file")
    for name, target in (
        ("absolute", "/etc/passwd"),
        ("upward", "../secret/key"),
        ("directory", "../secret"),
        ("dangling", "nowhere"),
        ("circle", "circle"),
    ):
        (tmp_path / "tree" / name).symlink_to(target)
    entries = planned(copies=(Copy(source=f"{tmp_path}/tree", destination="/t", uid=5),))
    assert entries["/t/absolute"] == Symlink(path="/t/absolute", target="/etc/passwd", uid=5)
    assert len(entries) == 7
    assert [entry.path for entry in entries.values() if isinstance(entry, File)] == ["/t/file"]


def test_a_link_that_is_named_itself_stands_for_what_it_points_to(tmp_path: Path) -> None:
    put(tmp_path, "v1/file", b"content")
    (tmp_path / "file").symlink_to("v1/file")
    (tmp_path / "current").symlink_to("v1")
    entry = planned(copies=(Copy(source=f"{tmp_path}/file", destination="/f"),))["/f"]
    assert isinstance(entry, File)
    assert entry.identity.inode == (tmp_path / "v1/file").stat().st_ino
    entries = planned(copies=(Copy(source=f"{tmp_path}/current", destination="/c"),))
    assert list(entries) == ["/c", "/c/file"]


def test_a_source_above_a_linked_directory_is_the_one_that_the_kernel_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "far/away/x")
    put(tmp_path, "far/hello", tinyelf.hello())
    (tmp_path / "near").mkdir()
    (tmp_path / "near/link").symlink_to("../far/away")
    monkeypatch.chdir(tmp_path / "near")
    for entry in planned("link/../hello", copies=(Copy(source="link/../hello", destination="/b"),)).values():
        assert isinstance(entry, File)
        assert entry.source is not None
        assert os.path.samefile(entry.source, tmp_path / "far/hello")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_names(tmp_path: Path, name: str) -> None:
    source = put(tmp_path, f"tree/{name}", tinyelf.hello())
    for entries in (
        planned(f"{source}:/app", copies=(parse_copy(f"{source}:/dir/{name}"),)),
        planned(copies=(Copy(source=f"{tmp_path}/tree", destination="/dir"),)),
    ):
        entry = entries[f"/dir/{name}"]
        assert isinstance(entry, File)
        assert entry.source == source


def test_a_name_with_a_leading_dash_is_a_path_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "-o", tinyelf.hello())
    monkeypatch.chdir(tmp_path)
    entry = planned("-o")["/-o"]
    assert isinstance(entry, File)
    assert entry.source == f"{tmp_path}/-o"


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    before = time.monotonic()
    for source, cause in (
        (f"{tmp_path}/pipe", "is a pipe"),
        (f"{tmp_path}/socket", "is a socket"),
        ("/dev/null", "is a device"),
        ("/dev/ptmx", "is a device"),
    ):
        copy = Copy(source=source, destination="/x")
        assert cause in refusal(lambda copy=copy: planned(copies=(copy,)), SourceError).message  # type: ignore[misc]
        refusal(lambda source=source: planned(source), SourceError)  # type: ignore[misc]
    tree = Copy(source=str(tmp_path), destination="/x")
    assert f"'{tmp_path}/pipe' is a pipe" in refusal(lambda: planned(copies=(tree,)), SourceError).message
    assert time.monotonic() - before < 2


def test_a_missing_source_is_answered_with_the_name_that_was_meant(tmp_path: Path) -> None:
    conf = put(tmp_path, "app.conf")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    put(tmp_path, "locked").encode()
    (tmp_path / "locked").chmod(0)
    for source, cause, fix in (
        (f"{tmp_path}/app.cnf", "does not exist", f"Did you mean {conf!r}?"),
        (f"{tmp_path}/none/x", "does not exist", "does not exist either"),
        (f"{tmp_path}/dangling", "symbolic link to 'nowhere'", "Correct the link"),
        (f"{tmp_path}/circle", "form a loop", "Correct"),
        (f"{conf}/x", "not a directory", "Check"),
        (f"{tmp_path}/locked", "permission denied", "readable"),
        ("", "does not exist", "Check"),
        ("a\0b", "NUL", "Check"),
        ("\ud800", "characters that no file name can have", "Check"),
        ("x" * 5000, "too long", "Check"),
    ):
        copy = Copy(source=source, destination="/x")
        error = refusal(lambda copy=copy: planned(copies=(copy,)), SourceError)  # type: ignore[misc]
        assert cause in error.message
        assert fix in error.fix


def test_a_directory_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "tree/locked").mkdir(parents=True)
    (tmp_path / "tree/locked").chmod(0)
    copy = Copy(source=f"{tmp_path}/tree", destination="/x")
    assert "tree/locked' cannot be read" in refusal(lambda: planned(copies=(copy,)), SourceError).message


def test_a_relative_place_for_a_program_is_explained(tmp_path: Path) -> None:
    hello = put(tmp_path, "hello", tinyelf.hello())
    error = refusal(lambda: planned(f"{hello}:usr/bin/hello"), SourceError)
    assert f"'{hello}:/usr/bin/hello'" in error.fix


@pytest.mark.slow
def test_ten_thousand_files_are_planned_in_no_time(tmp_path: Path) -> None:
    for folder in range(100):
        (tmp_path / f"tree/{folder}").mkdir(parents=True)
        for number in range(100):
            (tmp_path / f"tree/{folder}/{number}").touch()
    before = time.monotonic()
    entries = planned(copies=(Copy(source=f"{tmp_path}/tree", destination="/data"),))
    assert time.monotonic() - before < 2
    assert len(entries) == 10_000 + 100 + 1


def test_a_directory_may_be_deeper_than_python_calls_nest(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    try:
        assert len(planned(copies=(Copy(source=f"{tmp_path}/d", destination="/d"),))) == 1500
    finally:
        # Neither shutil nor pytest could.
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)
