"""The arguments of `run` are read without click as click reads them, or left to it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest
from clicked import read_by_click

from rootless_scratch.cli.lean_arguments import Plain
from rootless_scratch.cli.lean_run import plain_run
from rootless_scratch.cli.run import command
from rootless_scratch.engine.request.request import Request
from rootless_scratch.errors import UsageError
from rootless_scratch.image.kinds import options_set

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = (
    "hello",
    "hello one --two -v -- three",
    "hello -- three",
    "-- hello --json",
    "-q --network none hello",
    "--network=none hello -q",
    "--net none --net host hello",
    "-it hello sh -c 'echo hi'",
    "-itq hello",
    "-e A=b -e C=d --env E=f --env=G=h=i hello",
    "-e -v hello",
    "--env -v hello",
    "--env= hello",
    "--user '' hello",
    '-u 0:0 -w /tmp --entrypoint \'["/a", "b"]\' hello',
    "--timeout 1.5 --cpus 2 --pids-limit 7 --stop-timeout 0 hello",
    "--timeout=1e1 hello",
    "-v /a:/b -v ./c:/d:ro hello",
    "-qv /a:/b hello",
    "-v hello",
    "-V -V hello",
    "--json -q hello",
    "--pull hello",
    "--pull always hello",
    "--rm=true --read-only=true --init=false hello",
    "--read-only=false hello",
    "-p 8080 --publish 127.0.0.1:80:80 hello",
    "--keep-service 10s --strict hello",
    "--keep-service=0 hello",
    "- hello",
    "'' hello",
    "--name=a --label x=y -l z= hello",
    "--tmpfs /a --mount type=tmpfs,dst=/b hello",
)
LEFT_TO_CLICK = (
    "",
    "-q",
    "--help",
    "-h hello",
    "--nothing hello",
    "-x hello",
    "-qx hello",
    "--network",
    "--network none",
    "-e",
    "-eA=b hello",
    "-ie A=b hello",
    "--quiet=yes hello",
    "--json=1 hello",
    "--init=maybe hello",
    "--rm=false hello",
    "--timeout soon hello",
    "--pids-limit 1.5 hello",
    "--tls-verify false hello",
    "--",
)


def by_click(words: list[str]) -> Plain:
    values, shown = read_by_click("run", command, words)
    return Plain(others=(values.pop("image"), *values.pop("arguments")), values=values, show=shown)


@pytest.mark.parametrize("typed", PLAIN)
def test_what_is_plain_is_read_as_click_reads_it(typed: str) -> None:
    words = shlex.split(typed)
    plain, whole = plain_run(words), by_click(words)
    assert plain is not None
    assert plain.others == whole.others
    assert vars(plain.show) == vars(whole.show)
    assert taken(plain) == taken(whole)


def taken(read: Plain) -> Request | str:
    """What is asked for by these, or why nothing is."""
    try:
        options = options_set(Request.options.values(), read.values)
        return Request(image=read.others[0]).with_options(options, "A run")
    except UsageError as error:
        return error.message


@pytest.mark.parametrize("typed", LEFT_TO_CLICK)
def test_what_is_not_plain_is_left_to_click(typed: str) -> None:
    assert plain_run(shlex.split(typed)) is None


@pytest.mark.parametrize("option", Request.options.values(), ids=lambda option: option.name)
def test_every_option_is_read_alike(option: Any) -> None:  # noqa: ANN401 - a row
    for flag in option.flags:
        words = [flag, *([] if option.metavar is None else ["2"]), "hello"]
        plain = plain_run(words)
        try:
            whole = by_click(words)
        except click.ClickException:
            assert plain is None
            continue
        if plain is not None:
            set_by_click = {name: value for name, value in whole.values.items() if value not in (None, (), False)}
            assert plain.values == set_by_click


def test_a_run_that_podman_is_asked_for_loads_neither_click_nor_msgspec(tmp_path: Path) -> None:
    script = (
        "import json, sys; from rootless_scratch.cli.main import main\n"
        "import atexit, os; leave = os._exit\n"
        "os._exit = lambda code: (print(json.dumps(sorted(sys.modules))), sys.stdout.flush(), leave(code))\n"
        "import rootless_scratch.verbs.run as verb\n"
        "verb.run_image = lambda *_, **__: __import__('rootless_scratch').RunResult(exit_code=3)\n"
        "main(['run', '--url', 'unix:///nowhere', '-q', '--network', 'none', '-e', 'A=b', 'hello'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 3, done.stderr
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"click", "msgspec", "typing", "datetime", "threading", "subprocess", "difflib"}


def test_a_switch_that_cannot_be_turned_off_is_refused_with_the_option_to_use(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rootless_scratch", "run", "--url", "unix:///nowhere", "--rm=false", "hello"],
        capture_output=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2, done.stderr.decode()
    assert done.stderr.startswith(b"rootless-scratch: --rm=false keeps the container")
    assert done.stderr.rstrip().endswith(b"fix: Write --keep.")
