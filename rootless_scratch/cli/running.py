"""A run from its options to its exit code: without click, which is imported where something is to be said."""

from __future__ import annotations

import signal
import sys

from rootless_scratch.errors import CannotInvokeError, CommandNotFoundError, ScratchError, UsageError

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rootless_scratch.cli.show import Show
    from rootless_scratch.engine.container.ending import RunResult
    from rootless_scratch.engine.container.opening import Opening
    from rootless_scratch.keywords import Options

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


def run_shown(image: str, arguments: Sequence[str], options: Options, show: Show, opening: Opening | None) -> int:
    """Run an image with its streams on ours, say what is to be said, and return the exit code."""
    from rootless_scratch.verbs.run import run_image

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
            opening=opening,
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
        from rootless_scratch.cli.output import named, print_json

        answer = named(result, "exit_code stdout stderr explanation timed_out notes container_id")
        answer |= {name: answer[name].decode("utf-8", "replace") for name in ("stdout", "stderr")}
        print_json(answer)
    else:
        if result.explanation is not None:
            from rootless_scratch.cli.output import print_findings, say

            if result.ends_mid_line:
                say("")
            print_findings([result.explanation])
        if print_id:
            sys.stdout.write(f"{result.container_id}\n")
    return result.exit_code


def noting(show: Show) -> Callable[[str], None] | None:
    """Who says what a call notes: what is the same for each call once until the host is booted again."""

    def note(sentence: str) -> None:
        from rootless_scratch.host.environment import tool_environment
        from rootless_scratch.host.said import is_news
        from rootless_scratch.host.settings import HostNote

        if show.verbose or not isinstance(sentence, HostNote) or is_news(sentence, tool_environment().variables):
            noted(sentence)

    # With JSON they stand in the answer, and nothing is taken for said that nobody may have read.
    return None if show.quiet else noted if show.as_json else note


def noted(sentence: str) -> None:
    """Say a note."""
    from rootless_scratch.cli.output import say

    say(f"note: {sentence}")
