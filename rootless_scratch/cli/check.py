"""`rootless-scratch check`: will it start, and if not, why and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rootless_scratch.cli.answers import in_the_report, print_answers, read_format
from rootless_scratch.cli.file_options import check_options, check_request_from
from rootless_scratch.cli.options import access_from, verb_options
from rootless_scratch.cli.output import common_options, print_findings, print_verdict, say_error
from rootless_scratch.errors import ScratchError

if TYPE_CHECKING:
    from rootless_scratch.cli.show import Show
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
    fix: bool,
    yes: bool,
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
    if fix or yes:
        from rootless_scratch.cli.fixing import require_file

        require_file(fix=fix, yes=yes, is_file=request is not None)
    if request is not None:
        options = {name: how[name] for name in ("bundle_libraries", "sysroot") if how[name]}
        with in_the_report(request.file, form, show):
            if fix:
                from rootless_scratch.cli.fixing import fix_before

                fix_before(request, options, yes=yes, quiet=show.quiet or show.as_json)
            return _check_file(request, options, form, show)
    if not subjects:
        raise click.UsageError("Missing argument 'PROGRAM|IMAGE...'.")
    return _check_subjects(subjects, how, form, show)


def _check_file(request: FileRequest, options: dict[str, Any], form: str | None, show: Show) -> int:
    """Judge a Containerfile; `options` are those of its image."""
    from rootless_scratch.findings import errors_of
    from rootless_scratch.verbs.check_file import check_file

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
        in_the_report(subjects[0], form, show),
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


def _show(judgement: Judgement, *, quiet: bool) -> None:
    hint = " (only a run can tell whether it starts)" if judgement.verdict == "unknown" else ""
    print_verdict(judgement.subject, judgement.verdict, hint)
    print_findings(judgement.findings, quiet=quiet)
