"""`rootless-scratch check`: will it start, and if not, why and what to do."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.file_options import check_options, check_request_from
from rootless_scratch.cli.options import access_from, verb_options
from rootless_scratch.cli.output import (
    Show,
    common_options,
    error_object,
    named,
    print_findings,
    print_json,
    print_verdict,
    say_error,
)
from rootless_scratch.errors import HostError, ScratchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.containerfile.request import FileRequest
    from rootless_scratch.findings import Judgement


@click.command("check")
@click.argument("subjects", metavar="PROGRAM|IMAGE...", nargs=-1)
@check_options
@verb_options("check")
@common_options
def command(
    *,
    subjects: tuple[str, ...],
    form: str | None,
    show: Show,
    **how: Any,  # noqa: ANN401 - the other keywords of check_subjects
) -> int:
    """Judge program files, or images, without building or running them.

    oci:DIR[:REF], oci-archive:FILE and docker-archive:FILE are images outside of local storage;
    docker://HOST/NAME:TAG is fetched to be read. A name that is the
    path of a file is a program, any other names an image, also where a directory is called so. Exits 1 if there is
    a finding of severity `error`, or, of several subjects, one that cannot be read.

    With -f FILE the one argument is CONTEXT, the directory that COPY and ADD read, by default the working
    directory. Nothing is run, built or pulled: what only a build makes is not known (docs/rules.md).
    """
    read_format(form, show)
    request = check_request_from(how, subjects)
    if request is not None:
        return _check_file(request, how, form, show)
    if not subjects:
        raise click.UsageError("Missing argument 'PROGRAM|IMAGE...'.")
    return _check_subjects(subjects, how, form, show)


def _check_file(request: FileRequest, how: dict[str, Any], form: str | None, show: Show) -> int:
    """Judge a Containerfile; `how` has the options that judge programs too."""
    from rootless_scratch.findings import errors_of
    from rootless_scratch.verbs.check_file import check_file

    options = {name: how[name] for name in ("bundle_libraries", "sysroot") if how[name]}
    with _in_the_report(request.file, form, show):
        judgement = check_file(request, options)
    if not (show.as_json or form):
        _show(judgement, quiet=show.quiet)
    print_answers([(judgement.subject, judgement)], form, show)
    return int(bool(errors_of(judgement.findings)))


def _check_subjects(subjects: tuple[str, ...], how: dict[str, Any], form: str | None, show: Show) -> int:
    from rootless_scratch.cli.progress import Bar, Counter
    from rootless_scratch.findings import errors_of
    from rootless_scratch.ship.access import Access
    from rootless_scratch.verbs.check import check_subjects

    answers: list[tuple[str, Judgement | ScratchError]] = []
    access = access_from(how)
    how = {name: value for name, value in how.items() if name not in Access.options}
    is_report = show.as_json or form is not None
    quiet, alone = show.quiet or is_report, len(subjects) == 1
    with (
        _in_the_report(subjects[0], form, show),
        Counter(total=len(subjects), quiet=quiet or alone) as counter,
        Bar(quiet=quiet, steps=alone) as progress,
    ):
        judgements = check_subjects(subjects, access=access, progress=progress, **how)
        for done, (subject, judgement) in enumerate(zip(subjects, judgements, strict=True), 1):
            counter.clear()
            progress.clear()
            answers.append((subject, judgement))
            if isinstance(judgement, ScratchError):
                say_error(f"{subject}: {judgement.message}", judgement.fix)
            elif not is_report:
                _show(judgement, quiet=show.quiet)
            counter.show(done)
    print_answers(answers, form, show)
    return int(any(isinstance(each, ScratchError) or errors_of(each.findings) for _, each in answers))


@contextmanager
def _in_the_report(subject: str, form: str | None, show: Show) -> Iterator[None]:
    """A report also has the error of a single subject, before it ends the call."""
    try:
        yield
    except ScratchError as error:
        if form is not None and not isinstance(error, (UsageError, HostError)):
            print_answers([(subject, error)], form, show)
        raise


def read_format(form: str | None, show: Show) -> None:
    """Refuse a report that there is not; raises UsageError."""
    if form is None:
        return
    from rootless_scratch.cli.reports import FORMATS

    if form not in FORMATS:
        raise UsageError(f"There is no format {form!r}.", fix=f"The formats are {', '.join(FORMATS)}.")
    if show.as_json:
        raise UsageError(
            "`--json` and `--format` both say what stdout gets.", fix="Leave one of them out: SARIF is JSON too."
        )


def print_answers(answers: list[tuple[str, Judgement | ScratchError]], form: str | None, show: Show) -> None:
    """Print all of them as one object, or as one report; nothing where they were shown one by one."""
    if form is not None:
        from rootless_scratch.cli.reports import as_text

        report = as_text(form, answers)
        if report:
            click.echo(report)
    elif show.as_json:
        objects = [_as_object(subject, answer) for subject, answer in answers]
        print_json(objects[0] if len(objects) == 1 else {"subjects": objects})


def _as_object(subject: str, answer: Judgement | ScratchError) -> dict[str, object]:
    if isinstance(answer, ScratchError):
        return {"subject": subject, "error": error_object(answer)}
    return named(answer, "subject verdict findings")


def _show(judgement: Judgement, *, quiet: bool) -> None:
    hint = " (only a run can tell whether it starts)" if judgement.verdict == "unknown" else ""
    print_verdict(judgement.subject, judgement.verdict, hint)
    print_findings(judgement.findings, quiet=quiet)
