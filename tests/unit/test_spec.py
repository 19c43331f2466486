"""What the words of the command line say: read into a Spec without a look at the host."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless_scratch.errors import UsageError
from rootless_scratch.image.spec import Copy, NewDirectory, NewSymlink, Spec
from rootless_scratch.image.syntax import (
    parse_copy,
    parse_directory,
    parse_exec_form,
    parse_pair,
    parse_program,
    parse_symlink,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NOT_UTF8 = b"caf\xe9 \xff".decode("utf-8", "surrogateescape")
NAMES = st.text(st.characters(exclude_characters="\0:/", codec="utf-8"), min_size=1)
"""What may stand between the slashes and colons of a word: spaces, quotes, newlines, dashes, any script."""


def refusal(call: Callable[[], object]) -> UsageError:
    """The error that `call` ends with: a cause and a fix, each a line that any terminal shows."""
    with pytest.raises(UsageError) as caught:
        call()
    for sentence in (caught.value.message, caught.value.fix):
        assert sentence
        assert sentence.isprintable()
    return caught.value


def test_a_program_is_a_file_and_perhaps_its_place_in_the_image() -> None:
    for word, source, destination in (
        ("./hello", "./hello", None),
        ("./hello:/usr/bin/hello", "./hello", "/usr/bin/hello"),
        ("./hello:/usr/bin/", "./hello", "/usr/bin/"),
        ("./hello:/", "./hello", "/"),
        ("a:b", "a:b", None),
        ("a:b:/c:d", "a:b", "/c:d"),
        ("/x:/y:/z", "/x:/y", "/z"),
        ("-o", "-o", None),
        (f"{NOT_UTF8}:/{NOT_UTF8}", NOT_UTF8, f"/{NOT_UTF8}"),
    ):
        assert parse_program(word) == Copy(source=source, destination=destination)


@given(source=NAMES, destination=NAMES)
def test_any_name_is_a_source_and_a_destination(source: str, destination: str) -> None:
    assert parse_program(f"{source}:/{destination}") == Copy(source=source, destination=f"/{destination}")


@given(source=NAMES, destination=NAMES)
def test_options_end_a_copy_whatever_the_names_before_them_look_like(source: str, destination: str) -> None:
    wanted = Copy(source=source, destination=f"/{destination}", mode=0o600, uid=1)
    assert parse_copy(f"{source}:/{destination}:mode=600,uid=1") == wanted


def test_a_copy_may_say_mode_owner_and_capabilities() -> None:
    for word, wanted in (
        ("conf:/etc/app.conf", Copy(source="conf", destination="/etc/app.conf")),
        ("conf:/etc/", Copy(source="conf", destination="/etc/")),
        ("x:/x:mode=0755", Copy(source="x", destination="/x", mode=0o755)),
        ("x:/x:mode=4755,uid=0,gid=5", Copy(source="x", destination="/x", mode=0o4755, gid=5)),
        ("x:/x:gid=4294967294", Copy(source="x", destination="/x", gid=4294967294)),
        ("x:/x:cap=cap_net_raw+ep", Copy(source="x", destination="/x", capabilities="cap_net_raw+ep")),
        (
            "x:/x:uid=7,cap=cap_net_raw,cap_kill=ep,mode=700",
            Copy(source="x", destination="/x", mode=0o700, uid=7, capabilities="cap_net_raw,cap_kill=ep"),
        ),
        (
            "x:/x:cap=CAP_NET_RAW,CAP_KILL+ep",
            Copy(source="x", destination="/x", capabilities="CAP_NET_RAW,CAP_KILL+ep"),
        ),
        ("a b\n'\":/-x", Copy(source="a b\n'\"", destination="/-x")),
        ("x:/a:b=c:uid=1", Copy(source="x", destination="/a:b=c", uid=1)),
    ):
        assert parse_copy(word) == wanted


def test_a_directory_and_a_link_are_read_alike() -> None:
    assert parse_directory("/spool:mode=1777") == NewDirectory(path="/spool", mode=0o1777)
    assert parse_directory("/data:uid=65532,gid=65532") == NewDirectory(path="/data", uid=65532, gid=65532)
    assert parse_directory("/a:b") == NewDirectory(path="/a:b")
    assert parse_symlink("/usr/bin/busybox:/bin/sh") == NewSymlink(path="/bin/sh", target="/usr/bin/busybox")
    assert parse_symlink("../lib:/usr/lib") == NewSymlink(path="/usr/lib", target="../lib")
    assert parse_symlink("a:b:/c") == NewSymlink(path="/c", target="a:b")


@pytest.mark.parametrize(
    ("word", "cause", "fix"),
    [
        ("conf", "does not say where", "SRC:/absolute/path"),
        ("conf:etc/app.conf", "does not say where", "SRC:/absolute/path"),
        (":/etc/app.conf", "does not say where", "SRC:/absolute/path"),
        ("", "does not say where", "SRC:/absolute/path"),
        ("x:/x:mode=0999", "octal mode", "mode=0755"),
        ("x:/x:mode=", "octal mode", "mode=0755"),
        ("x:/x:mode=17777", "octal mode", "mode=0755"),
        ("x:/x:mode=-1", "octal mode", "mode=0755"),
        ("x:/x:mode=u+x", "octal mode", "mode=0755"),
        ("x:/x:mode=\u0667\u0665\u0665", "octal mode", "mode=0755"),
        ("x:/x:uid=root", "numeric id", "uid=65532"),
        ("x:/x:uid=4294967295", "numeric id", "uid=65532"),
        ("x:/x:gid=" + "9" * 5000, "numeric id", "gid=65532"),
        ("x:/x:uid=1,uid=2", "repeated", "mode="),
        ("x:/x:uid=1,size=2", "not an option", "mode="),
        ("x:/x:uid=1,", "not an option", "mode="),
        ("x:/x:moed=0755", "not an option", "mode="),
        ("x:/x:Mode=0755", "not an option", "mode="),
        ("x:/x:mode=0755:uid=1", "commas", "mode=0755,uid=1"),
        ("x:/x:cap=net_raw", "capabilities", "cap_net_bind_service+ep"),
        ("x:/x:cap=cap_nonsense+ep", "no capability", "capabilities(7)"),
        ("x:/x:cap=", "capabilities", "cap_net_bind_service+ep"),
    ],
)
def test_a_copy_that_does_not_read_is_a_fault_of_the_words(word: str, cause: str, fix: str) -> None:
    error = refusal(lambda: parse_copy(word))
    assert cause in error.message
    assert fix in error.fix


def test_an_unknown_option_is_not_taken_for_a_part_of_the_name() -> None:
    error = refusal(lambda: parse_directory("/spool:moed=1777"))
    assert "'moed=1777'" in error.message
    assert "capabilities" in refusal(lambda: parse_directory("/spool:cap=cap_kill+ep")).message


def test_a_link_without_a_place_or_a_target_is_refused() -> None:
    for word in ("/usr/bin/busybox", "a:b", ":/bin/sh", ""):
        assert "TARGET:/absolute" in refusal(lambda word=word: parse_symlink(word)).fix  # type: ignore[misc]


def test_a_pair_is_split_at_its_first_equals_sign() -> None:
    assert parse_pair("--env", "A=b=c") == ("A", "b=c")
    assert parse_pair("--env", "A=") == ("A", "")
    for word in ("A", "=b", ""):
        assert "--env NAME=value" in refusal(lambda word=word: parse_pair("--env", word)).fix  # type: ignore[misc]


def test_commands_are_json_arrays_of_strings() -> None:
    assert parse_exec_form("--cmd", '["/hello", "--name", "a b"]') == ("/hello", "--name", "a b")
    assert parse_exec_form("--entrypoint", "[]") == ()
    assert parse_exec_form("--cmd", json.dumps(["ü", "\n"])) == ("ü", "\n")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("/hello --name 'a b'", '["/hello", "--name", "a b"]'),
        ("/hello", '["/hello"]'),
        ('["/hello", 1]', None),
        ('{"a": 1}', None),
        ("null", None),
        ('"/hello"', '["/hello"]'),
        ("it's", '["it\'s"]'),
        ("", "[]"),
        (NOT_UTF8, None),
        ('["\ud800"]', None),
        ("[" * 100_000, None),
    ],
)
def test_a_line_for_a_shell_is_answered_with_the_array_that_was_meant(text: str, meant: str | None) -> None:
    error = refusal(lambda: parse_exec_form("--cmd", text))
    assert "JSON array" in error.message
    if meant is not None:
        assert error.fix.endswith(f"--cmd {shlex.quote(meant)}")


def test_the_defaults_of_a_spec_are_the_nonroot_user_and_the_root_directory() -> None:
    spec = Spec()
    assert (spec.user, spec.workdir) == ("65532:65532", "/")
    assert spec.entrypoint is None
    assert spec.created is None
