"""What is printed of judgements: one JSON object, or a report for a code host, which also has what was refused."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from rootless_scratch.cli.output import error_object, named, print_json
from rootless_scratch.errors import HostError, RefusedError, ScratchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.cli.show import Show
    from rootless_scratch.findings import Judgement

    Answer = tuple[str, Judgement | ScratchError]


def read_format(form: str | None, show: Show) -> None:
    """Refuse a report that there is not; raises UsageError."""
    if form is None:
        return
    from rootless_scratch.cli.reports import FORMATS

    if form not in FORMATS:
        raise UsageError(f"There is no format {form!r}.", fix=f"The formats are {', '.join(FORMATS)}.")
    if show.as_json:
        raise UsageError(
            "`--json` and a report both say what stdout gets.", fix="Leave one of them out: SARIF is JSON too."
        )


@contextmanager
def in_the_report(subject: str, form: str | None, show: Show) -> Iterator[None]:
    """A report also has what a single subject is refused for, and its error, before that ends the call."""
    try:
        yield
    except RefusedError as error:
        from rootless_scratch.findings import Judgement

        if form is not None:
            refused = Judgement(subject=subject, verdict="fails", findings=tuple(error.findings))
            print_answers([(subject, refused)], form, show)
        raise
    except ScratchError as error:
        if form is not None and not isinstance(error, (UsageError, HostError)):
            print_answers([(subject, error)], form, show)
        raise


def print_answers(answers: Sequence[Answer], form: str | None, show: Show) -> None:
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
