"""`run` of images that do not start, built elsewhere or against advice: the true cause is named."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from planning import put

import rootless_scratch as rs

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Home

pytestmark = [pytest.mark.podman, pytest.mark.buildah]

LOADER = "/lib64/ld-linux-x86-64.so.2"
SHELL = str(Path("/bin/true").resolve())
"""A dynamic program that every host has."""


def explained(home: Home, *words: str) -> tuple[int, Any, dict[str, Any]]:
    """The exit code, the explanation, and the whole answer of `run --json`."""
    done = home.cli("run", "--json", *words)
    assert b"Traceback" not in done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, answer["explanation"], answer


def built(home: Home, name: str, *words: str) -> str:
    done = home.cli("build", "-q", *words, "--no-check", "-t", name)
    assert done.returncode == 0, done.stderr.decode()
    return name


def by_buildah(home: Home, place: Path, name: str, containerfile: str) -> str:
    (place / "Containerfile").write_text(containerfile)
    home.run(["buildah", "build", "-q", "-t", name, str(place)])
    return name


def test_a_dynamic_program_of_another_builder_lacks_its_loader(shared_home: Home, tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(Path(SHELL).read_bytes())
    (tmp_path / "app").chmod(0o755)
    image = by_buildah(shared_home, tmp_path, "why-dynamic", 'FROM scratch\nCOPY app /app\nENTRYPOINT ["/app"]\n')
    code, finding, answer = explained(shared_home, image)
    assert (code, answer["exit_code"]) == (127, 127)
    assert (finding["rule"], finding["severity"], finding["subject"]) == ("needs-loader", "error", "/app")
    assert LOADER in finding["message"]


def test_a_line_of_shell_of_another_builder_has_no_shell(shared_home: Home, tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(tinyelf.hello())
    (tmp_path / "app").chmod(0o755)
    image = by_buildah(shared_home, tmp_path, "why-shell", "FROM scratch\nCOPY app /app\nCMD /app --now\n")
    code, finding, answer = explained(shared_home, image)
    assert (code, finding["rule"]) == (127, "shell-form")
    assert answer["error"]["kind"] == "command-not-found"
    assert '["/app", "--now"]' in finding["fix"]


def test_a_library_that_is_left_out_is_named(shared_home: Home) -> None:
    loader = str(Path(LOADER).resolve())
    image = built(shared_home, "why-library", f"{SHELL}:/app", "--copy", f"{loader}:{LOADER}:mode=0755")
    code, finding, _ = explained(shared_home, image)
    assert (code, finding["rule"]) == (127, "needs-libraries")
    assert "libc.so.6" in finding["message"]


def test_what_may_not_be_executed_is_said_with_its_mode(shared_home: Home, tmp_path: Path) -> None:
    app = put(tmp_path, "app", tinyelf.hello())
    words = ("--copy", f"{app}:/app:mode=0644", "--entrypoint", '["/app"]')
    code, finding, answer = explained(shared_home, built(shared_home, "why-mode", *words))
    assert (code, finding["rule"]) == (126, "not-executable")
    assert answer["error"]["kind"] == "cannot-invoke"


def test_what_the_user_may_not_execute_is_said(shared_home: Home, tmp_path: Path) -> None:
    app = put(tmp_path, "app", tinyelf.hello())
    words = ("--copy", f"{app}:/app:mode=0700", "--entrypoint", '["/app"]')
    code, finding, _ = explained(shared_home, built(shared_home, "why-owner", *words))
    assert code in (1, 126)
    assert finding["rule"] == "not-executable"


def test_a_mistyped_command_is_said_with_the_one_that_was_meant(shared_home: Home, tmp_path: Path) -> None:
    app = put(tmp_path, "hello", tinyelf.hello())
    image = built(shared_home, "why-typo", app, "--entrypoint", '["/helo"]')
    code, finding, _ = explained(shared_home, image)
    assert (code, finding["rule"]) == (127, "command-missing")
    assert "/hello" in finding["fix"]
    done = shared_home.cli("run", image)
    said = done.stderr.decode()
    assert done.returncode == 127
    assert "[command-missing]" in said
    assert said.count("  fix: ") == 1


def test_a_script_without_its_interpreter_is_said(shared_home: Home, tmp_path: Path) -> None:
    app = put(tmp_path, "hello", tinyelf.hello())
    script = put(tmp_path, "start", b"#!/bin/bash\necho hi\n")
    image = built(shared_home, "why-script", app, f"{script}:/start", "--entrypoint", '["/start"]')
    code, finding, _ = explained(shared_home, image)
    assert code in (1, 127)
    assert finding["rule"] == "script-interpreter-missing"
    assert "/bin/bash" in finding["message"]


def test_a_program_for_another_processor_is_said_with_both(shared_home: Home, tmp_path: Path) -> None:
    machine = "s390x" if os.uname().machine != "s390x" else "aarch64"
    app = put(tmp_path, "app", tinyelf.elf(machine=machine))
    code, finding, _ = explained(shared_home, built(shared_home, "why-processor", app))
    assert (code, finding["rule"]) == (126, "exec-format")
    assert machine in finding["message"]
    assert os.uname().machine in finding["message"]


def test_a_truncated_program_that_crashes_is_said(shared_home: Home, tmp_path: Path) -> None:
    helper = put(tmp_path, "helper", tinyelf.hello())
    whole = tinyelf.elf(data=bytes(9000))
    app = put(tmp_path, "app", whole[:-8000])
    code, finding, _ = explained(shared_home, built(shared_home, "why-truncated", app, helper))
    assert code != 0
    assert finding["rule"] == "truncated"


@pytest.mark.compiler
def test_a_shared_library_that_is_started_crashes_and_that_is_said(shared_home: Home, tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("int x;\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "libx.so", "x.c"], cwd=tmp_path, check=True)
    code, finding, _ = explained(shared_home, built(shared_home, "why-shared", str(tmp_path / "libx.so")))
    assert (code, finding["rule"]) == (139, "shared-library")


@pytest.mark.compiler
def test_a_crash_of_a_sound_program_is_its_own_and_stays_unexplained(shared_home: Home, tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("int main(void) { return *(volatile int *)8; }\n")
    subprocess.run(["gcc", "-static", "-o", "app", "x.c"], cwd=tmp_path, check=True)
    code, finding, _ = explained(shared_home, built(shared_home, "why-crash", str(tmp_path / "app")))
    assert (code, finding) == (139, None)


def test_a_program_that_fails_by_itself_is_not_explained(shared_home: Home, tmp_path: Path) -> None:
    app = put(tmp_path, "app", tinyelf.hello(exit_code=127))
    code, finding, answer = explained(shared_home, built(shared_home, "why-own", app))
    assert (code, finding, answer["stdout"]) == (127, None, "Hello World\n")


def test_a_user_without_a_passwd_is_said_with_the_essential(shared_home: Home, tmp_path: Path) -> None:
    app = put(tmp_path, "app", tinyelf.hello())
    code, finding, _ = explained(shared_home, built(shared_home, "why-user", app, "--user", "app"))
    assert (code, finding["rule"]) == (125, "user-unknown")
    assert "--with nonroot" in finding["fix"]


def test_the_command_that_was_given_is_judged_not_the_images(shared_home: Home, tmp_path: Path) -> None:
    app = put(tmp_path, "app", tinyelf.hello())
    image = built(shared_home, "why-arguments", "--copy", f"{app}:/app", "--cmd", '["/app"]')
    assert explained(shared_home, image)[:2] == (0, None)
    code, finding, _ = explained(shared_home, image, "/ap")
    assert (code, finding["rule"], finding["subject"]) == (127, "command-missing", "/ap")


def test_python_is_told_the_same(shared_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in shared_home.environment.items():
        monkeypatch.setenv(name, value)
    app = put(tmp_path, "hello", tinyelf.hello())
    with pytest.raises(rs.CommandNotFoundError) as caught:
        rs.run(built(shared_home, "why-python", app, "--entrypoint", '["/helo"]'))
    assert caught.value.explanation is not None
    assert caught.value.explanation.rule == "command-missing"
    result = rs.run(built(shared_home, "why-python-dynamic", f"{SHELL}:/app"))
    assert result.explanation is not None
    assert result.explanation.rule == "needs-loader"


@pytest.mark.parametrize(
    ("place", "content", "rule"),
    [
        (LOADER, lambda whole: whole[:100_000], "truncated"),
        (LOADER, lambda _: b"", "loader-unusable"),
        (LOADER, lambda _: b"no loader at all, " * 9, "loader-unusable"),
        (LOADER, lambda _: tinyelf.elf(machine="aarch64", type=tinyelf.DYN), "loader-unusable"),
        ("libc.so.6", lambda whole: whole[:3000], "truncated"),
        ("libc.so.6", lambda whole: whole[: len(whole) // 2], "truncated"),
    ],
    ids=["half a loader", "empty loader", "text", "for arm64", "3000 bytes of libc", "half of libc"],
)
def test_a_loader_or_library_that_is_damaged_is_named(
    shared_home: Home, tmp_path: Path, place: str, content: Callable[[bytes], bytes], rule: str
) -> None:
    loaded = subprocess.check_output(["ldd", SHELL], text=True)
    libc = next(line.split()[2] for line in loaded.splitlines() if "libc.so.6" in line)
    files = {each: Path(each).read_bytes() for each in (LOADER, libc)}
    broken = LOADER if place == LOADER else libc
    files[broken] = content(files[broken])
    copies: list[str] = []
    for at, data in files.items():
        copies += ["--copy", f"{put(tmp_path, at[1:], data)}:{at}:mode=0755"]
    image = built(shared_home, f"why-damaged-{len(files[broken])}", f"{SHELL}:/app", *copies)
    code, finding, _ = explained(shared_home, image)
    assert code != 0
    assert finding["rule"] == rule
    assert broken in finding["message"]
