"""What other programs say, known by a stable part of it, and what is made of that: one kind of table for all.

Builtin modules alone: a build's worker reads troubles.py, which is such a table.
"""

from __future__ import annotations

from rootless_scratch.data import Data

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from rootless_scratch.findings import Finding

    _Row = TypeVar("_Row", bound="Diagnosis")


class Diagnosis(Data):
    """A row of a table: a regular expression, and one sentence each of cause and fix.

    In these `{0}`, `{1}` are the groups that matched; names are those of groups, empty where they did not,
    or of what the reader of the table knows beside.
    """

    pattern: str
    cause: str
    fix: str


class Symptom(Diagnosis):
    """A row that becomes a finding of severity `error` about a program; `alias` is another id of its cause."""

    rule: str
    subject: str = "program"
    alias: str = ""

    def finding(self) -> Finding:
        """What is told, by its rule."""
        from rootless_scratch.findings import Finding

        aliases = (self.alias,) if self.alias else ()
        return Finding.error(
            rule=self.rule, subject=self.subject, message=self.cause, fix=self.fix, aliases=aliases
        )


def diagnose(
    table: Iterable[_Row], text: str, *, tidy: Callable[[str], str] = str, **known: object
) -> _Row | None:
    """The first row that matches the text, filled in with its groups, made tidy; None where none does.

    What explains the rest stands above it.
    """
    import re

    for row in table:
        match = re.search(row.pattern, text)
        if match is not None:
            found = [tidy(group) for group in match.groups() if group is not None]
            found += [""] * (len(match.groups()) - len(found))
            named = {**known, **match.groupdict("")}
            texts = {name: value for name, value in row.__dict__.items() if isinstance(value, str)}
            del texts["pattern"]
            return type(row)(**row.__dict__ | {name: text.format(*found, **named) for name, text in texts.items()})
    return None
