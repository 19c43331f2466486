"""What may not be said of an image where some of its files are only made by a build."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

from rootless_scratch.expressions import expression

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rootless_scratch.containerfile.document import Document, Instruction
    from rootless_scratch.containerfile.evaluated import Evaluated
    from rootless_scratch.findings import Finding
    from rootless_scratch.rules.containerfile.sheet import Sheet
    from rootless_scratch.rules.view import ImageView

_LIBRARIES: Final = ("/lib", "/lib32", "/lib64", "/usr", "/opt", "/etc/ld.so.cache")
_ANY: Final = ("/",)

_ABSENT: Final[dict[str, tuple[str, ...]]] = {
    "user-unknown": ("/etc/passwd",),
    "group-unknown": ("/etc/group",),
    "needs-loader": _LIBRARIES,
    "needs-libraries": _LIBRARIES,
    "library-passed-over": _LIBRARIES,
    "library-version-missing": _LIBRARIES,
    "opens-library": _LIBRARIES,
    "opens-gconv": _LIBRARIES,
    "needs-ca-certificates": ("/etc/ssl", "/etc/pki", "/usr", "/system"),
    "needs-time-zones": ("/usr", "/etc/zoneinfo"),
    "needs-tmp": ("/tmp",),  # noqa: S108 - in the image
    "needs-accounts": ("/etc/passwd",),
    "needs-nsswitch": ("/etc/nsswitch.conf",),
    "needs-services": ("/etc/services",),
    "needs-locale": ("/usr",),
    "needs-terminfo": ("/etc/terminfo", "/lib/terminfo", "/usr"),
    "needs-mime-types": ("/etc", "/usr"),
    **dict.fromkeys(
        (
            *("needs-runtime", "needs-data", "script-interpreter-missing", "venv-without-library", "needs-home"),
            *("script-env-program-missing", "needs-shell", "needs-other-programs", "placed-elsewhere"),
            *("not-executable", "not-readable", "metadata-not-kept"),
        ),
        _ANY,
    ),
}
"""By rule: where something might be that the finding says is not there."""

_BY_SUBJECT: Final = frozenset(
    {
        *("shell-form", "command-missing", "command-by-relative-path", "healthcheck-unusable", "run-in-scratch"),
        *("command-in-one-element", "working-directory-missing", "working-directory-unusable"),
        *("volume-missing", "volume-not-writable"),
    }
)
"""Rules whose subject is what is missing."""

_WILDCARD: Final = expression(r"[*?\[$]")


class Unbuilt:
    """The instructions of an image that bring what only a build makes, and the paths that they may bring.

    What could not be copied, by `refused`, would have been files of these names.
    """

    def __init__(
        self, document: Document, instructions: Iterable[Instruction], refused: Iterable[Instruction] = ()
    ) -> None:
        brought = (path for each in instructions for path in _brings(document, each))
        missed = (path for each in refused for path in _brings(None, each))
        self.paths = tuple(dict.fromkeys((*brought, *missed)))

    def may_bring(self, path: str) -> bool:
        """Whether one of them might bring this path, or something below it."""
        return any(_is_below(path, each) or _is_below(each, path) for each in self.paths)

    def named(self, name: str) -> str | None:
        """The path that one of them brings under this name."""
        return next((path for path in self.paths if posixpath.basename(path) == name), None)

    def certain(self, findings: Iterable[Finding], view: ImageView) -> Iterator[Finding]:
        """Those that hold whatever a build brings."""
        for each in findings:
            if not any(map(self.may_bring, _paths_of(each, view))):
                yield each


def refused_copies(evaluated: Evaluated) -> Iterator[Instruction]:
    """The COPY and ADD that could not be done, in all stages that were evaluated."""
    lines = {fault.span.line for fault in evaluated.faults}
    for stage in evaluated.document.stages if lines else ():
        for each in stage.instructions:
            if each.name in ("COPY", "ADD") and not lines.isdisjoint(range(each.span.line, each.last_line + 1)):
                yield each


def judge_unbuilt(unbuilt: Sequence[Instruction], sheet: Sheet) -> Iterator[Finding]:
    """Name the instructions of which not all is known."""
    for each in unbuilt:
        yield sheet.finding(
            "stage-not-built",
            "info",
            each,
            f"{each.name} brings files that only a build makes or pulls, so not all of the image is known.",
            "Build it: `build -f` judges all of it, before anything is written.",
        )


def _paths_of(finding: Finding, view: ImageView) -> tuple[str, ...]:
    subject = finding.subject
    if finding.rule == "command-not-in-path":
        return tuple(posixpath.join("/", each, subject) for each in view.config.search_path() if each)
    if finding.rule in _BY_SUBJECT:
        return (posixpath.join("/", view.config.working_dir, subject),)
    return _ABSENT.get(finding.rule, ())


def _brings(document: Document | None, instruction: Instruction) -> Iterator[str]:
    """The paths below which an instruction writes, from its text alone; without a document sources are files."""
    tokens = [token.raw.strip("\"'") for token in instruction.tokens]
    if instruction.name not in ("COPY", "ADD") or len(tokens) < _SOURCE_AND_DESTINATION:
        yield "/"
        return
    *sources, destination = tokens
    if _WILDCARD.search(destination) or not destination.startswith("/"):
        yield "/"
        return
    is_directory = destination.endswith("/")
    for source in sources:
        name = posixpath.basename(source)
        is_file = _is_program(document, instruction, name) if document else not _WILDCARD.search(name)
        if is_directory and is_file:
            yield posixpath.join(destination, name)
        else:
            yield posixpath.normpath(destination)


_SOURCE_AND_DESTINATION: Final = 2


def _is_program(document: Document, instruction: Instruction, name: str) -> bool:
    """Whether the stage that is copied from compiles a program of that name: `-o` of compilers, linkers and Go."""
    if not name or _WILDCARD.search(name):
        return False
    flag = instruction.flag("from")
    known = None if flag is None else (flag.value or "").lower()
    output = re.compile(rf"-o[ =]?(?:\S*/)?{re.escape(name)}(?=[\s;&|)]|$)")
    return any(
        each.name == "RUN" and output.search(each.text)
        for stage in document.stages
        if known in ((stage.name or "").lower(), str(stage.number))
        for each in stage.instructions
    )


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
