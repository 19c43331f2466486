"""`--fix`: the Containerfile with what is found wrong about it corrected."""

from __future__ import annotations

import json
import os
import re
import stat
from typing import TYPE_CHECKING

from rootless_scratch.containerfile.fixing import Judged, fixed, missing_options, with_corrections
from rootless_scratch.containerfile.own_options import with_options
from rootless_scratch.containerfile.request import STDIN
from rootless_scratch.data import Data
from rootless_scratch.errors import BuildError, UsageError
from rootless_scratch.rules.image.needs import essential_of
from rootless_scratch.verbs.check_file import check_file
from rootless_scratch.verbs.file_parts import document_of, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rootless_scratch.containerfile.request import FileRequest
    from rootless_scratch.findings import Finding

_LIBRARIES = "--bundle-libraries"


class FixedFile(Data):
    """A Containerfile by its path, its text before and after, and what is still found about it."""

    path: str
    before: str
    after: str
    findings: tuple[Finding, ...] = ()

    @property
    def diff(self) -> str:
        """What changes, in the unified format that patch(1) takes; empty where nothing does."""
        import difflib

        # Not splitlines(): patch(1) knows no other line breaks, and each of those would begin a line of its own.
        before, after = (re.findall(r"[^\n]*\n|[^\n]+", text) for text in (self.before, self.after))
        name = self.path if self.path.isprintable() else json.dumps(self.path)
        changes = difflib.unified_diff(before, after, name, name)
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in changes
        )


def fix_file(request: FileRequest, options: Mapping[str, object]) -> FixedFile:
    """What `check -f` can correct; nothing is written. Raises UsageError for stdin, and what `check_file` does."""
    if request.file == STDIN or stat.S_ISFIFO(_mode(request.file)):
        what = "stdin" if request.file == STDIN else "a pipe"
        raise UsageError(f"A Containerfile from {what} cannot be written back.", fix="Name a file after -f.")
    path, mark, text = _read(request)

    def judge(text: str) -> Judged:
        found = check_file(request, options, document=document_of(text, path)).findings
        return Judged(found, options_for(found))

    done = fixed(text, judge)
    return FixedFile(path, mark + text, mark + done.text, done.findings)


def fix_refused(request: FileRequest, findings: tuple[Finding, ...]) -> FixedFile:
    """What can be corrected of what a build of the file was refused for; nothing is written."""
    path, mark, text = _read(request)
    after = with_corrections(text, findings)
    if after == text:
        missing = missing_options(text, options_for(findings))
        after = with_options(text, missing) if missing else text
    return FixedFile(path, mark + text, mark + after, findings)


def options_for(findings: Iterable[Finding]) -> tuple[str, ...]:
    """The options that mend what no line of the file can: libraries of this host, and essentials."""
    found = tuple(findings)
    essentials = {name for each in found if each.severity != "info" and (name := essential_of(each)) is not None}
    libraries = [_LIBRARIES] if any(_LIBRARIES in each.fix for each in found if each.severity == "error") else []
    return (*libraries, *(f"--with={name}" for name in sorted(essentials)))


def write_fixed(fix: FixedFile) -> None:
    """Give the file its corrected text, whole or not at all, with the mode that it has.

    Raises BuildError, also where the file is no longer what it was.
    """
    from rootless_scratch.image.write.temporary import Temporary

    # A link stays one.
    path = os.path.realpath(fix.path)
    try:
        with open(path, "rb") as file:
            if file.read() != _encoded(fix.before):
                raise BuildError(
                    f"{fix.path!r} changed while its correction was made.",
                    fix="Run it again when nobody edits it.",
                )
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        with Temporary(os.path.dirname(path)) as written:
            written.write(_encoded(fix.after))
            os.fchmod(written.descriptor, mode)
            written.rename(path)
    except OSError as error:
        raise BuildError(
            f"{fix.path!r} cannot be written: {error.strerror or error}.",
            fix="Apply the change that was shown by hand, e.g. with patch(1).",
        ) from error


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0


def _read(request: FileRequest) -> tuple[str, str, str]:
    """Path, byte order mark and text of the file."""
    path, text = read_text(request)
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    return path, mark, text.removeprefix(mark)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
