"""The start of the command line: click imported without what it has for others, with nothing changed by it."""

from __future__ import annotations

import inspect
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from rootless_scratch.cli.lean import dedented
from rootless_scratch.cli.verbs import VERBS, cli


def python(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout


def test_click_is_imported_without_what_no_verb_uses_and_others_get_the_modules_themselves() -> None:
    script = (
        "import sys; from rootless_scratch.cli.lean import import_click; import_click(); import click; "
        "print(sorted({'inspect', 'uuid', 'datetime', 'gettext', 'ast'} & sys.modules.keys())); "
        "import inspect, uuid, datetime, gettext; "
        "print(inspect.signature(print) is not None, uuid.UUID(int=1).int, datetime.datetime(2020, 1, 2).year, "
        "gettext.gettext('a'), click.core.inspect.currentframe() is not None)"
    )
    assert python(script).splitlines() == ["[]", "True 1 2020 a True"]


def test_msgspec_is_imported_without_types_that_no_record_has_and_others_get_the_modules_themselves() -> None:
    script = (
        "import sys; from rootless_scratch.cli.lean import import_msgspec; import_msgspec(); import msgspec; "
        "print(sorted({'uuid', 'decimal', 'platform', 'typing_extensions'} & sys.modules.keys())); "
        "import uuid, decimal, msgspec.inspect; from rootless_scratch.elf.facts import ElfFacts; "
        "print(uuid.UUID(int=1).int, decimal.Decimal('1.5'), msgspec.json.decode(b'[1.5, 2]'), "
        "len(msgspec.inspect.type_info(ElfFacts).fields) > 5)"
    )
    assert python(script).splitlines() == ["[]", "1 1.5 [1.5, 2] True"]


def test_a_module_that_is_there_already_is_not_stood_in_for() -> None:
    script = (
        "import sys, inspect; from rootless_scratch.cli.lean import import_click; import_click(); import click; "
        "print(click.core.inspect is inspect is sys.modules['inspect'])"
    )
    assert python(script) == "True\n"


def test_what_a_newer_click_may_import_comes_from_the_module_itself() -> None:
    script = (
        "import sys; from rootless_scratch.cli import lean; stand_in = lean._StandIn('inspect', {}); "
        "sys.modules['inspect'] = stand_in; from inspect import signature; import inspect; "
        "print(signature is inspect.signature, inspect is not stand_in)"
    )
    assert python(script) == "True True\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n ",
        "One line.",
        "  One line.  ",
        "First.\n\n    Second,\n      deeper.\n    ",
        "\n\n  a\n\tb\n c\n\n",
        *(
            inspect.getdoc(str) or "",
            inspect.__doc__ or "",
            click.Option.__doc__ or "",
            click.Context.__doc__ or "",
        ),
    ],
)
def test_texts_are_dedented_as_inspect_does_it(text: str) -> None:
    assert dedented(text) == inspect.cleandoc(text)


def test_no_option_has_a_type_that_is_stood_in_for() -> None:
    for verb in VERBS:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        for parameter in command.params:
            assert not isinstance(parameter.type, (click.DateTime, type(click.UUID))), parameter.name


def test_the_version_is_told_without_click_as_click_tells_it() -> None:
    argv = [sys.executable, "-X", "importtime", "-m", "rootless_scratch", "--version"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    assert done.stdout == CliRunner().invoke(cli, ["--version"]).output
    assert "click" not in done.stderr


@pytest.mark.parametrize(
    ("columns", "widest"), [("60", 58), ("90", 88), ("300", 98), ("10", 50), ("x", 78), ("", 78)]
)
def test_help_is_as_wide_as_the_terminal_within_bounds(columns: str, widest: int) -> None:
    argv = [sys.executable, "-m", "rootless_scratch", "build", "--help"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env={"COLUMNS": columns})
    lines = done.stdout.splitlines()
    assert widest - 12 < max(map(len, lines[3:])) <= widest
