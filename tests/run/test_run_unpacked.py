"""`run --unpacked`: the program of an image without a container, by the loader and libraries of the image."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import tinyelf

import rootless_scratch as rs
from rootless_scratch.errors import CannotInvokeError, CommandNotFoundError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.compiler

SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **words) {
    char place[4096];
    const char *value = getenv("A");
    if (count > 1 && !strcmp(words[1], "wait")) { puts("waiting"); fflush(stdout); pause(); }
    if (count > 1 && !strcmp(words[1], "tree")) {
        if (!fork()) { setsid(); if (!fork()) pause(); pause(); }
        puts("waiting"); fflush(stdout); pause();
    }
    if (count > 1 && !strcmp(words[1], "read")) { int c; while ((c = getchar()) != EOF) putchar(c); return 0; }
    if (count > 1 && !strcmp(words[1], "daemon")) {
        puts("started"); fflush(stdout);
        if (!fork()) { setsid(); sleep(20); }
        return 0;
    }
    if (count > 1 && !strcmp(words[1], "leave")) { if (!fork()) { sleep(60); } return 0; }
    printf("%s %s %s\\n", words[0], value ? value : "-", getcwd(place, sizeof place));
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(place, sizeof place, maps)) if (strstr(place, "libc.so")) { fputs(place, stdout); break; }
    return 7;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program with a loader and libraries."""
    place = tmp_path_factory.mktemp("program")
    (place / "hello.c").write_text(SOURCE)
    subprocess.run(["gcc", "-o", place / "hello", place / "hello.c"], check=True)
    return place / "hello"


@pytest.fixture(scope="module")
def layout(program: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its image."""
    layout = f"oci:{tmp_path_factory.mktemp('image')}/hello"
    rs.build(
        f"{program}:/opt/hello",
        output=[layout],
        bundle_libraries=True,
        env={"A": "image"},
        workdir="/data",
        mkdir=["/data"],
    )
    return layout


def left_over() -> set[str]:
    """What of ours lies in the directory for temporary files."""
    base = os.environ.get("TMPDIR") or "/var/tmp"
    return {name for name in os.listdir(base) if name.startswith("rootless-scratch.")}


def begun(layout: str, how: str = "wait") -> subprocess.Popen[bytes]:
    """A program that waits, alone or with others that it has started."""
    argv = [sys.executable, "-m", "rootless_scratch", "run", "--unpacked", layout, how]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.readline() == b"waiting\n"
    return process


def test_the_program_has_the_loader_libraries_environment_and_directory_of_its_image(layout: str) -> None:
    result = rs.run(layout, unpacked=True)
    assert result.exit_code == 7
    first, libc = result.stdout.decode().splitlines()
    name, value, directory = first.split()
    assert (name, value) == ("/opt/hello", "image")
    assert directory.endswith("/root/data")
    assert libc.split()[-1].startswith(directory.removesuffix("/data"))
    assert "isolates" in result.notes[0]
    assert not os.path.exists(directory.removesuffix("/root/data"))


def test_options_that_need_no_container_have_their_effect(layout: str) -> None:
    result = rs.run(layout, unpacked=True, env={"A": "mine"}, workdir="/opt", entrypoint=["/opt/hello"])
    assert result.stdout.split()[1] == b"mine"
    assert b"/root/opt\n" in result.stdout
    assert rs.run(layout, ["read"], input=b"some bytes", unpacked=True).stdout == b"some bytes"
    assert rs.run(layout, ["read"], unpacked=True).stdout == b""


def test_a_program_file_and_an_archive_are_started_too(program: Path, layout: str, tmp_path: Path) -> None:
    assert rs.run(program, unpacked=True).exit_code == 7
    rs.save(layout, f"docker-archive:{tmp_path}/hello.tar")
    assert rs.run(f"docker-archive:{tmp_path}/hello.tar", unpacked=True).exit_code == 7


def test_time_that_runs_out_ends_it_and_what_it_leaves_behind_ends_with_it(layout: str) -> None:
    result = rs.run(layout, ["wait"], unpacked=True, timeout=0.5)
    assert (result.exit_code, result.timed_out, result.stdout) == (124, True, b"waiting\n")
    began = time.monotonic()
    assert rs.run(layout, ["leave"], unpacked=True).exit_code == 0
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_reaches_the_program_and_its_exit_code_tells(layout: str, number: int) -> None:
    with begun(layout) as process:
        process.send_signal(number)
        assert process.wait(30) == 128 + number


@pytest.mark.parametrize("how", ["wait", "tree"])
def test_who_is_killed_leaves_no_program_running_and_the_next_call_removes_its_files(
    layout: str, how: str
) -> None:
    before = left_over()
    with begun(layout, how) as process:
        process.kill()
        assert process.stdout is not None
        # It ends where all programs have ended, which have it open, those in sessions of their own too.
        assert process.stdout.read() == b""
    assert len(left_over() - before) == 1
    assert rs.run(layout, ["read"], unpacked=True).exit_code == 0
    assert left_over() <= before


def test_a_caller_that_was_killed_before_the_program_starts_has_it_not_started(tmp_path: Path) -> None:
    wanted = {"path": "/bin/echo", "argv": ["echo", "started"], "env": [], "directory": "/", "caller": os.getpid()}
    starter = os.path.join(os.path.dirname(rs.__file__), "verbs/bare_start.py")
    argv = [sys.executable, "-I", "-S", starter, str(tmp_path / "start")]
    for caller, outcome in ((os.getpid(), (0, b"started\n")), (os.getppid(), (128 + signal.SIGKILL, b""))):
        (tmp_path / "start").write_text(json.dumps(wanted | {"caller": caller}))
        done = subprocess.run(argv, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == outcome, done.stderr


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"memory": "64m"}, "--memory promises"),
        ({"network": "none"}, "--network promises"),
        ({"read_only": True}, "--read-only promises"),
        ({"user": "65532"}, "--user promises"),
        ({"cap_drop": ["ALL"]}, "--cap-drop promises"),
        ({"strict": True}, "--strict promises"),
        ({"detach": True}, "--detach is about a container"),
        ({"volumes": ["/a:/b"]}, "--volume is about a container"),
        ({"publish": ["80"]}, "--publish is about a container"),
        ({"url": "unix:///a"}, "--url is about a container"),
        ({"keep_service": "10s"}, "--keep-service is about a container"),
    ],
)
def test_what_only_a_container_can_keep_is_refused(layout: str, options: dict[str, object], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        rs.run(layout, unpacked=True, **options)  # type: ignore[arg-type]


def test_without_a_name_there_is_no_image_to_unpack() -> None:
    with pytest.raises(rs.UsageError, match="No image was named"):
        rs.run("", unpacked=True)


def test_nothing_of_the_host_stands_in_for_what_the_image_lacks(program: Path, tmp_path: Path) -> None:
    bare = f"oci:{tmp_path}/bare"
    rs.build(program, output=[bare], check=False)
    with pytest.raises(CommandNotFoundError, match="loader"):
        rs.run(bare, unpacked=True)
    with pytest.raises(CommandNotFoundError, match="/bin/sh is not in the image"):
        rs.run(bare, unpacked=True, entrypoint=["/bin/sh"])
    loader = next(
        path for path in ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1") if os.path.exists(path)
    )
    rs.build(program, output=[f"{bare}2"], check=False, copy=[f"{os.path.realpath(loader)}:{loader}"])
    with pytest.raises(CommandNotFoundError, match="libc"):
        rs.run(f"{bare}2", unpacked=True)


def test_what_cannot_be_executed_is_told_as_podman_tells_it(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    image = f"oci:{tmp_path}/image"
    other = tinyelf.write(tmp_path / "hello")
    rs.build(other, output=[image], copy=[f"{plain}:/plain:mode=0644", f"{plain}:/text:mode=0755"])
    for name in ("/plain", "/text"):
        with pytest.raises(CannotInvokeError):
            rs.run(image, unpacked=True, entrypoint=[name])
    with pytest.raises(CannotInvokeError, match="working directory"):
        rs.run(image, unpacked=True, workdir="/nowhere")


def test_a_script_is_started_by_the_interpreter_of_its_image(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/busybox sh\necho $1 from ${0##*/}\n")
    image = f"oci:{tmp_path}/image"
    busybox = f"{shutil.which('busybox')}:/bin/busybox"
    rs.build(busybox, output=[image], copy=[f"{script}:/script:mode=0755"], bundle_libraries=True)
    result = rs.run(image, ["hello"], unpacked=True, entrypoint=["/script"])
    assert result.stdout == b"hello from script\n"


def test_a_daemon_of_the_program_does_not_hold_up_its_result(layout: str) -> None:
    begun_at = time.monotonic()
    result = rs.run(layout, ["daemon"], unpacked=True, timeout=60)
    assert (result.exit_code, result.stdout, result.timed_out) == (0, b"started\n", False)
    # It lives for 20 seconds, in a session of its own, with the output open.
    assert time.monotonic() - begun_at < 15
