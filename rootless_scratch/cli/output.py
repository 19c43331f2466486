"""How results, findings and errors are shown: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys

from rootless_scratch.cli.excerpts import excerpt, header, showable
from rootless_scratch.cli.show import Show, VerbError
from rootless_scratch.cli.terminal import styled, write_line
from rootless_scratch.errors import (
    CacheError,
    CommandError,
    EngineError,
    RefusedError,
    ScratchError,
    SpecFileError,
)

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from rootless_scratch.findings import Finding
    from rootless_scratch.image.finished import Image

SCHEMA = 1

_COLOURS = {
    **dict.fromkeys(("error", "fails", "differs"), "red"),
    **dict.fromkeys(("warning", "unknown", "equal"), "yellow"),
    **dict.fromkeys(("starts", "identical"), "green"),
    "info": "cyan",
}
"""Of severities and verdicts."""


def common_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every verb has, --json, -q, -v, as `show`; errors of the verb leave it as VerbError."""
    from functools import wraps

    import click

    from rootless_scratch.cli.lean import import_msgspec

    @wraps(verb)
    def function(**values: Any) -> Any:  # noqa: ANN401 - click's values
        show = Show(values.pop("as_json"), values.pop("quiet"), values.pop("verbose"))
        import_msgspec()
        try:
            return verb(show=show, **values)
        except ScratchError as error:
            raise VerbError(error, show) from error

    for option in (
        click.option("-V", "-v", "--verbose", is_flag=True, help="Print more details."),
        click.option("-q", "--quiet", is_flag=True, help="Print only the result and errors."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
    ):
        function = option(function)
    return function


def print_json(answer: Mapping[str, object], *, lines: bool = True) -> None:
    r"""Print one object with `schema` in it, on one line without `lines`.

    Names that are not UTF-8 come as lone surrogates (`\udcff` for byte 0xff), which json writes escaped.
    """
    import json

    import msgspec

    plain = msgspec.to_builtins({"schema": SCHEMA, **answer}, str_keys=True)
    write_line(json.dumps(plain, indent=2 if lines else None))


def named(record: object, names: str) -> dict[str, Any]:
    """Those of a record's fields and properties that an answer has under the same names, in this order."""
    return {name: getattr(record, name) for name in names.split()}


def say(message: str) -> None:
    """One line for the user that is not a result; names that no terminal can show are shown escaped."""
    tell(showable(message))


def tell(text: str) -> None:
    """Write to stderr; where that takes nothing (a full disk), what is said is lost and nothing else."""
    try:
        write_line(text, to_stderr=True)
    except OSError:
        return


def print_verdict(subject: str, verdict: str, hint: str = "") -> None:
    """Show the verdict of a verb on its subject, as its result."""
    shown = styled(verdict, _COLOURS[verdict], bold=True)
    write_line(f"{showable(subject)}: {shown}{hint}")


def print_findings(findings: Iterable[Finding], *, quiet: bool = False, as_result: bool = False) -> None:
    """Show findings on stderr, each with its fix, or `as_result`, apart; with `quiet` only the errors.

    One about a line of a file begins with its place, and shows the line.
    """
    for finding in findings:
        if quiet and finding.severity != "error":
            continue
        colour_of = _COLOURS[finding.severity]
        severity = styled(f"{finding.severity}:", colour_of, bold=True)
        lines = [f"{severity} {showable(finding.message)} [{finding.rule}]"]
        if finding.location is not None:
            lines[0] = f"{styled(header(finding.location), bold=True)}: {lines[0]}"
            lines += excerpt(finding.location, colour_of)
        text = "\n".join((*lines, f"  fix: {showable(finding.fix)}"))
        if as_result:
            write_line(f"\n{text}")
        else:
            tell(text)


def error_object(error: ScratchError) -> dict[str, str]:
    """The key `error` of an answer in JSON."""
    rule = {"rule": error.rule} if error.rule else {}
    return {"kind": error.kind, "message": error.message, "fix": error.fix, **rule}


def image_answer(image: Image) -> dict[str, Any]:
    """The keys of an image in JSON."""
    names = "image_id names platform diff_ids size files backend outputs digest images sboms findings notes"
    own = {"platform": image.platform, "image_id": image.image_id, "digest": image.digest}
    return {**named(image, names), "images": image.images or [own]}


def error_answer(error: ScratchError) -> dict[str, object]:
    """An answer in JSON where there is none but an error: with what the error carries."""
    answer: dict[str, object] = {"error": error_object(error)}
    if isinstance(error, RefusedError):
        answer["findings"] = error.findings
    if isinstance(error, SpecFileError):
        answer["faults"] = [named(fault, "key line column message fix") for fault in error.faults]
    if isinstance(error, EngineError):
        answer["explanation"] = error.explanation
    if isinstance(error, CacheError) and error.image is not None:
        answer |= image_answer(error.image)
    return answer


def print_error(error: ScratchError, *, as_json: bool, verbose: bool) -> None:
    """Show an error: its cause, its fix, and with `verbose` what another program said."""
    if as_json:
        print_json(error_answer(error))
    if isinstance(error, RefusedError):
        print_findings(error.findings, quiet=not verbose)
        count = sum(finding.severity == "error" for finding in error.findings)
        say(f"rootless-scratch: not built: {count} error{'s' if count > 1 else ''}.")
        return
    if isinstance(error, SpecFileError):
        _print_faults(error)
        return
    is_explained = isinstance(error, EngineError) and error.explanation is not None
    rule = f" [{error.rule}]" if error.rule else ""
    say_error(f"{error.message}{rule}", None if is_explained else error.fix)
    if isinstance(error, EngineError) and error.explanation is not None:
        print_findings([error.explanation])
    if not verbose:
        return
    if isinstance(error, CommandError) and error.argv:
        say(f"  command: {error.replay()}")
    for line in error.detail.splitlines():
        say(f"  | {line}")


def _print_faults(error: SpecFileError) -> None:
    for fault in error.faults:
        where = styled(showable(f"{fault.path}:{fault.line}:{fault.column}"), bold=True)
        severity = styled("error:", _COLOURS["error"], bold=True)
        key = f"{fault.key}: " if fault.key else ""
        tell(f"{where}: {severity} {showable(f'{key}{fault.message}')}\n  fix: {showable(fault.fix)}")
    count = len(error.faults)
    say(f"rootless-scratch: the file has {count} fault{'s' if count > 1 else ''}.")


def say_error(message: str, fix: str | None) -> None:
    """Say what could not be done, and what to do, where nothing else says that: every error begins so."""
    name = styled("rootless-scratch:", "red", bold=True)
    tell(f"{name} {showable(message)}")
    if fix is not None:
        say(f"  fix: {fix}")


def on_terminal() -> bool:
    """Whether a person watches stderr, so that progress is worth drawing."""
    return sys.stderr.isatty()
