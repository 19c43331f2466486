"""`rootless-scratch run`: an image runs here; its output and its exit code are the program's own."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.output import Show, common_options, named, print_findings, print_json, say
from rootless_scratch.cli.run_options import GroupedCommand, options_from, run_options
from rootless_scratch.errors import CannotInvokeError, CommandNotFoundError, ScratchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless_scratch.engine.container.ending import RunResult

EXIT_OURS = 125
EXIT_CANNOT_INVOKE = 126
EXIT_NOT_FOUND = 127


def exit_code_of(error: ScratchError) -> int:
    """The exit code of a run that failed with this error, as `podman run` has them."""
    if isinstance(error, UsageError):
        return 2
    if isinstance(error, CannotInvokeError):
        return EXIT_CANNOT_INVOKE
    return EXIT_NOT_FOUND if isinstance(error, CommandNotFoundError) else EXIT_OURS


@click.command("run", cls=GroupedCommand, context_settings={"allow_interspersed_args": False})
@click.argument("image", metavar="IMAGE|./PROGRAM")
@click.argument("arguments", metavar="[ARG]...", nargs=-1, type=click.UNPROCESSED)
@run_options
@common_options
def command(
    *,
    image: str,
    arguments: tuple[str, ...],
    show: Show,
    **values: Any,  # noqa: ANN401 - click's values of run_options
) -> int:
    """Run IMAGE of local storage through the podman API, hardened.

    A path, such as ./PROGRAM, is a program file: its image is made first, with the libraries that it needs, unless
    the same one is there already. oci:DIR, oci-archive:FILE and docker-archive:FILE run too.

    The root file system is read-only (/tmp, /run and /var/tmp are in memory), all capabilities are dropped,
    privileges cannot be gained, and the user is the image's; each of these has an option of its own. Images are
    pulled only with --pull. The container is removed at its end, unless --keep or -d is given.

    The exit code is the container's; 124: the timeout ran out; 125: rootless-scratch or podman failed; 126: the
    program cannot be invoked; 127: it was not found.
    """
    from rootless_scratch.verbs.run import run_image

    options = options_from(values)
    if show.as_json and options.get("tty") and not options.get("detach"):
        raise UsageError("--json keeps the output, and --tty shows it.", fix="Leave out one of them.")

    def call() -> RunResult:
        return run_image(
            image,
            arguments,
            options,
            stdout=None if show.as_json else 1,
            stderr=None if show.as_json else 2,
            forward_signals=True,
            say=noting(show),
            opening=click.get_current_context().find_root().obj,
        )

    return run_and_tell(call, as_json=show.as_json, print_id=bool(options.get("detach")))


def run_and_tell(call: Callable[[], RunResult], *, as_json: bool, print_id: bool = False) -> int:
    """Make the call, print what is to be said of its result, and return the exit code."""
    from rootless_scratch.engine.container.signals import Interrupted

    sys.stdout.flush()
    try:
        result = call()
    except Interrupted as error:
        return 128 + error.number
    except BrokenPipeError:
        # As a program that is ended by SIGPIPE; click would make it 1.
        return 128 + signal.SIGPIPE
    if as_json:
        answer = named(result, "exit_code stdout stderr explanation timed_out notes container_id")
        answer |= {name: answer[name].decode("utf-8", "replace") for name in ("stdout", "stderr")}
        print_json(answer)
    else:
        if result.explanation is not None:
            if result.ends_mid_line:
                say("")
            print_findings([result.explanation])
        if print_id:
            click.echo(result.container_id)
    return result.exit_code


def noting(show: Show) -> Callable[[str], None] | None:
    """Who says what a call notes: what is the same for each call once until the host is booted again."""

    def note(sentence: str) -> None:
        from rootless_scratch.host.environment import tool_environment
        from rootless_scratch.host.said import HostNote, is_news

        if show.verbose or not isinstance(sentence, HostNote) or is_news(sentence, tool_environment().variables):
            say(f"note: {sentence}")

    # With JSON they stand in the answer, and nothing is taken for said that nobody may have read.
    return None if show.quiet else (lambda sentence: say(f"note: {sentence}")) if show.as_json else note
