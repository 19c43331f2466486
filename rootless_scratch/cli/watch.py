"""`rootless-scratch watch`: an image is built, and run, again whenever what it is made of has changed."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.file_options import file_options, request_from
from rootless_scratch.cli.image_options import image_options, images_from, tag_option
from rootless_scratch.cli.options import access_from, verb_options
from rootless_scratch.cli.output import (
    common_options,
    error_answer,
    image_answer,
    named,
    print_error,
    print_findings,
    print_json,
    say,
)
from rootless_scratch.cli.run_options import GroupedCommand, options_from, run_options
from rootless_scratch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.cli.show import Show
    from rootless_scratch.engine.api.http import Attached
    from rootless_scratch.engine.container.recording import Recording
    from rootless_scratch.image.spec import Spec
    from rootless_scratch.verbs.restarting import Restarting
    from rootless_scratch.verbs.watch import Rebuilt
    from rootless_scratch.verbs.watched import OfFile, OfPrograms

_RUN = "--run"
_NAMED = 3
"""Changed files that are named."""


class _Parted(click.Command):
    """Reads what stands before `--run` as arguments of `build`, what stands behind it as those of `run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what is behind for later."""
        at = args.index(_RUN) if _RUN in args else None
        ctx.meta[_RUN] = None if at is None else args[at + 1 :]
        before = args if at is None else args[:at]
        if "--" in before:
            raise click.UsageError("Arguments of the program stand behind `--run --`.")
        return super().parse_args(ctx, before)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """With what stands behind."""
        return [*super().collect_usage_pieces(ctx), "[--run [OPTION OF run]... [-- ARG...]]"]


@click.command("run", cls=GroupedCommand, add_help_option=False)
@run_options
def _run_command(**values: Any) -> dict[str, Any]:  # noqa: ANN401 - click's values of run_options
    return values


@click.command("watch", cls=_Parted)
@image_options
@tag_option
@file_options
@verb_options("watch")
@common_options
def command(*, show: Show, **values: Any) -> int:  # noqa: ANN401 - click's values
    """Build the image, and build it again whenever a file that it is made of has changed.

    Programs, copied files and directories, libraries that are bundled, the file of --spec and the Containerfile
    are watched. What is still being written is waited for. An image that is the same as before is not told of.

    With --run it is run too, with the options of `run` that stand behind, and the program with what stands behind
    `--`. After a change its container is stopped (at once where the program does not heed its stop signal) and
    the new one is started. One that cannot be built leaves the container as it is.

    Ctrl-C and SIGTERM end it, and the container with it.
    """
    from rootless_scratch.engine.container.signals import Forwarding
    from rootless_scratch.verbs.watch import Watching

    making = _making(values)
    behind: list[str] | None = click.get_current_context().meta[_RUN]
    printer = _Printer(show, runs=behind is not None)
    wake = threading.Event()
    running = None if behind is None else _running(behind, show, wake)
    with Forwarding(enabled=True) as signals:
        try:
            with Watching(
                making, poll=values["poll"], running=running, wake=wake, woken=partial(printer.ended, running)
            ) as watching:
                for rebuilt in watching:
                    printer.show(rebuilt)
                    printer.notes(watching.notes, watching.count)
        except KeyboardInterrupt:
            return 128 + signals.interrupted if signals.interrupted else 130
    return 0


def _making(values: dict[str, Any]) -> OfPrograms | OfFile:
    """What is built, as `build` reads it; raises UsageError, and what reading a file of --spec raises."""
    from rootless_scratch.cli.piped import goes_to_stdout
    from rootless_scratch.verbs.watch import directly
    from rootless_scratch.verbs.watched import OfFile, OfPrograms, names_of, require_files

    how = {
        "check": values["check"],
        "backend": values["backend"],
        "compress": values["compress"],
        "access": access_from(values),
    }
    output = values["output"]
    if any(map(goes_to_stdout, output)):
        raise click.UsageError("An archive goes to stdout once; name a file.")
    require_files([*values["programs"], *([values["file"]] if values["file"] else [])])
    of_file = request_from(values)
    if of_file is not None:
        request, options = of_file
        _require_name(names_of(options), output)
        return OfFile(request, options, directly(names_of(options), {**how, "output": output}))

    def read() -> tuple[Spec, Sequence[str]]:
        try:
            images = images_from(values)
        except click.UsageError as error:
            # A file may be in order again after the next change, which click knows nothing of.
            raise UsageError(
                error.message, fix="See `rootless-scratch watch --help`, and docs/spec.md."
            ) from error
        if len(images) > 1:
            listed = ", ".join(image.name for image in images)
            raise UsageError(f"The file has the images {listed}.", fix="Choose one by --image.")
        return images[0].spec, output or images[0].output

    spec, outputs = read()
    _require_name(spec.names, outputs)
    how = directly(spec.names, {**how, "output": outputs})
    del how["output"]
    return OfPrograms(read, how, () if values["spec_file"] is None else (values["spec_file"],))


def _require_name(names: Sequence[str], output: Sequence[str]) -> None:
    if not (names or output):
        raise click.UsageError("Missing option '-t' / '--tag': the image needs a name, or an output with -o.")


def _running(arguments: list[str], show: Show, wake: threading.Event) -> Restarting:
    """What runs the images; raises UsageError for what `run` does not take, or only for one container."""
    from rootless_scratch.engine.container.recording import PassedOn
    from rootless_scratch.engine.request.request import Request
    from rootless_scratch.verbs.restarting import Restarting

    at = arguments.index("--") if "--" in arguments else len(arguments)
    try:
        values = _run_command.make_context("watch --run", arguments[:at]).params
    except UsageError as error:
        name = getattr(error.__cause__, "option_name", None)
        if not any(name in each.opts for each in command.params):
            raise
        raise UsageError(
            f"`run` has no {name}, and what follows --run are its options.", fix=f"Write {name} before `--run`."
        ) from error
    options = {name: value for name, value in options_from(values).items() if value != ()}
    for name in options:
        row = Request.options[name]
        if row.keywords or name in ("platform", "pull", "essentials", "replace"):
            raise click.UsageError(f"{row.flags[-1]} is not for a container that is restarted.")

    def record(attached: Attached) -> Recording:
        # With JSON, stdout is for that.
        return PassedOn(attached, stdout=2 if show.as_json else 1, stderr=2, on_end=wake.set)

    say_it = None if show.quiet else say
    return Restarting(arguments[at + 1 :], options, say=say_it, record=record, ready="started")


class _Printer:
    """Says what comes of each build; results on stdout, unless that is the program's."""

    def __init__(self, show: Show, *, runs: bool) -> None:
        self._show = show
        self._runs = runs
        self._known: set[str] = set()

    def show(self, rebuilt: Rebuilt) -> None:
        """What has become of a change."""
        if self._show.as_json:
            print_json(_answer(rebuilt), lines=False)
            return
        quiet = self._show.quiet
        if rebuilt.image is not None and not quiet:
            print_findings(each for each in rebuilt.image.findings if each.severity != "info")
            self._note(rebuilt.image.notes)
        if rebuilt.container is not None and rebuilt.restarted and not quiet:
            self._note(rebuilt.container.notes)
        if rebuilt.image is not None and not self._runs:
            click.echo(rebuilt.image.image_id)
        if rebuilt.error is not None:
            self._tell_error(rebuilt)
        elif not quiet:
            say(f"{_because(rebuilt.changed)}{self._what(rebuilt)} in {rebuilt.seconds:.2f} s")

    def notes(self, notes: Sequence[str], count: int) -> None:
        """What is watched, once, and what was chosen for want of something else."""
        if self._show.quiet or self._show.as_json:
            return
        self._note(notes)
        sentence = f"watching {count} file{'' if count == 1 else 's'}; Ctrl-C ends"
        if not self._known & {"watching"}:
            self._known.add("watching")
            say(sentence)

    def ended(self, running: Restarting | None) -> None:
        """Say so where the program has ended by itself."""
        container = None if running is None else running.container
        if container is None or not container.ended(1) or container.id in self._known:
            return
        self._known.add(container.id)
        if not self._show.quiet:
            say(f"the program has ended with exit code {container.wait(1)}; the next change starts it again")

    def _what(self, rebuilt: Rebuilt) -> str:
        assert rebuilt.image is not None  # noqa: S101 - there is no error
        short = rebuilt.image.image_id[:12]
        return f"built {short} and started it" if rebuilt.restarted else f"built {short}"

    def _tell_error(self, rebuilt: Rebuilt) -> None:
        assert rebuilt.error is not None  # noqa: S101 - asked for
        say(f"{_because(rebuilt.changed)}failed")
        print_error(rebuilt.error, as_json=False, verbose=self._show.verbose)
        if rebuilt.container is not None and not self._show.quiet:
            say("the container before runs on")

    def _note(self, notes: Sequence[str]) -> None:
        for note in notes:
            if note not in self._known:
                self._known.add(note)
                say(f"note: {note}")


def _because(changed: Sequence[str]) -> str:
    import os

    if not changed:
        return ""
    names = [os.path.relpath(path) for path in changed[:_NAMED]]
    rest = len(changed) - len(names)
    return f"{', '.join(names)}{f' and {rest} more' if rest else ''} changed: "


def _answer(rebuilt: Rebuilt) -> dict[str, Any]:
    """The keys that `build` has of an image or of an error, and what was the reason."""
    own = named(rebuilt, "changed seconds restarted")
    own["container"] = None if rebuilt.container is None else rebuilt.container.id
    if rebuilt.error is not None:
        return {**error_answer(rebuilt.error), **own}
    assert rebuilt.image is not None  # noqa: S101 - one of the two
    return {**image_answer(rebuilt.image), **own}
