"""The entry point: starts what takes long, finds the verb, and turns errors into a cause, a fix and an exit code.

What is imported at the top is all that stands between the user and the start of a build's worker; everything
else is loaded while that comes up.
"""

from __future__ import annotations

import errno
import os
import sys

from rootless_scratch import __version__
from rootless_scratch.errors import HostError, ScratchError, UsageError
from rootless_scratch.troubles import limit_met, trouble_met

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from typing import NoReturn

    from click import ClickException

    from rootless_scratch.backends.session import Session
    from rootless_scratch.backends.storing import Storing
    from rootless_scratch.cli.lean_arguments import Plain
    from rootless_scratch.cli.show import Show
    from rootless_scratch.engine.container.opening import Opening
    from rootless_scratch.keywords import Options
else:
    # Where it is defined: `signal` itself takes 2 ms to import.
    import _signal

EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + 2
EXIT_BROKEN_PIPE = 128 + 13
"""128 and the signal, as a shell says it: SIGINT, SIGPIPE."""

_CONTAINED = {"run", "debug"}
"""Verbs whose exit codes are those of a program in a container."""

_PLAIN = {"build", "run"}
"""Verbs whose ordinary arguments are read without click."""

_NO_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""What a write to stdout fails with; other errors have nothing to do with what is printed."""

_NAMING = ("--url", "--connection", "--keep-service")
"""They name another service than the usual one of ours; a program that has such an option only starts later."""

_WIDEST = 100
"""Columns of help."""

_VERBOSE = {"-v", "-V", "--verbose"}
_NOTHING_BEGUN = {"-h", "--help", "--dry-run", "--unpacked"}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code that the contract names."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _heed_interrupts()
        _open_standard_streams()
        _read_names_as_utf8()
        begun = _begin_early(argv)
        try:
            code = _run(argv, begun)
        finally:
            if begun is not None:
                begun.close()
    except KeyboardInterrupt:
        # While something was being imported, or taken back. All is over, and another one would find nobody.
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
        code = EXIT_INTERRUPTED
    except (OSError, MemoryError, RuntimeError) as error:
        code = _out_of(error, argv)
    _leave(code)


def _heed_interrupts() -> None:
    """From here on SIGINT is an exception; where a caller ignores it, that stays."""
    if callable(_signal.getsignal(_signal.SIGINT)):
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def _run(argv: list[str], begun: Session | Storing | Opening | None) -> int:
    try:
        if argv == ["--version"]:
            # Asked by scripts before everything else; click would take longer than all of Python.
            sys.stdout.write(f"rootless-scratch {__version__}\n")
            code = 0
        else:
            code = _run_verb(argv, begun)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # The reader of our stdout has gone (click makes a SystemExit of that); nothing can be flushed at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_BROKEN_PIPE
    except OSError as error:
        if error.errno not in _NO_OUTPUT or error.filename is not None:
            raise
        code = _unwritable(error, argv)
    return code


def _run_plainly(argv: list[str], begun: Session | Storing | Opening | None) -> int | None:
    """What needs no click for its arguments, which takes as long as Python itself; None for all else."""
    is_run = argv[0] == "run"
    if is_run:
        from rootless_scratch.cli.lean_run import plain_run

        plain = plain_run(argv[1:])
    else:
        from rootless_scratch.cli.lean_build import plain_build

        plain = plain_build(argv[1:])
    if plain is None:
        return None
    # Where a caller ignores it the kernel reaps our children itself, and their exit codes are lost.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    try:
        return (_run_image if is_run else _build)(plain, begun)
    except ScratchError as error:
        return _tell(error, plain.show, argv)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _run_image(plain: Plain, begun: Session | Storing | Opening | None) -> int:
    from rootless_scratch.cli.running import run_shown
    from rootless_scratch.engine.request.request import Request
    from rootless_scratch.image.kinds import options_set

    options: Options = options_set(Request.options.values(), plain.values)  # type: ignore[assignment] # of its rows
    image, *arguments = plain.others
    return run_shown(image, tuple(arguments), options, plain.show, begun)  # type: ignore[arg-type] # of a run


def _build(plain: Plain, begun: Session | Storing | Opening | None) -> int:
    from rootless_scratch.cli.building import build_shown

    return build_shown(plain.values, plain.show, begun)  # type: ignore[arg-type] # of a build


def _tell(error: ScratchError, show: Show, argv: list[str]) -> int:
    """Show the error of a verb, and return its exit code."""
    from rootless_scratch.cli.output import print_error

    # A limit of this process tells more than whatever could not be done because of it.
    trouble = trouble_met(error)
    is_named = trouble is None or trouble.cause[1:] in error.message
    shown = error if trouble is None or is_named else trouble.error(error.message)
    print_error(shown, as_json=show.as_json, verbose=show.verbose)
    return _exit_code(shown, argv)


def _run_verb(argv: list[str], begun: Session | Storing | Opening | None) -> int:
    code = _run_plainly(argv, begun) if argv and argv[0] in _PLAIN else None
    if code is not None:
        return code
    from rootless_scratch.cli.lean import import_click, import_msgspec

    import_click()
    if begun is not None:
        # Verbs import it where they begin, and what is imported for these may before that.
        import_msgspec()
    import click

    from rootless_scratch.cli.output import tell
    from rootless_scratch.cli.show import VerbError
    from rootless_scratch.cli.verbs import cli

    # Where a caller ignores it the kernel reaps our children itself, and their exit codes are lost.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    try:
        outcome = cli.main(
            argv, prog_name="rootless-scratch", standalone_mode=False, obj=begun, terminal_width=_columns()
        )
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except VerbError as failed:
        return _tell(failed.error, failed.show, argv)
    except click.exceptions.NoArgsIsHelpError as help_asked:
        tell(help_asked.format_message())
        outcome = EXIT_USAGE
    except click.ClickException as error:
        return _usage(error, argv)
    except ScratchError as error:
        return _report(error, argv)
    except (KeyboardInterrupt, click.exceptions.Abort):
        outcome = EXIT_INTERRUPTED
    return outcome if isinstance(outcome, int) else 0


def _columns() -> int:
    """How wide help is: as click has it, which would import shutil for it."""
    text = os.environ.get("COLUMNS", "")
    columns = int(text) if text.isascii() and text.isdigit() else 0
    if not columns:
        try:
            columns = os.get_terminal_size(1).columns
        except OSError:
            columns = 0
    return max(min(columns or 80, _WIDEST) - 2, 50)


def _out_of(error: OSError | MemoryError | RuntimeError, argv: list[str]) -> int:
    """The host stood in the way of something that no verb answers for."""
    found = limit_met(error) or (_of_host(error) if isinstance(error, OSError) else None)
    if found is None:
        raise error
    try:
        return _report(found, argv)
    except OSError:
        # There is no descriptor left to load anything.
        os.write(2, f"rootless-scratch: {found.message}\n  fix: {found.fix}\n".encode(errors="replace"))
        return 125 if _CONTAINED.intersection(argv[:1]) else 1


def _of_host(error: OSError) -> HostError:
    try:
        os.getcwd()
    except OSError:
        return HostError("The working directory is gone.", fix="Change to one that exists (`cd`).")
    where = "" if error.filename is None else f" ({error.filename!r})"
    return HostError(
        f"This host does not allow it: {error.strerror or error}{where}.",
        fix="See what `rootless-scratch doctor` says; HOME, TMPDIR and XDG_STATE_HOME say where files are kept.",
    )


def _unwritable(error: OSError, argv: list[str]) -> int:
    """What is printed found no room; whoever reads stderr, if anybody can, is told."""
    sentence = (
        f"rootless-scratch: The output cannot be written: {error.strerror}.\n  fix: Make room where it goes.\n"
    )
    # What is still buffered would fail again at the end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    try:
        os.write(2, sentence.encode())
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    return 125 if _CONTAINED.intersection(argv[:1]) else 1


def _leave(code: int) -> NoReturn:
    """Exit without taking the interpreter apart, which costs 5 ms and undoes nothing that the kernel does not."""
    try:
        sys.stdout.flush()
    except OSError:
        code = code or 1
    try:
        sys.stderr.flush()
    except OSError:
        # Nobody can be told, and no result is lost.
        os._exit(code)
    os._exit(code)


def _begin_early(argv: list[str]) -> Session | Storing | Opening | None:
    """What takes long comes up while click and the program are read; what hinders it is told later."""
    if not argv or _NOTHING_BEGUN.intersection(argv):
        return None
    try:
        if argv[0] == "build" and not _runs_stages(argv):
            return _begin_build(argv)
        if argv[0] in _CONTAINED and not any(argument.startswith(_NAMING) for argument in argv):
            from rootless_scratch.engine.container.opening import Opening

            return Opening()
    except (HostError, UsageError):
        return None
    return None


def _begin_build(argv: list[str]) -> Session | Storing | None:
    """What brings the image into storage, as far as can be seen what that is."""
    from rootless_scratch.image.write.hints import hint_of, is_kept

    if not _is_direct(argv):
        from rootless_scratch.backends.session import Session

        hint = hint_of(argv)
        # What is likely to be known needs no worker.
        return Session("build", hint=hint, postponed=is_kept(hint))
    short, long = "-t", "--tag"
    named = (argv[at + 1] for at, each in enumerate(argv[:-1]) if each in (short, long))
    name = next(named, None) or next((each[len(long) + 1 :] for each in argv if each.startswith(f"{long}=")), None)
    if name is None:
        return None
    from rootless_scratch.backends.storing import Storing
    from rootless_scratch.image.names import image_name

    try:
        hint = hint_of(argv)
        # As above: skopeo has nothing to do where what is likely is so.
        return Storing(image_name(name), hint=hint, postponed=is_kept(hint))
    except UsageError:
        return None


def _is_direct(argv: list[str]) -> bool:
    """Whether this build, as far as can be seen, needs no worker; one that is missing then is started later."""
    if "--backend" in argv[:-1]:
        return argv[argv.index("--backend") + 1] == "direct"
    return "--backend=direct" in argv or any(
        each.startswith("--output") or (each.startswith("-o") and not each.startswith("--")) for each in argv
    )


def _runs_stages(argv: list[str]) -> bool:
    """Whether this builds a Containerfile with RUN, whose stages another process may have to build first."""
    named = next((argv[at + 1] for at, each in enumerate(argv[:-1]) if each in ("-f", "--file")), None)
    named = next((each.partition("=")[2] for each in argv if each.startswith("--file=")), named)
    if named is None or not os.path.isfile(named):
        return False
    try:
        with open(named, "rb") as file:
            return any(line.lstrip()[:4].upper().rstrip() == b"RUN" for line in file.readlines(1 << 20))
    except OSError:
        return False


def _open_standard_streams() -> None:
    """A caller may have closed some (`>&-`); a pipe of ours must not take their numbers, nor Python lack them."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "w" if number else "r"))


def _read_names_as_utf8() -> None:
    """Names in images are bytes, and no locale may change them: start once more with UTF-8 where it is another.

    By the very arguments that started us: `-m` would import from the working directory where a script does not.
    """
    if sys.getfilesystemencoding().lower() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    argv = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    os.execve(  # noqa: S606 - this very program
        sys.executable, [os.fsencode(argument) for argument in argv], os.environ | {"PYTHONUTF8": "1"}
    )


def _usage(error: ClickException, argv: Sequence[str]) -> int:
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "rootless-scratch"
    # click puts each of several choices into a line of its own.
    message = error.format_message().replace("\n\t", " ")
    return _report(UsageError(message, fix=f"See `{where} --help`."), argv)


def _report(error: ScratchError, argv: Sequence[str]) -> int:
    """Show an error of the arguments themselves: those behind the image of a `run` are not for us."""
    from rootless_scratch.cli.output import print_error

    own = _own_arguments(argv)
    print_error(error, as_json="--json" in own, verbose=not _VERBOSE.isdisjoint(own))
    return _exit_code(error, argv)


def _own_arguments(argv: Sequence[str]) -> list[str]:
    """The arguments up to `--`, or up to the image of a `run`."""
    own = list(argv[: argv.index("--")] if "--" in argv else argv)
    if argv[:1] != ["run"]:
        return own
    import contextlib

    from rootless_scratch.cli.run import command
    from rootless_scratch.cli.run_arguments import as_options, own_count

    own = list(argv[1:])
    # Where they cannot be understood, that is what is being reported.
    with contextlib.suppress(UsageError):
        own = as_options(own, command.takes_value)
    return own[: own_count(own, command.takes_value)]


def _exit_code(error: ScratchError, argv: Sequence[str]) -> int:
    if isinstance(error, UsageError):
        return EXIT_USAGE
    if _CONTAINED.intersection(argv[:1]):
        from rootless_scratch.cli.running import exit_code_of

        return exit_code_of(error)
    return 1
