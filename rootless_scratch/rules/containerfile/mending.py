"""What to write in a Containerfile so that a finding about its image goes away."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.image.rootfs import Directory, File
from rootless_scratch.rules.access import number
from rootless_scratch.rules.advice import shown
from rootless_scratch.rules.containerfile.sheet import Sheet, exec_array
from rootless_scratch.rules.image.commands import command_path, exec_form
from rootless_scratch.rules.view import files_named, similar_file

if TYPE_CHECKING:
    from rootless_scratch.containerfile.document import Instruction, Span
    from rootless_scratch.containerfile.evaluated import Evaluated
    from rootless_scratch.findings import Finding
    from rootless_scratch.rules.containerfile.unbuilt import Unbuilt
    from rootless_scratch.rules.view import ImageView

_USER: Final = "65532:65532"
_SHELL_ARGV: Final = 3
_USUAL: Final = {
    "needs-ca-certificates": (
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/certs/",
    ),
    "needs-time-zones": ("/usr/share/zoneinfo", "/usr/share/zoneinfo"),
    "needs-accounts": ("/etc/passwd", "/etc/passwd"),
    "needs-mime-types": ("/etc/mime.types", "/etc/mime.types"),
    "needs-services": ("/etc/services", "/etc/services"),
}
"""By rule: what the usual stages have, and where COPY brings it."""


def meant_command(view: ImageView) -> tuple[str, ...] | None:
    """The command that was meant, where the one of the image leads to no file, and another is the likeliest."""
    argv = view.config.argv()
    path = command_path(view, argv[0]) if argv else None
    if not argv or (path is not None and view.tree.resolve(path) is not None):
        return None
    if len(argv) >= _SHELL_ARGV and argv[1] == "-c":
        meant = exec_form(view, argv[2])
        return tuple(meant) if meant and view.is_file(meant[0]) else None
    parts = _one_element(argv[0], view)
    if parts:
        return (*parts, *argv[1:])
    same = files_named(view, posixpath.basename(argv[0]))
    return (same[0], *argv[1:]) if same else None


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One finding before it is mended: the image, and the instruction that it is due to."""

    evaluated: Evaluated
    view: ImageView
    sheet: Sheet
    instruction: Instruction
    unbuilt: Unbuilt

    def span_of(self, rule: str) -> Span:
        """What is underlined: the arguments where they are wrong, else the whole instruction."""
        if rule in MENDERS and self.instruction.name not in ("COPY", "ADD", "FROM"):
            return self.sheet.arguments(self.instruction)
        return self.instruction.span

    def mended(
        self, finding: Finding, fix: str, span: Span | None = None, corrected: str | None = None
    ) -> Finding:
        """The finding with its line and its fix."""
        location = self.sheet.location(span or self.span_of(finding.rule), corrected)
        return msgspec.structs.replace(finding, fix=fix, location=location)


def _shell_form(finding: Finding, case: Case) -> Finding:
    config = case.evaluated.config
    argv = config.entrypoint if case.instruction.name == "ENTRYPOINT" else config.cmd
    text = argv[2] if argv and len(argv) >= _SHELL_ARGV else ""
    instead = exec_form(case.view, text)
    if instead and "/" not in instead[0]:
        instead[0] = case.unbuilt.named(instead[0]) or instead[0]
    span = case.sheet.arguments(case.instruction)
    if not instead:
        return case.mended(
            finding,
            "Write it in exec form, a JSON array that begins with the program's absolute path; what the shell "
            "did, the program must do itself.",
            span,
        )
    array = exec_array(instead)
    fix = f"Write it in exec form: `{case.instruction.name} {_short(array)}`."
    return case.mended(finding, fix, span, case.sheet.replaced(span, array))


def _command(finding: Finding, case: Case) -> Finding | None:
    """The first string of an exec form."""
    instruction = case.instruction
    if instruction.exec_form is None or not instruction.tokens:
        return None
    span = instruction.tokens[0].span
    parts = _one_element(finding.subject, case.view)
    if parts:
        array = ", ".join(map(_quoted, parts))
        fix = f"Give each argument a string of its own: `{_short(array)}`."
        mended = case.mended(finding, fix, span, case.sheet.replaced(span, array))
        message = f"{shown(finding.subject)} is one string, and so the name of one program that the image does "
        message += "not have; in exec form nobody splits it into a command and its arguments."
        return msgspec.structs.replace(mended, rule="command-in-one-element", message=message)
    meant: str | None
    if finding.rule == "command-by-relative-path":
        path = posixpath.normpath(posixpath.join("/", case.view.config.working_dir, finding.subject))
        meant = path if case.view.is_file(path) else None
    elif finding.rule == "command-is-directory":
        meant = None
    else:
        name = posixpath.basename(finding.subject)
        meant = case.unbuilt.named(name) or similar_file(case.view, finding.subject)
    if meant is None:
        fix = "Copy the program to that path, or name the one that is meant by its absolute path."
        return case.mended(finding, fix, span)
    is_same = posixpath.basename(meant) == posixpath.basename(finding.subject)
    begin = "Name it by its absolute path" if is_same else f"Did you mean {shown(meant)}? Then write"
    fix = f"{begin}: `{instruction.name} {_short(exec_array((meant, *instruction.exec_form[1:])))}`."
    return case.mended(finding, fix, span, case.sheet.replaced(span, _quoted(meant)) if is_same else None)


def _one_element(text: str, view: ImageView) -> list[str]:
    """The arguments that were written as one string; [] where its first part is not a program of the image."""
    if " " not in text.strip():
        return []
    parts = exec_form(view, text.strip())
    if not parts or not view.is_file(parts[0]):
        return []
    return parts


def _repeated(finding: Finding, case: Case) -> Finding | None:
    instruction = case.instruction
    if instruction.name != "CMD" or instruction.exec_form is None:
        return None
    rest = instruction.exec_form[1:]
    if not rest:
        return case.mended(finding, "Remove the line: the entrypoint already is the program.")
    span = case.sheet.arguments(instruction)
    array = exec_array(rest)
    return case.mended(
        finding, f"Give the arguments alone: `CMD {_short(array)}`.", span, case.sheet.replaced(span, array)
    )


def _healthcheck(finding: Finding, case: Case) -> Finding | None:
    inner = case.instruction.inner
    if inner is None or not inner.tokens:
        return None
    span = case.sheet.arguments(inner)
    check = case.evaluated.config.healthcheck
    text = " ".join(check[1:]) if check[:1] == ("CMD-SHELL",) else ""
    argv = exec_form(case.view, text) if text else []
    if argv and case.view.is_file(argv[0]):
        array = exec_array(argv)
        fix = f"Write it in exec form: `HEALTHCHECK CMD {_short(array)}`."
        return case.mended(finding, fix, span, case.sheet.replaced(span, array))
    return case.mended(finding, finding.fix, span)


def _user(finding: Finding, case: Case) -> Finding:
    if case.instruction.name != "USER":
        return case.mended(finding, finding.fix)
    user, _, group = case.view.config.user.partition(":")
    numbers = f"{user if number(user) is not None else 65532}:{group if number(group) is not None else 65532}"
    if finding.rule == "id-too-high" or numbers == case.view.config.user:
        numbers = _USER
    file = "group" if finding.rule == "group-unknown" else "passwd"
    also = f", or copy an /etc/{file} that has the name" if finding.rule != "id-too-high" else ""
    span = case.sheet.arguments(case.instruction)
    fix = f"Give it by numbers: `USER {numbers}`{also}."
    return case.mended(finding, fix, span, case.sheet.replaced(span, numbers))


def _volume(finding: Finding, case: Case) -> Finding:
    entry = case.view.tree.resolve(finding.subject)
    owner = _owner(case)
    if finding.rule == "volume-unusable":
        return case.mended(finding, "Name the directory of persistent data, e.g. `VOLUME /data`.")
    if isinstance(entry, Directory):
        fix = f"Bring the directory by `COPY --chown={owner}`, or by `WORKDIR` behind `USER {owner}`."
        return _chowned(finding, case, entry, owner, fix)
    fix = (
        f"Make it in the image: `WORKDIR {shown(finding.subject)}` behind `USER`, then the WORKDIR that is meant."
    )
    before = _workdir_before(case)
    user = case.evaluated.settled.get("user")
    is_after = user is None or user.span.line < case.instruction.span.line
    if before is None or not is_after or case.instruction.name != "VOLUME":
        return case.mended(finding, fix)
    span = case.instruction.span
    lines = case.sheet.followed(span, f"WORKDIR {before}")
    return case.mended(finding, fix, span, f"WORKDIR {finding.subject}\n{lines}")


def _workdir_before(case: Case) -> str | None:
    """The working directory that holds where an instruction stands; None where that is not to be seen."""
    last = case.evaluated.settled.get("workdir")
    if last is not None and last.span.line < case.instruction.span.line:
        return case.evaluated.config.workdir
    before = [
        each
        for each in case.evaluated.steps
        if each.name == "WORKDIR" and each.span.line < case.instruction.span.line
    ]
    if not before:
        return "/" if case.sheet.document.stages and case.evaluated.stage.base.raw == "scratch" else None
    text = before[-1].text
    return text if text.startswith("/") and "$" not in text else None


def _chowned(finding: Finding, case: Case, entry: Directory, owner: str, fix: str) -> Finding:
    brought = case.evaluated.brought.get(entry.path)
    if brought is None or brought.name != "COPY" or brought.flag("chown") is not None:
        return case.mended(finding, fix)
    span, line = case.sheet.flagged(brought, f"--chown={owner}")
    return case.mended(finding, fix, span, line)


def _owner(case: Case) -> str:
    account = case.view.account
    if account.uid is None:
        return _USER
    return f"{account.uid}:{account.uid if account.gid is None else account.gid}"


def _mode(finding: Finding, case: Case) -> Finding:
    """A single file by its own mode; of a directory that is copied nobody but its owner knows."""
    copied = case.instruction
    fix = f"Give it the mode 0755, e.g. by `COPY --chmod=0755`{_depends(finding)}."
    entry = case.view.tree.resolve(finding.subject)
    if copied.name not in ("COPY", "ADD"):
        return case.mended(finding, fix)
    flag = copied.flag("chmod")
    if flag is not None:
        return case.mended(finding, fix, flag.span, case.sheet.replaced(flag.span, "--chmod=0755"))
    brought = [path for path, each in case.evaluated.brought.items() if each is copied]
    if isinstance(entry, File) and brought == [entry.path]:
        span, line = case.sheet.flagged(copied, "--chmod=0755")
        return case.mended(finding, fix, span, line)
    return case.mended(finding, fix)


def _depends(finding: Finding) -> str:
    return ", or give the user as UID:GID" if "/etc/passwd" in finding.message else ""


def _needs(finding: Finding, case: Case) -> Finding | None:
    """What the stage that the program comes from has as well."""
    path, destination = _USUAL[finding.rule]
    flag = case.instruction.flag("from") if case.instruction.name == "COPY" else None
    if flag is None or not flag.value:
        return None
    origin = case.evaluated.origins.get(case.instruction.span.line)
    there = origin is not None and origin.follow(path) is not None
    if origin is not None and not there:
        return None
    line = f"COPY --from={flag.value} {path} {destination}"
    fix = f"{finding.fix.removesuffix('.')}; or copy them from the stage: `{line}`."
    if not there:
        return case.mended(finding, fix)
    return case.mended(finding, fix, case.instruction.span, case.sheet.followed(case.instruction.span, line))


def _always(fix: str) -> Callable[[Finding, Case], Finding]:
    """A fix that is the same for every file, and that no text can do."""
    return lambda finding, case: case.mended(finding, fix)


MENDERS: Final[dict[str, Callable[[Finding, Case], Finding | None]]] = {
    "shell-form": _shell_form,
    "command-not-in-path": _command,
    "command-missing": _command,
    "command-by-relative-path": _command,
    "command-is-directory": _command,
    "command-repeated": _repeated,
    "healthcheck-unusable": _healthcheck,
    "user-unknown": _user,
    "group-unknown": _user,
    "id-too-high": _user,
    "volume-missing": _volume,
    "volume-not-writable": _volume,
    "volume-unusable": _volume,
    "not-executable": _mode,
    **dict.fromkeys(_USUAL, _needs),
    "working-directory-unusable": _always("Choose another by `WORKDIR`, e.g. `WORKDIR /`."),
    "working-directory-missing": _always("Name it by `WORKDIR`, which makes it."),
    "setuid": _always("Leave the bit out by `--chmod=0755`, and choose the user of the whole image by `USER`."),
    "hidden-by-runtime": _always("Copy it to another path, e.g. /usr/bin/NAME."),
    "mount-point-unusable": _always("Leave it out of what is copied, or make it a directory."),
    "ignores-signals": _always("Handle SIGTERM in it if it runs long, or write `STOPSIGNAL SIGKILL`."),
    "platform-mismatch": _always("Copy the program that was built for this platform, or choose its `--platform`."),
    "metadata-not-kept": _always(
        "If it is needed, give modes and owners by `--chmod` and `--chown`; capabilities come from a stage whose "
        "RUN calls `setcap`, or from a tar by ADD."
    ),
}
"""By rule: how a Containerfile is mended; None leaves the fix as it is."""


def _quoted(text: str) -> str:
    return exec_array((text,))[1:-1]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


_LONGEST: Final = 400
