"""The job files of docs/ci and the page of hosts: they parse, and the command line takes what they call."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from rootless_scratch.cli.verbs import VERBS, cli

SOURCE = Path(__file__).resolve().parents[2]
JOBS = sorted((SOURCE / "docs/ci").iterdir())
PAGE = SOURCE / "docs/hosts.md"
CALL = re.compile(rf"(?<![\w/.-])(?:rootless-scratch|tool) ((?:{'|'.join(VERBS)})\b[^`\n]*)")
NOT_OURS = {"|", "||", "&&", ";", "&"}
IMAGE = re.compile(r"rootless-scratch:\d+\.\d+\.\d+")


def calls(text: str) -> list[list[str]]:
    """The arguments of each call in a job, up to what a shell does with it."""
    found = []
    for line in CALL.findall(text.replace("\\\n", " ")):
        # In the strings of other languages.
        quoted = line.removesuffix("'") if line.count("'") % 2 else line
        lexer = shlex.shlex(quoted, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words = []
        for word in lexer:
            if word in NOT_OURS or word.startswith((">", "<")):
                break
            words.append(re.sub(r"\$\{?[\w.]+\}?", "x1", word))
        found.append(words)
    return found


def test_calls_are_found_in_what_surrounds_them() -> None:
    assert calls(
        "- rootless-scratch build ./a -t x || true\nsh 'rootless-scratch run a'\n`rootless-scratch doctor`"
    ) == [
        ["build", "./a", "-t", "x"],
        ["run", "a"],
        ["doctor"],
    ]
    assert calls(
        'rootless-scratch build \\\n  "$P" > out; pip install rootless-scratch; a/rootless-scratch run'
    ) == [["build", "x1"]]


@pytest.mark.parametrize("file", [*JOBS, PAGE], ids=lambda path: path.name)
def test_every_call_is_one_that_the_command_line_takes(file: Path) -> None:
    found = calls(file.read_text())
    assert found
    for verb, *words in found:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        command.make_context(verb, words)


@pytest.mark.parametrize("file", JOBS, ids=lambda path: path.name)
def test_every_file_is_told_of_on_the_page_or_in_the_readme(file: Path) -> None:
    pages = PAGE.read_text() + (SOURCE / "README.md").read_text()
    assert f"ci/{file.name})" in pages


@pytest.mark.parametrize("file", JOBS, ids=lambda path: path.name)
def test_the_image_is_that_of_this_version(file: Path) -> None:
    from rootless_scratch import __version__

    assert {*IMAGE.findall(file.read_text())} <= {f"rootless-scratch:{__version__}"}


@pytest.mark.parametrize("file", JOBS, ids=lambda path: path.name)
def test_every_file_can_be_read_by_what_it_is_for(file: Path) -> None:
    text = file.read_text()
    if file.suffix == ".groovy":
        # What the plugin of Kubernetes reads of it.
        text = text.partition("yaml '''")[2].partition("'''")[0]
    if file.suffix != ".sh":
        assert isinstance(yaml.safe_load(text), dict)
        return
    done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
