"""`rootless-scratch check`: will it start, and if not, why and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

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
from rootless_scratch.errors import ScratchError

if TYPE_CHECKING:
    from rootless_scratch.findings import Judgement


@click.command("check")
@click.argument("subjects", metavar="PROGRAM|IMAGE...", nargs=-1, required=True)
@verb_options("check")
@common_options
def command(
    *,
    subjects: tuple[str, ...],
    show: Show,
    **how: Any,  # noqa: ANN401 - the other keywords of check_subjects
) -> int:
    """Judge program files, or images, without building or running them.

    oci:DIR[:REF], oci-archive:FILE and docker-archive:FILE are images outside of local storage;
    docker://HOST/NAME:TAG is fetched to be read. A name that is the
    path of a file is a program, any other names an image, also where a directory is called so. Exits 1 if there is
    a finding of severity `error`, or, of several subjects, one that cannot be read.
    """
    from rootless_scratch.cli.progress import Bar, Counter
    from rootless_scratch.findings import errors_of
    from rootless_scratch.ship.access import Access
    from rootless_scratch.verbs.check import check_subjects

    failed = False
    answers: list[dict[str, object]] = []
    access = access_from(how)
    how = {name: value for name, value in how.items() if name not in Access.options}
    quiet, alone = show.quiet or show.as_json, len(subjects) == 1
    with Counter(total=len(subjects), quiet=quiet or alone) as counter, Bar(quiet=quiet, steps=alone) as progress:
        judgements = check_subjects(subjects, access=access, progress=progress, **how)
        for done, (subject, judgement) in enumerate(zip(subjects, judgements, strict=True), 1):
            counter.clear()
            progress.clear()
            if isinstance(judgement, ScratchError):
                failed = True
                say_error(f"{subject}: {judgement.message}", judgement.fix)
                answers.append({"subject": subject, "error": error_object(judgement)})
            else:
                failed = failed or bool(errors_of(judgement.findings))
                answers.append(named(judgement, "subject verdict findings"))
                if not show.as_json:
                    _show(judgement, quiet=show.quiet)
            counter.show(done)
    if show.as_json:
        print_json(answers[0] if len(subjects) == 1 else {"subjects": answers})
    return 1 if failed else 0


def _show(judgement: Judgement, *, quiet: bool) -> None:
    hint = " (only a run can tell whether it starts)" if judgement.verdict == "unknown" else ""
    print_verdict(judgement.subject, judgement.verdict, hint)
    print_findings(judgement.findings, quiet=quiet)
