"""Rules on the command of an image: what its arguments lead to, judged as runtimes look it up."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Final

from rootless_scratch.expressions import expression
from rootless_scratch.findings import Finding
from rootless_scratch.image.rootfs import File
from rootless_scratch.rules.access import EXECUTE, obstacle
from rootless_scratch.rules.advice import listed, shown
from rootless_scratch.rules.view import ImageView, dead_end, files_named, in_flag, similar_file

_SHELLS: Final = frozenset({"sh", "ash", "bash", "dash"})
_SHELL_WORK: Final = expression(r"[|&;<>()$`\\*?{}~#!\n=]")
"""Text with one of these needs a shell, or might."""


def command_path(view: ImageView, name: str) -> str | None:
    """Find the file that a runtime starts for a name; None where no directory of PATH has it.

    Runtimes differ in whether a file without execute bits ends the search; the one that starts is preferred.
    """
    return view.tree.command_path(
        view.config,
        name,
        usable=lambda path: obstacle(view.account, view.tree.walk(path), EXECUTE) is None,
    )


def judge_command(view: ImageView) -> Iterator[Finding]:
    """Say whether the first argument leads to a file, and whether CMD was taken for a command of its own."""
    argv = view.config.argv()
    if not argv:
        yield Finding.error(
            rule="no-command",
            subject="entrypoint",
            message="The image has neither an entrypoint nor a command, so it cannot be started.",
            fix=f"Name a program, or give one by {in_flag('--entrypoint', ('/PROGRAM',))}.",
        )
        return
    path = command_path(view, argv[0])
    entry = None if path is None else view.tree.resolve(path)
    if entry is None and _is_shell_form(argv):
        yield _shell_form(view, argv)
    elif path is None:
        yield _not_in_path(view, argv[0])
    elif entry is None:
        yield _missing(view, argv[0], path)
    elif isinstance(entry, File):
        yield from _judge_relative(view, argv[0])
        yield from _judge_arguments(view, entry)
    else:
        yield Finding.error(
            rule="command-is-directory",
            subject=argv[0],
            message=f"{shown(argv[0])} is a directory of the image, and not a program to start.",
            fix=f"Name the program in it by its absolute path with {view.flag()}.",
        )


def judge_healthcheck(view: ImageView) -> Iterator[Finding]:
    """Say whether the test that engines run beside the program can be run: HEALTHCHECK of docker's images."""
    kind, *argv = view.config.healthcheck or ("NONE",)
    if kind == "NONE" or not argv:
        return
    command = "/bin/sh" if kind == "CMD-SHELL" else argv[0]
    path = command_path(view, command)
    if path is None or not view.is_file(path):
        needed = "a shell, /bin/sh," if kind == "CMD-SHELL" else shown(command)
        yield Finding.warning(
            rule="healthcheck-unusable",
            subject=command,
            message=f"The health check of the image runs {needed} which the image does not have, so that the "
            "container never counts as healthy.",
            fix='Let the program check itself, in exec form: `HEALTHCHECK CMD ["/app", "health"]`; or check from '
            "outside.",
        )


def _is_shell_form(argv: tuple[str, ...]) -> bool:
    return len(argv) > 1 and argv[1] == "-c" and posixpath.basename(argv[0]) in _SHELLS


def _shell_form(view: ImageView, argv: tuple[str, ...]) -> Finding:
    instead = exec_form(view, argv[2] if len(argv) > 2 else "")  # noqa: PLR2004 - SHELL -c TEXT
    example = in_flag(view.flag(), instead) if instead else ""
    return Finding.error(
        rule="shell-form",
        subject=argv[0],
        message=f"The command is in shell form, and the image has no shell {shown(argv[0])} to run it.",
        fix=f"Write it in exec form: {example}."
        if example
        else "Write it in exec form, a JSON array that begins with the program's absolute path; "
        "what the shell did, the program must do itself.",
    )


def exec_form(view: ImageView, text: str) -> list[str]:
    """Split what a shell would only have split into arguments; [] where it would have done more."""
    import json
    import shlex

    # Single quotes make no JSON, so builders take `CMD ['/hello']` for a line of shell.
    if text.startswith("["):
        try:
            argv = json.loads(text.replace("'", '"'))
        except (ValueError, RecursionError):
            return []
        return argv if isinstance(argv, list) and all(isinstance(argument, str) for argument in argv) else []
    if _SHELL_WORK.search(text):
        return []
    try:
        argv = shlex.split(text.removeprefix("exec "))
    except ValueError:
        return []
    if argv and "/" not in argv[0]:
        argv[0] = next(iter(files_named(view, argv[0])), argv[0])
    return argv


def _not_in_path(view: ImageView, name: str) -> Finding:
    directories = [shown(directory) for directory in view.config.search_path() if directory]
    searched = f" ({listed(directories)})" if directories else ", which is empty"
    meant = similar_file(view, name)
    fix = "Name the program by its absolute path in the image."
    if meant is not None:
        same = posixpath.basename(meant) == name
        start = "Name it by its absolute path" if same else f"Did you mean {shown(meant)}? Then write"
        fix = f"{start}: {view.started_as(meant)}."
    return Finding.error(
        rule="command-not-in-path",
        subject=name,
        message=f"The image's command is {shown(name)}, which no directory of its PATH has{searched}.",
        fix=fix,
    )


def _judge_relative(view: ImageView, name: str) -> Iterator[Finding]:
    """Runtimes differ where the first match in PATH lies below the working directory: `.`, or an empty name."""
    if "/" in name:
        return
    for directory in view.config.search_path():
        path = posixpath.join("/", view.config.working_dir, directory, name)
        if not view.is_file(path) or obstacle(view.account, view.tree.walk(path), EXECUTE) is not None:
            continue
        if not directory.startswith("/"):
            place = shown(directory) if directory else "an empty name"
            yield Finding.warning(
                rule="command-by-relative-path",
                subject=name,
                message=f"PATH leads to {shown(name)} by {place}, which begins at the working directory; runc "
                "refuses to start what it finds there, and crun does not.",
                fix=f"Name it by its absolute path: {view.started_as(posixpath.normpath(path))}.",
            )
        return


def _missing(view: ImageView, name: str, path: str) -> Finding:
    place = "" if name == path else f" (from the working directory: {shown(posixpath.normpath(path))})"
    reason = dead_end(view, path)
    meant = similar_file(view, path)
    if reason is not None and "symbolic link" in reason:
        fix = "Add what the link points to; links are followed inside the image, never to the host."
    elif meant is not None:
        fix = f"Did you mean {shown(meant)}? Then write {view.started_as(meant)}."
    else:
        fix = f"Add the program at that path, or correct {view.flag()}."
    why = "which is not in it" if reason is None else f"but {reason}"
    return Finding.error(
        rule="command-missing",
        subject=name,
        message=f"The image's command is {shown(name)}{place}, {why}.",
        fix=fix,
    )


def _judge_arguments(view: ImageView, program: File) -> Iterator[Finding]:
    """CMD holds the entrypoint's arguments; recipes for images without entrypoint name the program there."""
    if not view.config.entrypoint or not view.config.cmd:
        return
    entrypoint, name = view.config.entrypoint[0], view.config.cmd[0]
    # Programs of many names (busybox) take the name of another as argument: a link to them is no repetition.
    own_names = {posixpath.basename(entrypoint), posixpath.basename(program.path)}
    is_own_name = posixpath.basename(name) in own_names
    path = command_path(view, name)
    if path is not None:
        if is_own_name and view.tree.resolve(path) == program:
            yield Finding.warning(
                rule="command-repeated",
                subject=name,
                message=f"CMD names the program {shown(name)} again, which hands its own name to "
                f"the entrypoint {shown(entrypoint)} as an argument.",
                fix=_without_first_argument(view.config.cmd, entrypoint),
            )
    elif is_own_name:
        yield Finding.error(
            rule="command-not-in-path",
            subject=name,
            message=f"CMD names the program by {shown(name)}, a name that no directory of PATH has, "
            f"and CMD only gives arguments to the entrypoint {shown(entrypoint)}.",
            fix=_without_first_argument(view.config.cmd, entrypoint),
        )
    else:
        yield from _another_program(view, name, entrypoint)


def _another_program(view: ImageView, name: str, entrypoint: str) -> Iterator[Finding]:
    """Wrappers start what CMD names, other programs take it for a subcommand: only its owner knows."""
    for path in files_named(view, name)[:1]:
        file = view.tree.resolve(path)
        if (
            isinstance(file, File)
            and file != view.tree.resolve(command_path(view, entrypoint) or "/")
            and obstacle(view.account, view.tree.walk(path), EXECUTE) is None
        ):
            yield Finding.warning(
                rule="command-not-in-path",
                subject=name,
                message=f"CMD begins with {shown(name)}, the name of {shown(path)}, which no directory of "
                f"PATH has, and CMD only gives arguments to the entrypoint {shown(entrypoint)}.",
                fix="If that program is meant, name it by its absolute path: "
                f"{in_flag('--entrypoint', (path, *(view.config.cmd or ())[1:]))}.",
            )


def _without_first_argument(cmd: tuple[str, ...], entrypoint: str) -> str:
    if len(cmd) == 1:
        return f"Leave --cmd out: the entrypoint {shown(entrypoint)} already is the program."
    return f"Give the arguments alone: {in_flag('--cmd', cmd[1:])}."


def started_path(view: ImageView) -> str | None:
    """Give the path of the file that is started; None where the command leads to no file."""
    argv = view.config.argv()
    path = command_path(view, argv[0]) if argv else None
    return path if path is not None and isinstance(view.tree.resolve(path), File) else None
