"""Which stages a target needs, and who makes each of them.

    here      FROM scratch, or FROM such a stage, with nothing but what is evaluated without running anything
    fetched   FROM an image, without RUN: its files are the image's, and what COPY adds
    buildah   everything else

A name is that of an earlier stage, its number, a `--build-context`, or else an image. As no stage can name a later
one, there are no circles.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Literal

from rootless_scratch.containerfile.document import Flag, Instruction, Span, Stage, Token
from rootless_scratch.containerfile.expanded import InstructionError, expanded
from rootless_scratch.containerfile.scopes import GlobalScope, StageScope
from rootless_scratch.data import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rootless_scratch.containerfile.document import Document

Kind = Literal["here", "fetched", "buildah"]
SCRATCH = "scratch"
SCRATCH_IMAGE = "scratch-image://"
"""What the value of a named context begins with that is an image made here, in a layout: DIR:TAG."""
_NAMED = 20
"""Stages that a message lists."""


class Other(Value):
    """What is not made here: a `stage` that buildah makes, an image, or the value of a `--build-context`.

    `name` is that of the stage, the image's reference, or the value. `instruction` and `span` say which part of
    the file asks for it.
    """

    kind: Literal["stage", "image", "context"]
    name: str
    instruction: Instruction
    span: Span
    stage: Stage | None = None


Found = Stage | Other | None
"""What a name means: a stage that is made here, something else, or None for `scratch`."""


class Stages:
    """The stages of a document, told apart; `contexts` are the values of `--build-context` by their names.

    With `triggers` the ONBUILD of a stage holds for the stages that begin with it.
    """

    def __init__(
        self, document: Document, above: GlobalScope, contexts: Mapping[str, str], *, triggers: bool = True
    ) -> None:
        self.document = document
        self.above = above
        self._contexts = contexts
        self._triggers = triggers
        self._kinds: list[Kind | InstructionError] = []
        self._numbers: dict[str, list[int]] = {}
        for stage in document.stages:
            self._numbers.setdefault((stage.name or "").lower(), []).append(stage.number)

    def target(self, name: str | None) -> Stage:
        """The stage to build, by its name or number, by default the last; raises InstructionError."""
        stages = self.document.stages
        if name is None:
            return stages[-1]
        found = self.earlier(name, len(stages))
        if found is None:
            named = ", ".join(stage.name or str(stage.number) for stage in stages[-_NAMED:])
            more = f", and {len(stages) - _NAMED} more" if len(stages) > _NAMED else ""
            raise InstructionError(
                f"There is no stage {name!r}.",
                fix=f"Name a stage of the file after --target: {named}{more}.",
                span=stages[-1].begin.span,
            )
        return found

    def earlier(self, name: str, before: int) -> Stage | None:
        """The last stage of this name, or the one of this number, in front of the one numbered `before`."""
        numbers = self._numbers.get(name.lower(), []) if name else []
        if at := bisect_left(numbers, before):
            return self.document.stages[numbers[at - 1]]
        if name.isascii() and name.isdigit() and int(name) < before:
            return self.document.stages[int(name)]
        return None

    def base(self, stage: Stage) -> Found:
        """What a stage begins with; raises InstructionError."""
        name = expanded(stage.base, self.above.variables, self.document.escape).text
        if name == SCRATCH:
            return None
        if not name:
            # Of a FROM without any argument the parser has told.
            raise InstructionError(
                f"{stage.base.raw!r} after FROM is empty." if stage.base.raw else "FROM lacks the image.",
                fix="Give its ARG, which stands before the first FROM, a default; or use --build-arg."
                if stage.base.raw
                else "Name one, or write `FROM scratch`.",
                span=stage.base.span,
            )
        return self._find(name, stage, stage.begin, stage.base.span)

    def source(self, name: str, stage: Stage, instruction: Instruction, flag: Flag) -> Stage | Other:
        """What `--from=` of an instruction means, its value expanded; raises InstructionError."""
        if not name or name == SCRATCH:
            what = f"{flag.value!r}, which is empty" if not name else "scratch, which has no files"
            raise InstructionError(f"--from names {what}.", fix="Name a stage or an image.", span=flag.span)
        return self._find(name, stage, instruction, flag.span)

    def _find(self, name: str, stage: Stage, instruction: Instruction, span: Span) -> Stage | Other:
        found = self.earlier(name, stage.number)
        if found is not None:
            if self.kind(found) == "buildah":
                called = found.name or str(found.number)
                return Other(kind="stage", name=called, instruction=instruction, span=span, stage=found)
            return found
        if name in self._contexts:
            return Other(kind="context", name=self._contexts[name], instruction=instruction, span=span)
        later = self.earlier(name, len(self.document.stages))
        if later is not None:
            itself = later.number == stage.number
            raise InstructionError(
                f"{name!r} is {'this stage itself' if itself else 'a stage that only comes later'}.",
                fix="Name a stage that stands above, or move that one up.",
                span=span,
            )
        return Other(kind="image", name=name, instruction=instruction, span=span)

    def kind(self, stage: Stage) -> Kind:
        """Who makes a stage; raises InstructionError."""
        # From the first on, and not from this one down: thousands of stages may stand on each other.
        for each in self.document.stages[len(self._kinds) : stage.number + 1]:
            try:
                self._kinds.append(self._kind(each))
            except InstructionError as error:
                self._kinds.append(error)
        found = self._kinds[stage.number]
        if isinstance(found, InstructionError):
            raise found
        return found

    def _kind(self, stage: Stage) -> Kind:
        base = self.base(stage)
        if any(each.name == "RUN" for each in self.instructions(stage)):
            return "buildah"
        if base is None:
            return "here"
        if isinstance(base, Other):
            return "buildah" if base.kind == "stage" else "fetched"
        return self.kind(base)

    def unused(self) -> tuple[str, ...]:
        """The names of `--build-arg` that nothing declares: no ARG evaluated here, and none of another stage."""
        declared = {
            name.raw
            for stage in self.document.stages
            for each in stage.instructions
            if each.name == "ARG"
            for name, _ in each.pairs
        }
        return tuple(name for name in self.above.build_args if name not in self.above.used | declared)

    def instructions(self, stage: Stage) -> Iterator[Instruction]:
        """Those of a stage, after those that ONBUILD of the stage below has left for it."""
        base = self.base(stage)
        base = base.stage if isinstance(base, Other) else base
        if self._triggers and base is not None:
            yield from (each.inner for each in base.instructions if each.name == "ONBUILD" and each.inner)
        yield from stage.instructions

    def ends_in_scratch(self, stage: Stage) -> bool:
        """Whether it begins with `scratch`, by whatever stages between, or with an image that does.

        Raises InstructionError.
        """
        base: Found = stage
        while isinstance(base, Stage):
            base = self.base(base)
            if isinstance(base, Other) and base.stage is not None:
                base = base.stage
        return base is None or base.name.startswith(SCRATCH_IMAGE)

    def others(self, target: Stage) -> tuple[Other, ...]:
        """All that is needed for a target and not made here, each once; raises InstructionError."""
        found: dict[tuple[str, str], Other] = {}
        seen: set[int] = set()
        waiting: list[Stage | Other] = [target]
        while waiting:
            each = waiting.pop()
            if isinstance(each, Other):
                number = "" if each.stage is None else str(each.stage.number)
                found.setdefault((each.kind, number or each.name), each)
            elif each.number not in seen:
                seen.add(each.number)
                waiting.extend(self._needs(each))
        return tuple(sorted(found.values(), key=lambda each: (each.span.line, each.span.column)))

    def _needs(self, stage: Stage) -> Iterator[Stage | Other]:
        base = self.base(stage)
        if base is not None:
            yield base.stage if isinstance(base, Other) and base.stage else base
        scope = StageScope(self.above)
        for each in self.instructions(stage):
            if each.name in ("ARG", "ENV"):
                declare(each, scope, lambda token: self.text(token, scope))
            flag = each.flag("from") if each.name in ("COPY", "ADD") else None
            if flag is not None:
                yield self.source(self.flag_text(flag, scope), stage, each, flag)
            if each.name == "RUN":
                # From here on the files are those that buildah makes of the whole stage.
                yield self.run_by_buildah(stage, each)
                return

    def run_by_buildah(self, stage: Stage, instruction: Instruction) -> Other:
        """A stage whose files buildah makes, because of this RUN."""
        called = stage.name or str(stage.number)
        return Other(kind="stage", name=called, instruction=instruction, span=instruction.span, stage=stage)

    def flag_text(self, flag: Flag, scope: StageScope) -> str:
        """The value of a flag, expanded; raises InstructionError."""
        return self.text(Token(raw=flag.value or "", span=flag.span), scope)

    def text(self, token: Token, scope: StageScope) -> str:
        """An argument, expanded; raises InstructionError."""
        return expanded(token, scope.variables, self.document.escape).text


def declare(
    instruction: Instruction, scope: StageScope | GlobalScope, text: Callable[[Token], str]
) -> tuple[tuple[str, str | None], ...]:
    """Take an ARG or an ENV into a scope, and what it says: names, and values where there are any.

    Each ARG sees those before it, each ENV of a line what held before that. `text` expands an argument.
    """
    if instruction.name == "ENV" and isinstance(scope, StageScope):
        pairs = [(text(name), "" if value is None else text(value)) for name, value in instruction.pairs]
        scope.set(pairs)
        return tuple(pairs)
    found: list[tuple[str, str | None]] = []
    for name, value in instruction.pairs:
        found.append((text(name), None if value is None else text(value)))
        scope.declare(*found[-1])
    return tuple(found)
