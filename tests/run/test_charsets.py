"""iconv(3) and locales of real programs, static and not: what is said of each is what it then does."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

pytestmark = [pytest.mark.buildah, pytest.mark.podman, pytest.mark.compiler]

SOURCE = r"""
#include <iconv.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    char *in = "\xa4", text[8] = "", *out = text;
    size_t left = 1, room = sizeof text - 1;
    iconv_t to = iconv_open("UTF-8", argv[1]);
    if (to == (iconv_t) -1) return perror("iconv_open"), 1;
    iconv(to, &in, &left, &out, &room);
    printf("%s %s\n", text, setlocale(LC_ALL, "") ? "locale" : "no locale");
    return 0;
}
"""


def compiled(path: Path, *command: str) -> str:
    (path / "convert.c").write_text(SOURCE)
    subprocess.run(
        [*command, "-o", "convert", "convert.c"], cwd=path, check=True, capture_output=True, timeout=300
    )
    return str(path / "convert")


def rules(answer: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {found["rule"]: found["fix"] for found in answer["findings"] if found["severity"] == "warning"}


@pytest.mark.parametrize(
    ("words", "charset"), [(["gconv=ISO-8859-15"], "ISO-8859-15"), (["auto"], "ISO-8859-15"), (["auto"], "UTF-16")]
)
def test_a_dynamic_program_converts_with_the_modules_that_were_brought(
    tools: Home, tmp_path: Path, words: list[str], charset: str
) -> None:
    program = compiled(tmp_path, "gcc")
    assert "`--with gconv`" in rules(tools.json("check", program, "--bundle-libraries"))["opens-gconv"]
    tools.cli("build", program, "-t", "charsets", "--bundle-libraries", "--with", *words)
    assert "opens-gconv" not in rules(tools.json("check", "charsets"))
    assert tools.cli("run", "charsets", charset).returncode == 0
    others = tools.cli("run", "charsets", "ISO-8859-7").returncode
    assert others == (0 if words == ["auto"] else 1), "values take the modules of those character sets alone"


def test_a_character_set_that_was_not_brought_is_explained(tools: Home, tmp_path: Path) -> None:
    program = compiled(tmp_path, "gcc")
    tools.cli("build", program, "-t", "charsets", "--bundle-libraries", "--with", "gconv=UTF-16")
    failed = json.loads(tools.cli("run", "--json", "charsets", "ISO-8859-7").stdout)
    assert failed["exit_code"] == 1
    assert failed["explanation"]["rule"] == "opens-gconv"


def test_a_static_program_of_glibc_is_told_that_no_module_helps(tools: Home, tmp_path: Path) -> None:
    program = compiled(tmp_path, "gcc", "-static")
    found = rules(tools.json("check", program))["opens-gconv"]
    assert "musl" in found
    assert "--with" not in found
    built = tools.json("build", program, "-t", "charsets-static", "--with", "auto", "--env", "LANG=C.UTF-8")
    assert "opens-gconv" in rules(built), "`auto` brings nothing that does not help"
    assert tools.cli("run", "charsets-static", "ISO-8859-15").returncode == 1
    assert tools.cli("run", "charsets-static", "UCS-2").stdout.strip().endswith(b"locale")
    assert b"no locale" not in tools.cli("run", "charsets-static", "UCS-2").stdout


def test_a_static_program_of_musl_needs_no_files(tools: Home, tmp_path: Path) -> None:
    program = compiled(tmp_path, "musl-gcc", "-static")
    words = ("--env", "LANG=C.UTF-8")
    assert rules(tools.json("build", program, "-t", "charsets-musl", *words)) == {}
    assert tools.cli("run", "charsets-musl", "ISO-8859-15").stdout == "€ locale\n".encode()
