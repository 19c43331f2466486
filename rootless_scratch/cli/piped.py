"""`-` on the command line: a program that comes by stdin, an archive that goes to stdout."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from rootless_scratch.errors import HostError, RefusedError, ScratchError, UsageError
from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.findings import Finding

_ARCHIVES = ("oci-archive", "docker-archive")
_BLOCK = 1 << 20
_STDIN = expression(r"(?:-|/dev/stdin)(?=:/|\Z)")


def goes_to_stdout(output: str) -> bool:
    """Whether a value of -o is an archive that is streamed: `docker-archive:-`, `oci-archive:-:REF`."""
    transport, _, rest = output.partition(":")
    return transport in _ARCHIVES and rest.partition(":")[0] == "-"


@contextmanager
def to_stdout(outputs: Sequence[str], *, as_json: bool) -> Iterator[tuple[str, ...]]:
    """The values of -o, with a private file in place of stdout, which gets it whole once the block has ended well.

    What fails before leaves nothing on stdout. Raises UsageError where stdout is no place for it, HostError,
    BrokenPipeError.
    """
    streamed = [output for output in outputs if goes_to_stdout(output)]
    if not streamed:
        yield tuple(outputs)
        return
    if len(streamed) > 1:
        raise UsageError(
            f"{streamed[0]!r} and {streamed[1]!r} are both stdout.", fix="Write all but one to files of their own."
        )
    if as_json:
        raise UsageError(
            "--json prints on stdout, where the archive is to go.", fix="Leave out one of them, or name a file."
        )
    if os.isatty(sys.stdout.fileno()):
        raise UsageError(
            "Stdout is a terminal, which cannot show an archive.",
            fix="Send it on (`| podman load`), to a file (`> FILE`), or name the file in place of `-`.",
        )
    with _private() as directory:
        path = os.path.join(directory, "archive")
        yield tuple(_at(output, path) if goes_to_stdout(output) else output for output in outputs)
        sys.stdout.flush()
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                _write(sys.stdout.fileno(), block)


class Programs(NamedTuple):
    """The arguments PROGRAM, and the private file in place of stdin, where there is one."""

    arguments: tuple[str, ...]
    path: str | None = None

    def renamed(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """Findings that call the file `-`, for nobody can look at it any more."""
        from msgspec.structs import replace

        texts = ("subject", "message", "fix")
        return tuple(
            replace(each, **{name: getattr(each, name).replace(self.path or "-", "-") for name in texts})
            for each in findings
        )


@contextmanager
def from_stdin(programs: Sequence[str], names: Sequence[str]) -> Iterator[Programs]:
    """The arguments PROGRAM, with a private file in place of `-` or `/dev/stdin[:DEST]`, with what stdin had.

    Its name, and by that DEST, is that of the image. Raises UsageError, HostError; in the text of each error of
    the block the file is called `-`.
    """
    piped = [program for program in programs if _STDIN.match(program)]
    if not piped:
        yield Programs(tuple(programs))
        return
    if len(piped) > 1:
        raise UsageError("Stdin can be one program, and not two.", fix="Name the others by their files.")
    if os.isatty(sys.stdin.fileno()):
        raise UsageError(
            "Stdin is a terminal, and no program.", fix="Send the program: `build - -t NAME < PROGRAM`."
        )
    with _private() as directory:
        path = os.path.join(directory, _name(piped[0], names))
        _receive(path)
        found = Programs(tuple(_STDIN.sub(lambda _: path, program) for program in programs), path)
        try:
            yield found
        except RefusedError as error:
            raise RefusedError(found.renamed(error.findings)) from error
        except ScratchError as error:
            error.message, error.fix = error.message.replace(path, "-"), error.fix.replace(path, "-")
            raise


def _at(output: str, path: str) -> str:
    transport, _, rest = output.partition(":")
    return f"{transport}:{path}{rest[1:]}"


def _name(program: str, names: Sequence[str]) -> str:
    from rootless_scratch.image.names import image_name

    if ":" in program:
        return os.path.basename(program.rstrip("/")) or "program"
    if not names:
        raise UsageError(
            "A program from stdin has no name that says where it goes.",
            fix="Pass `-t NAME`, which makes it /NAME, or `/dev/stdin:/PATH` in place of `-`.",
        )
    return image_name(names[0]).rpartition(":")[0].rpartition("/")[2]


@contextmanager
def _private() -> Iterator[str]:
    from rootless_scratch.host.environment import private_temporary, tool_environment

    with private_temporary(tool_environment().variables) as made:
        yield made.path


def _receive(path: str) -> None:
    from rootless_scratch.sparse import write_all

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755)
    try:
        while block := os.read(sys.stdin.fileno(), _BLOCK):
            write_all(descriptor, block)
    except OSError as error:
        raise HostError(
            f"The program from stdin cannot be kept: {error.strerror}.",
            fix="Set TMPDIR to a directory of your own with enough room.",
        ) from error
    finally:
        os.close(descriptor)


def _write(descriptor: int, block: bytes) -> None:
    """Write all of it, also to a pipe that somebody has made non-blocking."""
    import select

    view = memoryview(block)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
