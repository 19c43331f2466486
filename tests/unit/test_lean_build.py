"""The arguments of a plain `build` are read without click as click reads them, or left to it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import click
import pytest
import tinyelf
from clicked import read_by_click

from rootless_scratch.cli.build import command
from rootless_scratch.cli.lean_arguments import Plain
from rootless_scratch.cli.lean_build import plain_build
from rootless_scratch.cli.options import access_from
from rootless_scratch.errors import UsageError
from rootless_scratch.image.kinds import options_set
from rootless_scratch.image.spec import Spec, spec_of
from rootless_scratch.image.write.settled import FILE_SYSTEMS, file_system
from rootless_scratch.ship.access import Access
from rootless_scratch.verbs.options import OF_VERB

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

    from rootless_scratch.image.kinds import Option

PLAIN = (
    "hello -t hello",
    "-t hello hello",
    "-q hello -t hello --backend direct",
    "hello --tag=a --tag b -t c:1",
    "hello -t -q",
    "hello -o oci:out",
    "hello --output=oci:out:1 -o docker-archive:-",
    "a b:/b c:/d/ -t x --bundle-libraries",
    "-qv a -t x -V --json",
    "-t x -- -a --json",
    "-t x a -- b --",
    "a '' -t x",
    "a -t x -e A=b --env C= --env=D=e=f -l x=y --annotation k=v",
    "a -t x -u 0:0 -w /tmp --port 80 -p 53/udp --volume /v --stop-signal TERM",
    "a -t x -u '' --user 7",
    'a -t x --entrypoint \'["/a", "b"]\' --cmd [1]',
    "a -t x --copy b:/c --copy=d:/e:mode=keep --exclude '*.o' --mkdir /d:mode=700 --symlink a:/b",
    "a -t x --with tzdata,tmp --with auto --include-library libx.so --bundle-package p --sysroot /s",
    "a -t x --created now --created 7",
    "a -o docker://host/x:1 --compress zstd:3 --backend buildah",
    "a -t x --no-check",
    "a -t x --backend nothing",
    "a -t NOT-a-name",
    "a -t ''",
    "a -t x --platform linux/arm64=b --platform linux/amd64=c",
    "a -t x -e nothing",
    "--authfile f a -t x",
)
LEFT_TO_CLICK = (
    "",
    "a",
    "-t x",
    "-t x --copy a:/b",
    "--help",
    "a -t x -h",
    "a -t",
    "a -tx",
    "a -qt x",
    "a -t x --nothing",
    "a -t x --tags=b",
    "a -t x --bundle",
    "a -t x --bundle-libraries=yes",
    "a -t x --json=1",
    "a -t x --check",
    "- -t x",
    "-:/a -t x",
    "/dev/stdin:/a -t x",
    "a -t x -f Containerfile",
    "--file=Containerfile -t x .",
    "a -t x --spec s.toml",
    "a -t x --image b",
    "a -t x --set a=b",
    "a -t x --dry-run",
    "a -t x --report sarif",
    "a -t x --fix",
    "a -t x -y",
    "a -t x --target b",
    "a -t x --tls-verify false",
)

UNUSED = {
    *("click", "textwrap", "difflib", "threading", "inspect", "datetime", "subprocess", "logging"),
    *("_hashlib", "ctypes", "msgspec.inspect", "rootless_scratch.cli.build", "rootless_scratch.cli.options"),
}
"""Modules that no plain build of a small program needs."""

SETTLED = 3.2
"""Seconds after which a file is known by its status."""


def by_click(words: list[str]) -> Plain:
    values, shown = read_by_click("build", command, words)
    return Plain(others=values["programs"], values=values, show=shown)


@pytest.mark.parametrize("typed", PLAIN)
def test_what_is_plain_is_read_as_click_reads_it(typed: str) -> None:
    words = shlex.split(typed)
    plain, whole = plain_build(words), by_click(words)
    assert plain is not None
    assert plain.others == whole.others
    assert vars(plain.show) == vars(whole.show)
    assert asked(plain) == asked(whole)


def asked(read: Plain) -> object:
    """What is asked for by these, or why nothing is."""
    values = read.values
    ways = (values.get("output", ()), values.get("backend"), values.get("compress"), values.get("check", True))
    try:
        image = spec_of(options_set(Spec.options.values(), values))
    except UsageError as error:
        return error.message
    return image, ways, vars(access_from(values)), vars(Access(**options_set(Access.options.values(), values)))


@pytest.mark.parametrize("typed", LEFT_TO_CLICK)
def test_what_is_not_plain_is_left_to_click(typed: str) -> None:
    assert plain_build(shlex.split(typed)) is None


@pytest.mark.parametrize("option", [*Spec.options.values(), *OF_VERB["build"]], ids=lambda option: option.name)
def test_every_option_is_read_alike(option: Option) -> None:
    for flag in option.flags:
        words = ["a", "-o", "oci:b", flag, *([] if option.metavar is None else ["2"])]
        plain = plain_build(words)
        try:
            whole = by_click(words)
        except click.ClickException:
            assert plain is None
            continue
        if plain is not None:
            others = (None, (), False) if option.name != "check" else (None, ())
            set_by_click = {name: value for name, value in whole.values.items() if value not in others}
            assert {"check": True, **plain.values} | plain.values == {"check": True} | {
                name: value for name, value in set_by_click.items() if name == "check" or name in plain.values
            }
            assert set_by_click.keys() - {"check"} <= plain.values.keys() | {
                name for name, value in whole.values.items() if value is False
            }


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "rootless_scratch", "build", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.mark.parametrize(
    "typed",
    [
        "nowhere -o oci:out",
        "nowhere -o oci:out --json",
        "a -o nothing",
        "a -o oci:out --backend other",
        "a -o oci:out -e nothing",
        "a -o oci:out -e A=1 -e A",
        "text -o oci:out",
        "text -o oci:out --json",
        "text -o oci:out -v",
        "a -o oci:out --compress zip",
        "a --backend buildah -o oci:out",
    ],
)
def test_what_is_refused_is_refused_in_the_same_words(typed: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program\n")
    words = shlex.split(typed)
    assert plain_build(words) is not None
    # A short option with its value written to it is for click.
    at = words.index("-o")
    left = [*words[:at], f"-o{words[at + 1]}", *words[at + 2 :]]
    assert plain_build(left) is None
    plain, whole = run(*words, cwd=tmp_path), run(*left, cwd=tmp_path)
    assert (plain.returncode, plain.stdout, plain.stderr) == (whole.returncode, whole.stdout, whole.stderr)
    assert plain.returncode != 0


def loaded_by(*arguments: str, cwd: Path) -> set[str]:
    """The modules that a call of ours has loaded at its end."""
    script = (
        "import json, os, sys; from rootless_scratch.cli.main import main\n"
        "leave = os._exit\n"
        "def end(code):\n"
        "    print(json.dumps([code, *sorted(sys.modules)]))\n"
        "    sys.stdout.flush()\n"
        "    leave(code)\n"
        "os._exit = end\n"
        f"main({list(arguments)!r})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=cwd, check=True)
    code, *modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr.decode()
    return set(modules)


def test_a_plain_build_loads_neither_click_nor_what_it_brings(tmp_path: Path) -> None:
    program = tinyelf.write(tmp_path / "program")
    found = loaded_by("build", str(program), "-o", "oci:out", cwd=tmp_path)
    assert not found & UNUSED


@pytest.mark.buildah
@pytest.mark.slow
@pytest.mark.parametrize("way", [(), ("--backend", "direct")], ids=["buildah", "direct"])
def test_what_storage_has_is_found_without_what_would_make_it(python_home: Home, way: tuple[str, ...]) -> None:
    program = tinyelf.write(python_home.path / "program")
    time.sleep(SETTLED)
    words = ("build", str(program), "-t", "x", *way)
    for _ in range(2):
        loaded_by(*words, cwd=python_home.path)
    made_by = {"rootless_scratch.backends.direct", "rootless_scratch.ship.registry", "rootless_scratch.verbs.ship"}
    found = loaded_by(*words, cwd=python_home.path)
    with program.open("rb") as file:
        is_known = file_system(file.fileno()) in FILE_SYSTEMS
    assert not found & (UNUSED | made_by) or not is_known
