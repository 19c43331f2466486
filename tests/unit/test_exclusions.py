"""What a copied directory leaves out: `--exclude`, .containerignore and .dockerignore, by docker's own rules."""

from __future__ import annotations

import os
import random
import re
import shlex
import socket
import time
from typing import TYPE_CHECKING

import pytest
import tinyelf
from imaging import Bench
from planning import put, refusal

from rootless_scratch.errors import SourceError, SpecError, UsageError
from rootless_scratch.image.exclusions import Exclusions, Steps, literal
from rootless_scratch.image.plan.planner import plan
from rootless_scratch.image.spec import Copy, Spec
from rootless_scratch.image.syntax import parse_pattern

if TYPE_CHECKING:
    from pathlib import Path


def left(tree: Path | str, *patterns: str) -> set[str]:
    """What of a directory is in the image, relative to it."""
    spec = Spec(copies=(Copy(source=str(tree), destination="/t", uid=7),), exclude=patterns)
    entries = plan(spec, environ={}).rootfs
    assert all(entry.uid == 7 for entry in entries)
    return {entry.path.removeprefix("/t/") for entry in entries if entry.path != "/t"}


@pytest.mark.parametrize(
    ("pattern", "path", "out"),
    [
        ("a", "a", True),
        ("a", "b/a", False),
        ("/a/", "a", True),
        ("./a//b", "a/b", True),
        ("a/../b", "b", True),
        ("*.pyc", "x.pyc", True),
        ("*.pyc", "a/x.pyc", False),
        ("*/*.pyc", "a/x.pyc", True),
        ("**/*.pyc", "x.pyc", True),
        ("**/*.pyc", "a/b/x.pyc", True),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a**b", "ac/b", True),
        ("a**b", "ab", True),
        ("**", "a/b", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a-c]x", "dx", True),
        ("[!b]x", "!x", True),
        ("[c-a]x", "bx", False),
        (r"\[x]", "[x]", True),
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
        ("a.b$(c|d)+", "a.b$(c|d)+", True),
        ("a.b", "axb", False),
        (".", "a", False),
        ("/", "a", False),
        ("..", "a", False),
    ],
)
def test_a_pattern_means_what_it_means_to_docker(pattern: str, path: str, *, out: bool) -> None:
    exclusions = Exclusions([pattern])
    assert exclusions.excludes(exclusions.met(path, 0)) is out


@pytest.mark.parametrize("pattern", ["[", "a[", "[]", "[]a]", "[-x]", "a\\", "!", "![", "a\0b"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    refusal(lambda: parse_pattern(pattern), UsageError)


def test_a_directory_that_matches_takes_all_below_it_along(tmp_path: Path) -> None:
    for name in ("node_modules/a/index.js", "src/node_modules", "src/main.js", "keep"):
        put(tmp_path, name)
    assert left(tmp_path, "node_modules") == {"src", "src/node_modules", "src/main.js", "keep"}
    assert left(tmp_path, "**/node_modules") == {"src", "src/main.js", "keep"}


def test_the_last_pattern_that_matches_counts(tmp_path: Path) -> None:
    for name in ("README.md", "README-secret.md", "notes.md"):
        put(tmp_path, name)
    assert left(tmp_path, "*.md", "!README*.md", "README-secret.md") == {"README.md"}
    assert left(tmp_path, "*.md", "README-secret.md", "!README*.md") == {"README.md", "README-secret.md"}


def test_what_is_taken_back_brings_the_directories_above_it_and_no_more(tmp_path: Path) -> None:
    for name in ("a/b/keep", "a/b/other", "a/c/keep", "top"):
        put(tmp_path, name)
    assert left(tmp_path, "*", "!a/b/keep") == {"a", "a/b", "a/b/keep"}
    assert left(tmp_path, "a", "!**/keep") == {"a", "a/b", "a/b/keep", "a/c", "a/c/keep", "top"}
    assert left(tmp_path, "a", "!a/b", "a/b/keep") == {"a", "a/b", "a/b/other", "top"}


def test_everything_may_be_left_out(tmp_path: Path) -> None:
    put(tmp_path, "a/b")
    for pattern in ("*", "**"):
        assert left(tmp_path, pattern) == set()


def test_sockets_pipes_and_locked_files_that_are_left_out_block_nothing(tmp_path: Path) -> None:
    put(tmp_path, "main")
    put(tmp_path, "locked.key")
    put(tmp_path, "run/pid")
    os.mkfifo(tmp_path / "run/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "run/agent.sock"))
    (tmp_path / "locked.key").chmod(0)
    (tmp_path / "private").mkdir(mode=0)
    patterns = ("**/*.sock", "run/pipe", "*.key", "private")
    assert left(tmp_path, *patterns) == {"main", "run", "run/pid"}
    # Nothing that comes before may be taken back from below it.
    assert left(tmp_path, "!**/main", *patterns) == {"main", "run", "run/pid"}


@pytest.mark.parametrize("name", ["run me.sock", "a\nb", "[x]*?", "!x", "back\\slash", "it's", " lead", "trail "])
def test_the_fix_of_a_blocked_tree_is_an_option_that_lets_it_pass(tmp_path: Path, name: str) -> None:
    put(tmp_path, "tree/sub/other")
    os.mkfifo(tmp_path / "tree/sub" / name)
    put(tmp_path, "tree/" + name).encode()
    (tmp_path / "tree" / name).chmod(0)
    patterns: tuple[str, ...] = ()
    for cause in ("permission denied", "is a pipe"):
        error = _refused(tmp_path / "tree", patterns)
        assert cause in error.message
        word = shlex.split(error.fix[error.fix.index("`") + 1 : error.fix.rindex("`")].replace("\\n", "\n"))
        assert word[0] == "--exclude"
        patterns = (*patterns, literal(f"sub/{name}" if cause == "is a pipe" else name))
        if name.isprintable():
            assert word[1] == patterns[-1]
    assert left(tmp_path / "tree", *patterns) == {"sub", "sub/other"}


def _refused(tree: Path, patterns: tuple[str, ...]) -> SourceError:
    with pytest.raises(SourceError) as caught:
        left(tree, *patterns)
    return caught.value


def test_a_directory_that_cannot_be_read_is_told_with_the_option(tmp_path: Path) -> None:
    (tmp_path / "tree/locked").mkdir(parents=True)
    (tmp_path / "tree/locked").chmod(0)
    assert "`--exclude locked`" in _refused(tmp_path / "tree", ()).fix
    assert left(tmp_path / "tree", "locked") == set()


def test_an_ignore_file_of_the_directory_is_read_as_podman_and_docker_read_theirs(tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "keep.log", "#odd", "x y"):
        put(tmp_path, name)
    put(tmp_path, ".dockerignore", b"\xef\xbb\xbf*.log\r\n\n  # no comment, a pattern\n#odd\n! keep.log \n x y\n")
    assert left(tmp_path) == {".dockerignore", "keep.log", "#odd"}
    put(tmp_path, ".containerignore", b"b.log\n.*ignore\n")
    assert left(tmp_path) == {"a.log", "keep.log", "#odd", "x y"}
    assert left(tmp_path, "!b.log", "#odd") == {"a.log", "b.log", "keep.log", "x y"}


def test_what_an_ignore_file_leaves_out_is_told_and_what_was_asked_for_is_not(tmp_path: Path) -> None:
    for name in ("tree/a.log", "tree/logs/b", "tree/keep"):
        put(tmp_path, name)
    put(tmp_path, "tree/.dockerignore", b".\n*.log\nlogs\n")
    bench = Bench(tmp_path)
    copy = Copy(source=f"{tmp_path}/tree", destination="/t")
    finding = bench.finding(bench.program(), copies=(copy,), exclude=("keep",))
    assert (finding.rule, finding.severity) == ("copy-ignored", "info")
    assert "tree/.dockerignore leaves a.log and 1 more out of /t" in finding.message
    assert bench.judge(bench.program(), copies=(copy,), exclude=("**", "!logs", "!*.log")) == ()


def test_only_the_ignore_file_of_the_copied_directory_itself_counts(tmp_path: Path) -> None:
    put(tmp_path, "sub/.dockerignore", b"*")
    put(tmp_path, "sub/file")
    assert "sub/file" in left(tmp_path)
    assert left(tmp_path / "sub") == set()


def test_an_ignore_file_that_says_nothing_sensible_is_named_with_its_line(tmp_path: Path) -> None:
    put(tmp_path, ".containerignore", b"ok\n# [\n[a\n")
    assert ".containerignore', line 3" in refusal(lambda: left(tmp_path)).message
    put(tmp_path, ".containerignore", b"x" * (2 << 20))
    assert "1048576 bytes" in refusal(lambda: left(tmp_path), SpecError).message
    (tmp_path / ".containerignore").unlink()
    (tmp_path / ".containerignore").mkdir()
    assert ".containerignore" in refusal(lambda: left(tmp_path), SourceError).message


def test_patterns_without_a_directory_are_a_mistake(tmp_path: Path) -> None:
    file = put(tmp_path, "file")
    spec = Spec(copies=(Copy(source=file, destination="/f"),), exclude=("*.pyc",))
    assert "--exclude" in refusal(lambda: plan(spec, environ={}), UsageError).message


def test_a_single_file_and_a_program_are_what_they_are_named(tmp_path: Path) -> None:
    put(tmp_path, "tree/data")
    program = tinyelf.write(tmp_path / "tree/app")
    spec = Spec(
        programs=(Copy(source=str(program), destination="/app"),),
        copies=(
            Copy(source=f"{tmp_path}/tree", destination="/t"),
            Copy(source=f"{tmp_path}/tree/data", destination="/data"),
        ),
        exclude=("*",),
    )
    assert [entry.path for entry in plan(spec, environ={}).rootfs] == ["/app", "/data", "/t"]


@pytest.mark.slow
def test_ten_thousand_files_take_no_time_to_speak_of(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"d{number}/left").mkdir(parents=True)
        for each in range(100):
            (tmp_path / f"d{number}/left/f{each}.pyc").touch()
    patterns = [f"**/x{number}*/*.[ch]" for number in range(20)]
    before = time.process_time()
    assert len(left(tmp_path, *patterns, "**/*.pyc")) == 200
    assert time.process_time() - before < 3
    before = time.process_time()
    assert len(left(tmp_path, "*/left")) == 100
    assert time.process_time() - before < 0.2


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("**/" * 12 + "b", "/".join("a" * 120)),
        ("a*" * 12 + "b", "a" * 200),
        ("[a-z]*" * 8 + "1", "a" * 200),
        ("**a" * 8 + "**/b", "a/" * 60 + "a"),
    ],
)
def test_a_pattern_of_many_stars_takes_no_longer_than_its_path(pattern: str, path: str) -> None:
    began = time.process_time()
    assert not Exclusions([pattern]).met(path, 0)
    assert time.process_time() - began < 1


def test_patterns_of_many_stars_match_what_regular_expressions_match() -> None:
    chance = random.Random(13)  # noqa: S311 - no secret
    parts = ("a", "b", "/", r"\.", "[^/]", "[ab]", "[^/]*", ".*", "(?:.*/)?")
    found = {True: 0, False: 0}
    for _ in range(3000):
        steps = chance.choices(parts, k=chance.randrange(1, 9))
        text = "".join(chance.choices("ab/.", weights=(4, 3, 3, 1), k=chance.randrange(9)))
        expected = re.fullmatch("".join(steps), text) is not None
        assert Steps(steps).fullmatch(text) == expected, (steps, text)
        found[expected] += 1
    assert min(found.values()) > 300
