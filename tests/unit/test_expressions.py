"""Expressions that are compiled late are those that re compiles."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rootless_scratch.expressions import expression

ROOT = str(Path(__file__).parents[2])


def test_it_finds_what_a_compiled_one_finds() -> None:
    late, compiled = expression("a(b+)", re.IGNORECASE), re.compile("a(b+)", re.IGNORECASE)
    for _ in range(2):
        found = late.search("xABBx")
        assert found is not None
        assert found[1] == "BB"
        assert late.sub("-", "abAb") == "--"
        assert (late.pattern, late.flags) == (compiled.pattern, compiled.flags)
        assert late.fullmatch("ab", 1) is None
    assert expression(rb"\0").split(b"a\0b") == [b"a", b"b"]


def test_what_it_has_not_is_said_as_ever() -> None:
    with pytest.raises(AttributeError):
        expression("a").nothing  # type: ignore[attr-defined] # noqa: B018 - that it fails


def test_nothing_is_compiled_before_it_is_used() -> None:
    script = (
        "import sys; from rootless_scratch.expressions import expression; late = expression('a'); "
        "print('re' in sys.modules); late.match('a'); print('re' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {ROOT!r}); {script}"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["False", "True"], done.stderr
