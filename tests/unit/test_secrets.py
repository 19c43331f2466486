"""What nobody else may read: values of variables in argument lists, and passwords in what is said."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import tinyelf

from rootless_scratch.errors import CommandError, HostError, redacted

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home

SECRET = "hunter2-in-the-open"  # noqa: S105 - of nothing


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("tcp://user:PASS@host:1", "tcp://user:***@host:1"),
        ("is 'tcp://user:PASS@host', and", "is 'tcp://user:***@host', and"),
        ("http://:PASS@proxy:3128/ failed", "http://:***@proxy:3128/ failed"),
        ("tcp://u:PA@SS@host", "tcp://u:***@host"),
        ("tcp://u:PA/SS@host", "tcp://u:***@host"),
        ("ssh://user@host:22/run/s", "ssh://user@host:22/run/s"),
        ("docker://host:5000/a/b@sha256:00", "docker://host:5000/a/b@sha256:00"),
        ("a@b and unix:///run/s", "a@b and unix:///run/s"),
    ],
)
def test_a_url_is_said_without_its_password(said: str, shown: str) -> None:
    assert redacted(said) == shown
    assert HostError(said, fix=said, detail=said).args == (shown,)
    error = CommandError("failed", fix="", argv=["tool", said], stderr=said)
    assert error.argv[1] == error.stderr == error.detail == shown


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("run", "--url", f"tcp://user:{SECRET}@host:99", "image"),
        ("run", "--url", f"ssh://user:{SECRET}@host", "image"),
        ("debug", "--url", f"tcp://user:{SECRET}@host/x", "container"),
        ("push", "oci:there", f"docker://user:{SECRET}@registry.example.com/a/b"),
        ("push", "oci:there", f"docker://user:{SECRET}@registry.example.com"),
        ("build", "/bin/true", "-o", f"docker://user:{SECRET}@host"),
        ("doctor",),
    ],
)
def test_no_password_of_an_address_is_ever_shown(tmp_path: Path, fresh_home: Home, words: tuple[str, ...]) -> None:
    named = {"CONTAINER_HOST": f"tcp://user:{SECRET}@host:99"} if words == ("doctor",) else {}
    for more in ((), ("--json",), ("-v",)):
        done = fresh_home.cli(words[0], *more, *words[1:], cwd=tmp_path, environment=named)
        assert done.returncode in (1, 2, 125), done.stderr
        assert SECRET.encode() not in done.stdout + done.stderr


@pytest.mark.buildah
def test_values_of_variables_are_in_no_argument_list(fresh_home: Home, tmp_path: Path) -> None:
    real, tools, log = shutil.which("buildah"), tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    (tools / "buildah").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {log}\nexec {real} "$@"\n')
    (tools / "buildah").chmod(0o755)
    values = {
        "TOKEN": SECRET,
        "PATH": f"/bin:/{SECRET}",
        "HOME": f"/{SECRET}",
        "TMPDIR": f"/{SECRET}",
        "LD_PRELOAD": f"/{SECRET}.so",
        "BUILDAH_FORMAT": f"docker{SECRET}",
        "ROOTLESS_SCRATCH_VALUE_0": f"$TOKEN ${{TOKEN}} {SECRET}",
        "LINES": f"one\n{SECRET}\n",
        "EMPTY": "",
    }
    words = [word for name, value in values.items() for word in ("--env", f"{name}={value}")]
    program = str(tinyelf.write(tmp_path / "program"))
    path = f"{tools}:{fresh_home.environment['PATH']}"
    done = fresh_home.cli("build", program, "-t", "x", *words, environment={"PATH": path})
    assert done.returncode == 0, done.stderr
    said = log.read_text()
    assert "config" in said.split()
    assert SECRET not in said
    found = fresh_home.json("inspect", "x")["config"]["config"]["Env"]
    assert found == [f"{name}={value}" for name, value in values.items()]
