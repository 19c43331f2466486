"""Why a run failed: what the rules say on an image that did not start, or on a program's end."""

from __future__ import annotations

import os
from contextlib import contextmanager

from rootless_scratch.data import Data
from rootless_scratch.engine.request.destination import destination_of
from rootless_scratch.errors import EndedEarlyError, EngineError, ScratchError
from rootless_scratch.expressions import expression
from rootless_scratch.image.arguments import image_id, maybe, text, texts

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Final

    from rootless_scratch.engine.container.ending import RunResult
    from rootless_scratch.findings import Finding
    from rootless_scratch.image.finished import Image
    from rootless_scratch.image.plan.planner import Program
    from rootless_scratch.keywords import ContainerOptions

_CRASHES: Final = {
    128 + 4: ("needs-processor",),
    128 + 7: ("needs-small-pages",),
    128 + 11: ("needs-vsyscall", "static-name-service", "needs-small-pages", "needs-time-zones", "opens-gconv"),
}
"""SIGILL, SIGBUS, SIGSEGV: how what is no program, or not all of one, ends; and the warnings that foresee it."""

_IMAGE_ID: Final = expression(r"[0-9a-f]{64}")


class Started(Data):
    """What was to be started; `elsewhere`: by a service that the caller named, which may have another storage."""

    image: str
    arguments: Sequence[str]
    user: str | None
    elsewhere: bool

    @classmethod
    def of(cls, image: str | Image, arguments: object, options: ContainerOptions) -> Started:
        """By what a caller says of it; raises UsageError."""
        return cls(
            image=image if isinstance(image, str) else image_id(image),
            arguments=texts("arguments", arguments),
            user=maybe(text, "user", options.get("user")),
            elsewhere=destination_of(options.get("url"), options.get("connection")) is not None,
        )


def explained(result: RunResult, started: Started) -> RunResult:
    """The result of a run; where its start or its program failed, with what the rules say on why.

    Of a start that failed, and of a crash, the image is read, and the first finding of severity `error` is the
    explanation. Where the rules see none, what the engine understood stays. Of a program that failed its last
    words are looked at.
    """
    if result.timed_out or result.exit_code == 0:
        return result
    started = started.but(image=result.image or started.image)
    return result.but(explanation=_why(result, started))


@contextmanager
def explaining(started: Started) -> Iterator[None]:
    """Give an EngineError of a start that failed what the rules say on why."""
    try:
        yield
    except EndedEarlyError as error:
        error.explanation = _why(error, started)
        raise
    except EngineError as error:
        error.explanation = _cause(started.but(image=error.image or started.image), None)
        raise


def _why(ended: RunResult | EndedEarlyError, started: Started) -> Finding | None:
    """Why a program ended as it did, as far as that can be told."""
    from rootless_scratch.rules.program.symptoms import judge_ending

    if ended.explanation is not None:
        return _cause(started, ended.explanation) or ended.explanation
    symptom = judge_ending(ended.exit_code, ended.last_words, out_of_memory=ended.out_of_memory)
    if symptom is None and ended.exit_code in _CRASHES:
        return _cause(started, None, suspects=_CRASHES[ended.exit_code])
    return symptom


def _cause(started: Started, found: Finding | None, *, suspects: Sequence[str] = ()) -> Finding | None:
    """What the rules say beside what the engine `found`; None where they have nothing, or cannot see the image.

    `suspects` are rules whose warnings tell enough.
    """
    if started.elsewhere and not _IMAGE_ID.fullmatch(started.image):
        # That service may have another image of this name than local storage has.
        return None
    from rootless_scratch.verbs.judge import judge_stored

    try:
        judgement, programs = judge_stored(started.image, arguments=started.arguments, user=started.user)
    except ScratchError:
        return None
    rules = {finding.rule: finding for finding in reversed(judgement.findings)}
    error = next((finding for finding in judgement.findings if finding.severity == "error"), None)
    if error is not None:
        return error
    if found is None:
        return next((rules[rule] for rule in suspects if rule in rules), None)
    if found.rule == "exec-format":
        # The processor that matters is the service's.
        return None if started.elsewhere else _foreign(programs)
    # What was only a warning before has come true, and that is what was said.
    return None if found.aliases else rules.get(found.rule)


def _foreign(programs: Sequence[Program]) -> Finding | None:
    """The program that no kernel of this host's processor starts."""
    here = os.uname().machine
    for program in programs:
        elf = program.facts.elf
        if elf is not None and elf.machine != here:
            from rootless_scratch.findings import Finding

            return Finding.error(
                rule="exec-format",
                subject=program.path,
                message=f"{program.path} is built for {elf.machine}, and this host's processor is {here}.",
                fix=f"Build it for {here}, or run the image on {elf.machine}, or with an emulator "
                "(`sudo apt-get install qemu-user-static`).",
            )
    return None
