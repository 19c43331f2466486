"""`--fix`: a change of a file is shown, agreed to, and written."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rootless_scratch.cli.excerpts import showable
from rootless_scratch.cli.output import say, tell
from rootless_scratch.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rootless_scratch.containerfile.request import FileRequest
    from rootless_scratch.verbs.fix import FixedFile

T = TypeVar("T")

_ROUNDS = 5
"""What is built in one round shows what the next one needs."""

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def require_file(*, fix: bool, yes: bool, is_file: bool) -> None:
    """Raise UsageError where there is nothing to correct."""
    if fix and not is_file:
        raise click.UsageError("--fix corrects a Containerfile: name it by -f FILE.")
    if yes and not fix:
        raise click.UsageError("--yes has no effect without --fix.")


def fix_before(request: FileRequest, options: Mapping[str, Any], *, yes: bool, quiet: bool) -> bool | None:
    """Offer what is found before anything is built; whether the file was changed, as `offer` has it."""
    from rootless_scratch.verbs.fix import fix_file

    return offer(fix_file(request, options), yes=yes, quiet=quiet)


def fix_and_build(build: Callable[[], T], request: FileRequest, *, yes: bool, quiet: bool) -> T:
    """Build, and where that is refused offer what can be corrected of it, until neither helps."""
    from rootless_scratch.verbs.fix import fix_refused

    for _ in range(_ROUNDS):
        try:
            return build()
        except RefusedError as error:
            if not offer(fix_refused(request, error.findings), yes=yes, quiet=quiet):
                raise
    return build()


def offer(fix: FixedFile, *, yes: bool, quiet: bool) -> bool | None:
    """Whether the file was changed: the change is shown, and asked for unless it is `yes`; None for a no.

    Raises UsageError where nobody can be asked, and what writing raises.
    """
    from rootless_scratch.verbs.fix import write_fixed

    if fix.after == fix.before:
        return False
    # Who is asked has to see what about.
    if not quiet or (not yes and sys.stdin.isatty()):
        for line in fix.diff.removesuffix("\n").split("\n"):
            tell(click.style(showable(line.removesuffix("\r")), fg=_COLOURS.get(line[:1])))
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("--fix asks before it writes, and stdin is no terminal: add --yes.")
        if not click.confirm(f"Write {showable(fix.path)}?", err=True):
            return None
    write_fixed(fix)
    if not quiet:
        say(f"corrected: {fix.path}")
    return True
