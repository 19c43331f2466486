"""What env(1) is asked for by a script's first line: the program, and where it looks for it."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Final

import msgspec

from rootless_scratch.expressions import expression

_SPLIT: Final = expression(r"-[iv0]*S|--split-string(?:=|\s)")
_WITH_VALUE: Final = frozenset({"-u", "--unset", "-C", "--chdir"})
_WITHOUT: Final = frozenset({"-", "-i", "--ignore-environment", "-v", "--debug"})
_NO_PATH: Final = ("/bin", "/usr/bin")
"""Where execvp(3) of glibc looks without a PATH."""


class EnvLine(msgspec.Struct, frozen=True, kw_only=True):
    """`program` is None where the line names none, and env starts the script again; `path` a PATH of its own."""

    program: str | None
    path: tuple[str, ...] | None = None
    directory: str | None = None

    def candidates(self, search_path: Sequence[str], working_dir: str) -> tuple[str, ...]:
        """The paths that env tries, in its order; `search_path` and `working_dir` are the image's."""
        if not self.program:
            return ()
        start = posixpath.join("/", working_dir, self.directory or "")
        if "/" in self.program:
            return (posixpath.join(start, self.program),)
        directories = search_path if self.path is None else self.path
        return tuple(posixpath.join(start, directory, self.program) for directory in directories)


def env_line(shebang: Sequence[str] | None) -> EnvLine | None:
    """Read the arguments of a `#!` line that begin with a path to env; None for others, and where nobody can tell.

    The kernel hands over all behind the interpreter as one argument, and only `-S` splits it: execve(2), env(1).
    """
    if not is_env(shebang):
        return None
    argument = (shebang or ())[1]
    if not argument.startswith("-"):
        return EnvLine(program=None if "=" in argument else argument)
    split = _SPLIT.match(argument)
    if split is None:
        return EnvLine(program=None) if argument in _WITHOUT else None
    rest = argument[split.end() :]
    if "$" in rest or "\\" in rest:
        return None
    import shlex

    try:
        arguments = shlex.split(rest, comments=True)
    except ValueError:
        return None
    return _env_line("-i" in argument[: split.end()].replace("v", "").replace("0", ""), arguments)


def is_env(shebang: Sequence[str] | None) -> bool:
    """Whether a `#!` line asks env(1) for something."""
    return shebang is not None and len(shebang) > 1 and posixpath.basename(shebang[0]) == "env"


def _env_line(emptied: bool, arguments: Sequence[str]) -> EnvLine | None:
    path: tuple[str, ...] | None = _NO_PATH if emptied else None
    directory: str | None = None
    pending = list(arguments)
    while pending and pending[0].startswith("-"):
        argument = pending.pop(0)
        if argument == "--":
            break
        if argument in {"-", "-i", "--ignore-environment"}:
            path = _NO_PATH
        elif argument in _WITH_VALUE and pending:
            value = pending.pop(0)
            if argument in {"-C", "--chdir"}:
                directory = value
            elif value == "PATH":
                path = _NO_PATH
        elif argument not in _WITHOUT:
            return None
    while pending and "=" in pending[0]:
        name, _, value = pending.pop(0).partition("=")
        if name == "PATH":
            path = tuple(value.split(":"))
    return EnvLine(program=pending[0] if pending else None, path=path, directory=directory)
