"""Real programs in real images that hold nothing but them and what was bundled: as nobody, without network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import Home

pytestmark = [pytest.mark.buildah, pytest.mark.podman, pytest.mark.compiler]

SOURCES = {
    "plain.c": '#include <stdio.h>\nint main(void) { puts("Hello World"); return 0; }\n',
    "thread.c": (
        "#include <pthread.h>\n#include <stdio.h>\n#include <stdlib.h>\n"
        "static void *work(void *x) { pthread_exit(x); }\n"
        "int main(void) { pthread_t t; if (pthread_create(&t, NULL, work, NULL)) abort(); pthread_join(t, NULL);\n"
        '  puts("Hello World"); return 0; }\n'
    ),
    "throw.cc": (
        "#include <iostream>\n#include <stdexcept>\n#include <string>\n#include <thread>\n"
        "int main() { std::string said; std::thread t([&] {\n"
        '  try { throw std::runtime_error("Hello World"); }\n'
        "  catch (const std::exception &e) { said = e.what(); } });\n"
        "  t.join(); std::cout << said << std::endl; }\n"
    ),
}


class Case(NamedTuple):
    """A program of the host, or a compiler's command; its arguments; what it writes; what else the image needs."""

    program: str | Sequence[str]
    arguments: Sequence[str]
    output: bytes
    more: Sequence[str] = ()


CASES = {
    "bash": Case("/bin/bash", ["-c", "echo Hello $((6 * 7))"], b"Hello 42\n"),
    "dash": Case("/bin/dash", ["-c", "echo Hello World"], b"Hello World\n"),
    "curl": Case("/usr/bin/curl", ["--version"], b"curl "),
    "git": Case("/usr/bin/git", ["--version"], b"git version "),
    "sqlite3": Case("/usr/bin/sqlite3", [":memory:", "select 6 * 7"], b"42\n"),
    "c": Case(["gcc", "plain.c"], [], b"Hello World\n"),
    "threads": Case(["gcc", "-pthread", "thread.c"], [], b"Hello World\n"),
    "c++": Case(["g++", "-pthread", "throw.cc"], [], b"Hello World\n"),
    "musl": Case(["musl-gcc", "plain.c"], [], b"Hello World\n"),
}


def make(case: Case, path: Path) -> str:
    if isinstance(case.program, str):
        return case.program
    for name, text in SOURCES.items():
        (path / name).write_text(text)
    subprocess.run([*case.program, "-o", "app"], cwd=path, check=True, capture_output=True, timeout=300)
    return str(path / "app")


@pytest.mark.parametrize("name", CASES)
def test_a_program_of_this_host_runs_from_an_image_of_its_own(
    shared_home: Home, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    image = f"bundled-{name.replace('+', 'x')}"
    program = make(case, tmp_path)
    built = shared_home.json("build", f"{program}:/app", "-t", image, "--bundle-libraries", *case.more)
    # What it will miss later is another matter: needs-tmp and the like.
    rules = {finding["rule"] for finding in built["findings"] if finding["severity"] != "info"}
    assert {rule for rule in rules if not rule.startswith(("needs-", "opens-gconv"))} == set()
    checked = shared_home.json("check", image)
    assert checked["verdict"] == "starts"
    done = shared_home.cli("run", "--network", "none", image, *case.arguments)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith(case.output)


def test_python_runs_with_its_standard_library_beside_it(shared_home: Home) -> None:
    """What headers tell is not all: an interpreter reads files of its own, which --copy brings."""
    python = next(path for path in sorted(Path("/usr/bin").glob("python3.*")) if path.name[8:].isdecimal())
    library = f"/usr/lib/{python.name}"
    words = [f"{python}:{python}", "--copy", f"{library}:{library}", "--bundle-libraries", "-t", "bundled-python"]
    shared_home.json("build", *words)
    program = "import ssl, sqlite3, ctypes; print(ssl.OPENSSL_VERSION.split()[0], sqlite3.sqlite_version_info[0])"
    done = shared_home.cli("run", "--network", "none", "bundled-python", "-c", program)
    assert (done.returncode, done.stdout) == (0, b"OpenSSL 3\n"), done.stderr.decode()


def test_a_script_gets_its_interpreter_as_another_program_and_is_told_so(
    shared_home: Home, tmp_path: Path
) -> None:
    script = tmp_path / "start"
    awk = "/usr/bin/mawk"
    script.write_text(f'#!{awk} -f\nBEGIN {{ print "Hello", ARGV[1] }}\n')
    refused = shared_home.cli("build", str(script), "-t", "script", "--bundle-libraries")
    assert refused.returncode == 1
    assert f"Name the interpreter as another program, {awk}:{awk}".encode() in refused.stderr
    shared_home.json("build", str(script), f"{awk}:{awk}", "-t", "script", "--bundle-libraries")
    assert shared_home.cli("run", "script", "World").stdout == b"Hello World\n"


def test_a_script_of_the_shell_is_told_of_the_recipe_that_brings_it(shared_home: Home, tmp_path: Path) -> None:
    script = tmp_path / "start"
    script.write_text("#!/bin/dash\necho Hello $1\n")
    words = ["build", str(script), "-t", "shell-script", "--bundle-libraries"]
    refused = shared_home.cli(*words)
    assert (refused.returncode, b"--with shell" in refused.stderr) == (1, True)
    shared_home.json(*words, "--with", "shell")
    assert shared_home.cli("run", "shell-script", "World").stdout == b"Hello World\n"


class Broken(NamedTuple):
    """What is done to the files of a sound image, and the rule that must speak."""

    rule: str
    leave_out: str = ""
    move: tuple[str, str] = ("", "")
    foreign: str = ""
    private: str = ""


BROKEN = {
    "no loader": Broken("needs-loader", leave_out="ld-"),
    "no C library": Broken("needs-libraries", leave_out="libc.so.6"),
    "no library of a library": Broken("needs-libraries", leave_out="libgcc_s.so.1"),
    "library elsewhere": Broken("needs-libraries", move=("libm.so.6", "/elsewhere/libm.so.6")),
    "library for another processor": Broken("needs-libraries", foreign="libm.so.6"),
    "library of root alone": Broken("not-readable", private="libm.so.6"),
    "loader for another processor": Broken("loader-unusable", foreign="ld-"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_verdict_on_a_broken_image_is_fails_and_it_does_fail(
    shared_home: Home, tmp_path: Path, name: str
) -> None:
    """Each image is made by hand, of what a sound plan holds, and with --no-check."""
    case = BROKEN[name]
    program = make(CASES["c++"], tmp_path)
    plan = shared_home.json("build", f"{program}:/app", "--bundle-libraries", "--dry-run")["plan"]
    words = [f"{program}:/app"]
    for number, entry in enumerate(plan["entries"]):
        base = os.path.basename(entry["path"])
        if entry["type"] == "symlink":
            words += ["--symlink", f"{entry['target']}:{entry['path']}"]
        if entry["type"] != "file" or entry["path"] == "/app":
            continue
        source, path = entry["source"], entry["path"]
        if case.leave_out and base.startswith(case.leave_out):
            continue
        if case.move[0] == base:
            path = case.move[1]
        if case.foreign and base.startswith(case.foreign):
            source = str(tmp_path / f"foreign-{number}")
            shutil.copy(entry["source"], source)
            with open(source, "r+b") as file:
                file.seek(18)
                file.write(b"\xb7")  # e_machine: aarch64
        mode = ":mode=0600" if case.private == base else ""
        words += ["--copy", f"{source}:{path}{mode}"]
    image = f"broken-{name.replace(' ', '-').lower()}"
    done = shared_home.cli("build", *words, "-t", image, "--no-check")
    assert done.returncode == 0, done.stderr.decode()
    refused = shared_home.cli("build", *words, "-t", f"{image}-2")
    assert f"[{case.rule}]".encode() in refused.stderr
    checked = shared_home.cli("check", image, "--json")
    assert checked.returncode == 1
    assert b'"verdict": "fails"' in checked.stdout
    assert f'"rule": "{case.rule}"'.encode() in checked.stdout
    assert shared_home.cli("run", image).returncode != 0


def test_from_python_the_same_is_one_word(shared_home: Home, tmp_path: Path) -> None:
    program = tmp_path / "make.py"
    program.write_text(
        "import rootless_scratch as rs\n"
        "image = rs.build('/bin/dash', tag='py-one', bundle_libraries=True)\n"
        "with rs.scratch(tag='py-two', bundle_libraries=True) as root:\n"
        "    root.add('/bin/dash')\n"
        "assert image.image_id == root.image.image_id\n"
        "assert rs.check('/bin/dash').verdict == 'fails'\n"
        "assert rs.check('/bin/dash', bundle_libraries=True).verdict == 'starts'\n"
        "print(rs.run(image, ['-c', 'echo Hello']).stdout)\n"
    )
    assert shared_home.run([sys.executable, str(program)]).stdout == b"b'Hello\\n'\n"


def test_the_equal_containerfile_gives_the_same_files(shared_home: Home, tmp_path: Path) -> None:
    words = ["/usr/bin/git", "--bundle-libraries", "-t", "bundled-file"]
    shared_home.json("build", *words)
    ours = shared_home.json("inspect", "bundled-file")["files"]
    context = tmp_path / "context"
    shared_home.cli("containerfile", *words, "-o", str(context))
    shared_home.run(["buildah", "build", "--timestamp", "0", "-t", "bundled-other", str(context)])
    theirs = shared_home.json("inspect", "bundled-other")["files"]
    assert ours == theirs
    assert len(ours) > 5
