"""Every error of this package; each carries one sentence of cause and one of fix.

ScratchError
├── UsageError             the arguments of a call are wrong (command line: exit 2)
├── SpecError              what was asked for contradicts itself or the rules of image content
│   └── SpecFileError        ... or a scratch.toml cannot be read as one: all its faults
├── SourceError            a file of the host is missing, unreadable, or changed while it was read
│   └── LimitError           ... or an image costs more to read than a limit allows
├── ElfError               bytes that claim to be an ELF file and are not readable as one
├── RefusedError           findings of severity `error`: the image would not start, so it is not built
├── HostError              this host lacks a right or a setting that the operation needs
│   └── ToolMissingError   ... or a program
├── CommandError           another program failed
│   └── CommandTimeoutError  ... or did not end in time
├── BuildError             the image could not be written
├── RegistryError          a registry cannot be reached, or refused the image
├── CacheError             what was asked for is built, and a cache of others could not be written
├── ImageNotFoundError     no image of that name in local storage
└── EngineError            the podman service cannot be reached, or refused
    ├── EngineTimeoutError   what was waited for did not come in time
    ├── EndedEarlyError      the program ended before it was ready
    ├── CannotInvokeError    the image's program is there but cannot be executed (run: exit 126)
    └── CommandNotFoundError the image's program is not there (run: exit 127)
"""

from __future__ import annotations

from rootless_scratch.data import Value

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, ClassVar

    from rootless_scratch.findings import Finding


def redacted(text: str, *, in_place: bool = False) -> str:
    """The text with `***` for the passwords in its URLs (RFC 3986, 3.2.1): errors end in logs that others read.

    A password with a slash in it, which no URL should have, takes what follows to the last `@` with it. With
    `in_place` there are as many asterisks as it has characters: what stands behind it keeps its column.
    """
    if "://" not in text or "@" not in text:
        return text
    import re

    def hide(found: re.Match[str]) -> str:
        return f"{found[1]}:{'*' * (len(found[0]) - len(found[1]) - 2) if in_place else '***'}@"

    return re.sub(r"(://[^\s:@/'\"]*):(?:[^\s/'\"]*|(?!\d+/)[^\s'\"]*)@", hide, text)


def did_you_mean(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """The fix for a name that is none of those known: the nearest of them, or `otherwise` where none is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]!r}?" if near else otherwise


class ScratchError(Exception):
    """Base of all errors here: `message` says what happened, `fix` what to do, `kind` names it in JSON.

    `detail` is what another program said, where it says more than the message. None of them has a password.
    """

    kind: ClassVar[str] = "error"
    rule = ""
    """That of doctor for the cause, where the host is to blame and it is known."""

    def __init__(self, message: str, *, fix: str, detail: str = "") -> None:
        self.message = redacted(message)
        self.fix = redacted(fix)
        self.detail = redacted(detail)
        super().__init__(self.message)

    def __str__(self) -> str:
        """The cause and the fix, as the command line has them: all that a traceback shows."""
        return f"{self.message}\n  fix: {self.fix}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as it is, so that it crosses from a process of a pool: the constructors take other arguments."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[ScratchError], args: tuple[str, ...], state: dict[str, Any]) -> ScratchError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class UsageError(ScratchError):
    """The arguments of a call are wrong."""

    kind = "usage"


class SpecError(ScratchError):
    """What was asked for contradicts itself or the rules of image content."""

    kind = "spec"


class Fault(Value):
    """What is wrong with one key or value of a file; `key` is empty where the file is not TOML."""

    path: str
    line: int
    column: int
    key: str
    message: str
    fix: str

    def __str__(self) -> str:
        """Where it is, as compilers and editors have it, and what is wrong there."""
        return f"{self.path}:{self.line}:{self.column}: {f'{self.key}: ' if self.key else ''}{self.message}"


class SpecFileError(SpecError):
    """A file of options has keys or values that it may not have; `faults` are all, in its order."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(
            " ".join(map(str, self.faults)),
            fix=" ".join(dict.fromkeys(fault.fix for fault in self.faults)),
        )


class SourceError(ScratchError):
    """A file of the host is missing, unreadable, or changed while it was read."""

    kind = "source"


class LimitError(SourceError):
    """An image costs more to read than a limit allows, which the message names."""

    kind = "limit"


class ElfError(ScratchError):
    """Bytes that claim to be an ELF file and are not readable as one."""

    kind = "elf"


class RefusedError(ScratchError):
    """The image would not start, so it is not built; `findings` holds every judgement made."""

    kind = "refused"

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        errors = [finding for finding in self.findings if finding.severity == "error"]
        super().__init__(
            " ".join(finding.message for finding in errors),
            fix=" ".join(dict.fromkeys(finding.fix for finding in errors)),
        )


class HostError(ScratchError):
    """This host lacks a right or a setting that the operation needs."""

    kind = "host"

    def __init__(self, message: str, *, fix: str, detail: str = "", rule: str = "") -> None:
        super().__init__(message, fix=fix, detail=detail)
        self.rule = rule


class ToolMissingError(HostError):
    """A program that the operation needs is not in PATH."""

    kind = "tool-missing"


class CommandError(ScratchError):
    """Another program failed: `argv` replays it, `stderr` holds the end of what it said."""

    kind = "command"

    def __init__(
        self, message: str, *, fix: str, argv: Sequence[str] = (), exit_code: int = 0, stderr: str = ""
    ) -> None:
        super().__init__(message, fix=fix, detail=stderr)
        self.argv = tuple(redacted(argument) for argument in argv)
        self.exit_code = exit_code
        self.stderr = self.detail

    def replay(self) -> str:
        """One line that a shell runs again."""
        import shlex

        return shlex.join(self.argv)


class CommandTimeoutError(CommandError):
    """Another program did not end in time and was ended."""

    kind = "command-timeout"


class BuildError(ScratchError):
    """The image could not be written; nothing of it stays."""

    kind = "build"


class RegistryError(ScratchError):
    """A registry cannot be reached, or refused the image; no tag was set or moved."""

    kind = "registry"


class CacheError(ScratchError):
    """What was asked for is built, and a cache of others could not be written; `image` is a single one."""

    kind = "cache"
    image: Any

    def __init__(self, message: str, *, fix: str, detail: str = "", image: object = None) -> None:
        super().__init__(message, fix=fix, detail=detail)
        self.image = image


class ImageNotFoundError(ScratchError):
    """No image of that name in local storage."""

    kind = "image-not-found"


class EngineError(ScratchError):
    """The podman service cannot be reached, or refused.

    `explanation` is what the rules say on why, where they have one, `image` what was to be started: of a list the
    ID of its member.
    """

    kind = "engine"
    explanation: Finding | None = None
    image: str | None = None


class CannotInvokeError(EngineError):
    """The image's program is there but cannot be executed."""

    kind = "cannot-invoke"


class CommandNotFoundError(EngineError):
    """The image's program is not there."""

    kind = "command-not-found"


class EngineTimeoutError(EngineError):
    """What was waited for did not come in time; `detail` is the end of what the program said."""

    kind = "engine-timeout"


class EndedEarlyError(EngineError):
    """The program ended before it was ready; `detail` is the end of what it said, `last_words` that of stderr."""

    kind = "ended-early"

    def __init__(
        self,
        message: str,
        *,
        fix: str,
        exit_code: int,
        last_words: bytes,
        out_of_memory: bool = False,
        detail: str = "",
    ) -> None:
        super().__init__(message, fix=fix, detail=detail)
        self.exit_code = exit_code
        self.last_words = last_words
        self.out_of_memory = out_of_memory
