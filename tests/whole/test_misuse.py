"""Words that cannot be meant, from the command line and from Python: a sentence, a fix, and nothing done."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import tinyelf
from planning import put

import rootless_scratch as rs
from rootless_scratch.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Home


PLAIN: Any = rs
"""The package as a caller meets it who uses no type checker."""


@pytest.mark.parametrize(
    "words",
    [
        ("--user", "-1"),
        ("--port", "x"),
        ("--stop-signal", "FOO"),
        ("--created", "foo"),
        ("--workdir", "rel"),
        ("--mkdir", "rel"),
        ("--entrypoint", "/hello"),
        ("-t", "A B"),
    ],
)
def test_a_malformed_value_is_a_usage_error(shared_home: Home, tmp_path: Path, words: tuple[str, ...]) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    done = shared_home.cli("build", program, "-t", "hello", *words, "--json")
    assert done.returncode == 2, done.stderr
    assert json.loads(done.stdout)["error"]["kind"] == "usage"
    assert b"  fix: " in done.stderr


def test_a_usage_error_of_run_is_json_where_json_was_asked_for_behind_an_options_value(shared_home: Home) -> None:
    done = shared_home.cli("run", "--env", "A=B", "--user", "0", "--json", "--nonsense", "hello")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "usage"
    behind = shared_home.cli("run", "--env", "A=B", "--timeout", "x", "hello", "--json")
    assert (behind.returncode, behind.stdout) == (2, b""), "the option behind the image is the program's"


def test_the_hint_for_words_that_are_no_strings_is_what_was_meant(shared_home: Home, tmp_path: Path) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    done = shared_home.cli("build", program, "-t", "x", "--cmd", '["-n", 1]')
    assert """--cmd '["-n", "1"]'""" in done.stderr.decode()


def test_an_option_behind_a_program_is_refused_with_the_flag_that_takes_it(
    shared_home: Home, tmp_path: Path
) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    done = shared_home.cli("build", f"{program}:/bin/hello:mode=0700", "-t", "x")
    assert done.returncode == 2
    assert f"--copy {program}:/bin/hello:mode=0700" in done.stderr.decode()


def test_a_context_cannot_be_written_into_a_directory_that_is_gone(shared_home: Home, tmp_path: Path) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    script = f'mkdir "$1/gone" && cd "$1/gone" && rmdir "$1/gone" && exec {sys.executable} -m rootless_scratch'
    done = subprocess.run(
        ["sh", "-c", f'{script} containerfile "$2" -o out', "sh", tmp_path, program],
        env=shared_home.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"  fix: " in done.stderr


@pytest.mark.podman
def test_a_caller_that_ignores_the_end_of_children_loses_no_exit_code(shared_home: Home, tmp_path: Path) -> None:
    program = put(tmp_path, "seven", tinyelf.hello(exit_code=7))
    script = """trap '' CHLD
"$1" -m rootless_scratch doctor >/dev/null 2>&1; echo $?
"$1" -m rootless_scratch build "$2" -t seven 2>/dev/null; echo $?
"$1" -m rootless_scratch run seven 2>/dev/null; echo $?
"""
    ignoring = subprocess.run(
        # A shell may ignore the signal of children only for what it starts.
        [sys.executable, "-c", _IGNORING, "sh", "-c", script, "sh", sys.executable, program],
        env=shared_home.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = ignoring.stdout.split()
    assert lines[0] in ("0", "1")
    assert lines[-1] == "7", ignoring.stdout


_IGNORING = (
    "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
)


@pytest.mark.podman
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("UPPER",), 125, "not an image name"),
        (("oci:somewhere",), 125, "There is no "),
        (("--user", "a b", "hello"), 2, "not a user"),
    ],
)
def test_run_says_what_is_wrong_with_a_word_itself(
    shared_home: Home, words: tuple[str, ...], code: int, said: str
) -> None:
    done = shared_home.cli("run", *words)
    assert done.returncode == code
    assert said in done.stderr.decode()
    assert b"doctor" not in done.stderr


@pytest.mark.buildah
def test_a_program_that_is_inspected_is_told_to_be_a_file(shared_home: Home, tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "hello")
    done = shared_home.cli("inspect", str(program))
    assert done.returncode == 1
    assert f"rootless-scratch check {program}" in done.stderr.decode()


@pytest.mark.podman
def test_a_full_stderr_does_not_change_the_exit_code(shared_home: Home, tmp_path: Path) -> None:
    program = put(tmp_path, "seven", tinyelf.hello(exit_code=7))
    assert shared_home.cli("build", program, "-t", "seven-quiet").returncode == 0
    for words, code in (
        (("run", "seven-quiet"), 7),
        (("run", "not-there"), 125),
        (("build", "nowhere", "-t", "x"), 1),
        (("build",), 2),
    ):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "rootless_scratch", *words],
                env=shared_home.environment,
                stdout=subprocess.PIPE,
                stderr=full,
                timeout=120,
                check=False,
            )
        assert done.returncode == code, words


@pytest.mark.buildah
@pytest.mark.parametrize("verb", ["inspect", "check"])
@pytest.mark.parametrize("name", ["hello:", "hel lo", "HELLO"])
def test_what_can_be_no_image_is_told_as_an_image_that_is_not_there(
    shared_home: Home, verb: str, name: str
) -> None:
    done = shared_home.cli(verb, name, "--json")
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "image-not-found"
    assert repr(name) in error["message"]


@pytest.mark.buildah
@pytest.mark.parametrize("verb", ["inspect", "check"])
def test_a_mistyped_image_name_is_answered_with_the_one_that_is_there(
    shared_home: Home, tmp_path: Path, verb: str
) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    assert shared_home.cli("build", program, "-t", "telescope").returncode == 0
    done = shared_home.cli(verb, "telescoop")
    assert b"Did you mean localhost/telescope:latest?" in done.stderr


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda p: PLAIN.build(p, tag="x", ports="80"), "ports=['80']"),
        (lambda p: PLAIN.build(p, tag="x", ports=8080), "ports=[8080]"),
        (lambda p: PLAIN.build(p, tag="x", volumes="/data"), "volumes=['/data']"),
        (lambda p: PLAIN.build(p, tag="x", copy="a:/b"), "copy=['a:/b']"),
        (lambda p: PLAIN.build(p, tag="x", env=["A=B"]), "env={"),
        (lambda p: PLAIN.build(p, tag="x", entrypoint=[None]), "string"),
        (lambda p: PLAIN.build(p, tag="x", user=1.5), "user"),
        (lambda p: PLAIN.build(p, tag="BAD TAG"), "lower-case"),
        (lambda p: PLAIN.build([p], tag="x"), "a program"),
        (lambda _: PLAIN.scratch(tag="BAD TAG"), "lower-case"),
        (lambda _: PLAIN.scratch(tag="x").mkdir("/tmp", mode="1777"), "0o755"),
        (lambda _: PLAIN.run(None), "'hello'"),
        (lambda _: PLAIN.run("x", timeout="10"), "timeout=10"),
        (lambda _: PLAIN.run("x", "--version"), "['--version']"),
        (lambda _: PLAIN.check(None), "'hello'"),
        (lambda _: PLAIN.check("a\0b"), "hello"),
    ],
)
def test_a_value_of_another_type_is_a_usage_error_of_ours(
    tmp_path: Path, call: Callable[[Any], object], named: str
) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    with pytest.raises(rs.UsageError) as caught:
        call(program)
    assert named in caught.value.fix


@pytest.mark.buildah
def test_numbers_and_paths_are_read_where_they_can_be_meant(
    shared_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    for name, value in shared_home.environment.items():
        monkeypatch.setenv(name, value)
    image = PLAIN.build(program, tag="typed", user=0, ports=[8080], env={"LEVEL": 1}, created=0)
    config = shared_home.json("inspect", image.image_id)["config"]["config"]
    assert (config["User"], config["ExposedPorts"], config["Env"]) == ("0", {"8080/tcp": {}}, ["LEVEL=1"])


def test_errors_cross_from_a_process_of_a_pool() -> None:
    with ProcessPoolExecutor(1) as pool, pytest.raises(rs.SourceError) as caught:
        pool.submit(rs.build, "/nowhere/hello", tag="x").result(60)
    assert caught.value.fix
    finding = Finding(rule="r", severity="error", subject="s", message="m.", fix="f.")
    for error in (
        rs.RefusedError([finding]),
        rs.CommandError("m", fix="f", argv=["a"], exit_code=3, stderr="s"),
        rs.UsageError("m", fix="f"),
    ):
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (type(again), vars(again), str(again)) == (type(error), vars(error), str(error))
        assert str(error) == f"{error.message}\n  fix: {error.fix}", "a traceback shows no more than that"


def test_the_end_of_a_child_that_nobody_waits_for_is_an_error_of_ours_at_once() -> None:
    script = (
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "from rootless_scratch import command, errors\n"
        "try: command.ask(['sleep', '0.1'], environment={'PATH': '/usr/bin:/bin'}, timeout=50)\n"
        "except errors.HostError as error: print(error.message)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)
    assert "ignores SIGCHLD" in done.stdout, done.stderr
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-t", "x", "--backend", "foo"), "no backend"),
        (("-o", "foo"), "a location for an image"),
        (("--compress", "lzma", "-o", "oci:x"), "not a compression"),
        (("-t", "x", "--compress", "gzip"), "--compress is for outputs"),
        (("--backend", "buildah", "-o", "oci:x"), "by a name"),
    ],
)
def test_a_dry_run_refuses_what_the_build_would(
    shared_home: Home, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    program = str(tinyelf.write(tmp_path / "hello"))
    for more in ((), ("--dry-run",)):
        done = shared_home.cli("build", program, *words, *more)
        assert done.returncode == 2
        assert said in done.stderr.decode()
