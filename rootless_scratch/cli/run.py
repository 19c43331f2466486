"""`rootless-scratch run`: an image runs here; its output and its exit code are the program's own."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import click

from rootless_scratch.cli.output import common_options, print_findings, print_json, say

if TYPE_CHECKING:
    from rootless_scratch.engine.run import RunResult
    from rootless_scratch.errors import ScratchError

EXIT_OURS = 125
EXIT_CANNOT_INVOKE = 126
EXIT_NOT_FOUND = 127


def exit_code_of(error: ScratchError) -> int:
    """The exit code of a run that failed with this error, as `podman run` has them."""
    from rootless_scratch.errors import CannotInvokeError, CommandNotFoundError, UsageError

    if isinstance(error, UsageError):
        return 2
    if isinstance(error, CannotInvokeError):
        return EXIT_CANNOT_INVOKE
    return EXIT_NOT_FOUND if isinstance(error, CommandNotFoundError) else EXIT_OURS


@click.command("run", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False})
@click.argument("image")
@click.argument("arguments", metavar="[ARG]...", nargs=-1, type=click.UNPROCESSED)
@click.option("-e", "--env", metavar="K=V", multiple=True, help="Set a variable; K alone takes yours.")
@click.option("--network", metavar="NAME", help="none, host, private, slirp4netns, pasta, bridge, or its name.")
@click.option("--volume", "volumes", metavar="HOST:CTR[:ro]", multiple=True, help="Mount a file or directory.")
@click.option("-p", "--publish", metavar="[[IP:]HOST:]CTR", multiple=True, help="Publish a port of the container.")
@click.option("-u", "--user", metavar="UID[:GID]", help="Run as this user instead of the image's.")
@click.option("--timeout", metavar="SECONDS", type=float, help="End it after this time, with exit code 124.")
@common_options
def command(
    *,
    image: str,
    arguments: tuple[str, ...],
    env: tuple[str, ...],
    network: str | None,
    volumes: tuple[str, ...],
    publish: tuple[str, ...],
    user: str | None,
    timeout: float | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,  # noqa: ARG001 - for errors, which the entry point prints
) -> int:
    """Run IMAGE of local storage through the podman API, hardened.

    The root is read-only (/tmp, /run and /var/tmp lie in memory), all capabilities are dropped, there is
    no way to new privileges, and the user is the image's. Nothing is ever pulled. The container is removed
    at its end.

    The exit code is the container's; 124 the timeout ran out, 125 we failed, 126 the program cannot be
    invoked, 127 it is not found.
    """
    from rootless_scratch.engine.run import run
    from rootless_scratch.engine.signals import Interrupted
    from rootless_scratch.engine.specification import parse_env
    from rootless_scratch.judging import explained

    def call() -> RunResult:
        return run(
            image,
            arguments,
            env=parse_env(env, os.environ),
            network=network,
            volumes=volumes,
            publish=publish,
            user=user,
            timeout=timeout,
            stdout=None if as_json else 1,
            stderr=None if as_json else 2,
            forward_signals=True,
            say=None if quiet else _note,
            opening=click.get_current_context().find_root().obj,
        )

    sys.stdout.flush()
    try:
        result = explained(call, image, arguments=arguments, user=user)
    except Interrupted as error:
        return 128 + error.number
    except BrokenPipeError:
        # As a program that is ended by SIGPIPE; click would make it 1.
        return 128 + signal.SIGPIPE
    if as_json:
        print_json(
            {
                "exit_code": result.exit_code,
                "stdout": result.stdout.decode("utf-8", "replace"),
                "stderr": result.stderr.decode("utf-8", "replace"),
                "explanation": result.explanation,
                "timed_out": result.timed_out,
                "notes": result.notes,
            }
        )
    elif result.explanation is not None:
        print_findings([result.explanation])
    return result.exit_code


def _note(sentence: str) -> None:
    say(f"note: {sentence}")
