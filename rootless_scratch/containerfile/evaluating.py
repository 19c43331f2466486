"""A stage of a Containerfile evaluated: every instruction in its turn, into files and config. Nothing is run.

Stages that it copies from are evaluated first, each once. What is not made here, a stage of buildah or an image,
is asked of an `Others` (others.py): `origin_of` for COPY --from, `base_of` for FROM. An instruction that cannot be
evaluated is a Fault of the answer, and those after it are evaluated all the same.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rootless_scratch.containerfile.copying import CopyError, CopyRequest, Inline, copy_into
from rootless_scratch.containerfile.document import Fault, Flag, Instruction, Stage, Token
from rootless_scratch.containerfile.evaluated import Evaluated, Noted, StageConfig
from rootless_scratch.containerfile.expanded import Expander, InstructionError, expanded
from rootless_scratch.containerfile.expanding import ExpandError, expand_body
from rootless_scratch.containerfile.files import StageFiles
from rootless_scratch.containerfile.origins import EntriesOrigin
from rootless_scratch.containerfile.owners import user_owner
from rootless_scratch.containerfile.scopes import StageScope
from rootless_scratch.containerfile.settings import Settings, arguments_of, normal_path
from rootless_scratch.containerfile.stages import Other, Stages
from rootless_scratch.containerfile.surroundings import Surroundings, stages_of
from rootless_scratch.errors import LimitError, SourceError, SpecError, UsageError

if TYPE_CHECKING:
    from rootless_scratch.containerfile.copying import Compat
    from rootless_scratch.containerfile.document import Document
    from rootless_scratch.containerfile.origins import Origin
    from rootless_scratch.image.rootfs import Entry, Loss

_SECOND = 1_000_000_000
_DEEPEST = 80
"""Stages that copy from each other, one inside the other."""


def evaluate(document: Document, target: str | None, surroundings: Surroundings) -> Evaluated:
    """Carry out the stage that `target` names, by default the last, and those that it copies from.

    What cannot be evaluated is in `faults`. Raises InstructionError where there is no such stage, or it does not
    begin with scratch; HostError, LimitError and what an Others raises.
    """
    noted: list[Noted] = []
    faults: list[Fault] = [*document.faults]
    stages = stages_of(document, surroundings, faults)
    stage = stages.target(target)
    if not stages.ends_in_scratch(stage):
        raise InstructionError(
            f"The stage to build begins with {stage.base.raw!r}, and not with scratch.",
            fix="Begin it with `FROM scratch` and copy into it what it needs, or name another stage by --target.",
            span=stage.base.span,
        )
    work = _Work(stages, surroundings, noted, faults)
    made = work.made(stage)
    return Evaluated(
        document=document,
        stage=stage,
        entries=_timed(made, surroundings.compat),
        config=made.settings.config,
        steps=tuple(made.steps),
        brought=made.brought,
        settled=made.settings.settled,
        noted=tuple(noted),
        losses=tuple(made.losses),
        faults=tuple(faults),
        origins=work.origins,
        unused_arguments=stages.unused(),
    )


def _timed(made: _Made, compat: str | None) -> tuple[Entry, ...]:
    """The entries, with the times of their own that another builder leaves them."""
    entries = made.files.entries()
    if compat is None:
        return entries
    from msgspec.structs import replace

    # Go's archive/tar rounds to whole seconds.
    now, times = int(time.time()), made.files.mtimes
    return tuple(
        replace(each, mtime=(times[each.path] + _SECOND // 2) // _SECOND if each.path in times else now)
        for each in entries
    )


class _Made:
    """A stage while it is evaluated."""

    def __init__(self, stage: Stage, scope: StageScope, files: StageFiles, settings: Settings) -> None:
        self.stage = stage
        self.scope = scope
        self.files = files
        self.settings = settings
        self.brought: dict[str, Instruction] = {}
        self.losses: list[Loss] = []
        self.steps: list[Instruction] = []
        self.is_run = False
        """Whether buildah made the files, with all that the stage copies."""


class _Work:
    """All stages of one file, each evaluated once."""

    def __init__(
        self, stages: Stages, surroundings: Surroundings, noted: list[Noted], faults: list[Fault]
    ) -> None:
        self._stages = stages
        self._around = surroundings
        self._noted = noted
        self._faults = faults
        self._compat: Compat = "ours" if surroundings.compat is None else surroundings.compat
        self._escape = stages.document.escape
        self._made: dict[int, _Made] = {}
        self._depth = 0
        self._origins: dict[object, Origin] = {}
        self.origins: dict[int, Origin] = {}
        """By the line of each COPY and ADD."""

    def made(self, stage: Stage) -> _Made:
        """A stage, evaluated."""
        below = [stage]
        while below[-1].number not in self._made:
            base = self._stages.base(below[-1])
            if base is None or (isinstance(base, Other) and base.stage is None):
                break
            below.append(stage_of(base))
        for each in reversed(below):
            if each.number not in self._made:
                self._made[each.number] = self._make(each)
        return self._made[stage.number]

    def _make(self, stage: Stage) -> _Made:
        made = self._begin(stage)
        expander = Expander(made.scope, self._escape, self._noted)
        for instruction in self._stages.instructions(stage):
            made.steps.append(instruction)
            try:
                self._work_off(instruction, made, expander)
            except InstructionError as error:
                self._faults.append(error.fault)
        if self._compat == "buildah" and made.steps and made.steps[-1].name == "VOLUME":
            # buildah makes the directories of a VOLUME that is the last instruction.
            for _, token in arguments_of(made.steps[-1]):
                made.files.mkdir(normal_path(expanded(token, made.scope.variables, self._escape).text))
        return made

    def _begin(self, stage: Stage) -> _Made:
        """The stage as its FROM has it."""
        files, config, brought, settled = StageFiles(), StageConfig(), {}, {}
        base = self._stages.base(stage)
        losses: list[Loss] = []
        steps: list[Instruction] = []
        if isinstance(base, Other) and base.stage is None:
            found = self._around.others.base_of(base)
            files, config = StageFiles(found.entries), found.config
            files.mtimes.update(found.mtimes)
        elif base is not None:
            below = self.made(stage_of(base))
            files = StageFiles(below.files.entries())
            files.mtimes.update(below.files.mtimes)
            config = below.settings.config.but(onbuild=())
            brought, settled, losses = dict(below.brought), dict(below.settings.settled), list(below.losses)
            steps = list(below.steps)
        scope = StageScope(self._stages.above, config.env)
        made = _Made(stage, scope, files, Settings(config, settled, compat=self._around.compat))
        made.brought.update(brought)
        made.losses.extend(losses)
        made.steps.extend(steps)
        return made

    def _work_off(self, instruction: Instruction, made: _Made, expander: Expander) -> None:
        if instruction.name in ("COPY", "ADD"):
            if not made.is_run:
                self._copy(instruction, made, expander)
        elif instruction.name == "RUN":
            if not made.is_run:
                self._run(instruction, made)
        elif made.settings.apply(instruction, expander):
            if instruction.name == "WORKDIR" and (not made.is_run or self._is_after_files(instruction, made)):
                self._make_workdir(instruction, made)
        else:
            raise InstructionError(
                f"There is no instruction {instruction.name!r}.",
                fix="See docs/containerfile.md for all that there are.",
                span=instruction.span,
            )

    def _is_after_files(self, instruction: Instruction, made: _Made) -> bool:
        """Whether no RUN, COPY or ADD follows: with --layers buildah makes a WORKDIR for these alone."""
        following = [*self._stages.instructions(made.stage)]
        following = following[following.index(instruction) :]
        return not any(each.name in ("RUN", "COPY", "ADD") for each in following)

    def _make_workdir(self, instruction: Instruction, made: _Made) -> None:
        path = made.settings.workdir
        if path == "/":
            return
        uid, gid = user_owner(made.settings.user, made.files)
        before = made.files.entry(path)
        try:
            real = made.files.mkdir(path, uid, gid)
        except SpecError as error:
            raise InstructionError(error.message, fix=error.fix, span=instruction.span) from error
        if before is None:
            made.brought[real] = instruction

    def _run(self, instruction: Instruction, made: _Made) -> None:
        """Take the files that buildah makes of the whole stage; what it needs must be there before."""
        shell = made.settings.shell
        if instruction.exec_form is None and made.files.entry(shell) is None:
            raise InstructionError(
                f"RUN starts {shell}, and the stage has none at this point.",
                fix="Run it in a stage that has a shell, and copy from there what it makes.",
                span=instruction.span,
            )
        origin = self._origin(self._stages.run_by_buildah(made.stage, instruction))
        made.files, made.is_run = StageFiles(), True
        request = CopyRequest(sources=("/",), destination="/", compat=self._compat)
        before = dict(made.brought)
        made.losses.clear()
        made.losses.extend(self._copied(request, origin, instruction, made))
        made.brought.update(before)

    def _copy(self, instruction: Instruction, made: _Made, expander: Expander) -> None:
        flags = {
            flag.name: expander.text(instruction, Token(raw=flag.value or "", span=flag.span))
            for flag in instruction.flags
            if flag.name != "exclude"
        }
        arguments = [expander.text(instruction, raw) for _, raw in arguments_of(instruction)]
        sources, heredocs = self._sources(instruction, arguments[:-1], made)
        request = CopyRequest(
            sources=sources,
            destination=arguments[-1],
            workdir=made.settings.workdir,
            chown=flags.get("chown"),
            chmod=flags.get("chmod"),
            link=is_on(instruction.flag("link")),
            parents=is_on(instruction.flag("parents")),
            exclude=tuple(
                expander.text(instruction, Token(raw=flag.value or "", span=flag.span))
                for flag in instruction.flags
                if flag.name == "exclude"
            ),
            unpack=instruction.name == "ADD",
            unpacks=None if instruction.flag("unpack") is None else is_on(instruction.flag("unpack")),
            heredocs=heredocs,
            checksum=flags.get("checksum"),
            network=self._around.network,
            compat=self._compat,
        )
        origin = self._from(instruction, flags.get("from"), made, is_needed=bool(sources))
        self.origins[instruction.span.line] = origin
        made.losses.extend(self._copied(request, origin, instruction, made))

    def _sources(
        self, instruction: Instruction, arguments: list[str], made: _Made
    ) -> tuple[tuple[str, ...], tuple[Inline, ...]]:
        """Sources, and apart from them the heredocs."""
        if not instruction.heredocs:
            return tuple(arguments), ()
        inline, openings = [], {each.opening.span for each in instruction.heredocs if each.opening}
        for each in instruction.heredocs:
            try:
                body = each.body
                if each.expands:
                    body = expand_body(body, made.scope.variables, escape=self._escape)
            except ExpandError as error:
                raise InstructionError(error.message, fix=error.fix, span=each.span) from error
            inline.append(Inline(name=each.name, content=body.encode("utf-8", "surrogateescape")))
        plain = [
            argument
            for argument, token in zip(arguments, instruction.tokens, strict=False)
            if token.span not in openings
        ]
        return tuple(plain), tuple(inline)

    def _from(self, instruction: Instruction, name: str | None, made: _Made, *, is_needed: bool) -> Origin:
        flag = instruction.flag("from")
        if flag is not None:
            found = self._stages.source(name or "", made.stage, instruction, flag)
            return self._origin(found)
        if self._around.context is None:
            if not is_needed:
                return EntriesOrigin((), name="the context")
            raise InstructionError(
                "There is no context to copy from: the Containerfile comes by stdin.",
                fix="Name a directory: `build -f - CONTEXT`.",
                span=instruction.span,
            )
        return self._around.context

    def _origin(self, found: Stage | Other) -> Origin:
        """What can be copied from, each asked for once."""
        if isinstance(found, Other):
            key: object = (found.kind, found.stage.number if found.stage else found.name)
        else:
            key = found.number
        if key not in self._origins:
            if isinstance(found, Other):
                self._origins[key] = self._around.others.origin_of(found)
            else:
                made = self._copied_from(found)
                called = f"stage {found.name or found.number}"
                self._origins[key] = EntriesOrigin(made.files.entries(), name=called, mtimes=made.files.mtimes)
        return self._origins[key]

    def _copied_from(self, stage: Stage) -> _Made:
        if self._depth >= _DEEPEST:
            raise InstructionError(
                f"More than {_DEEPEST} stages copy from each other, each from the one before.",
                fix="Copy from the first of them directly.",
                span=stage.begin.span,
            )
        self._depth += 1
        try:
            return self.made(stage)
        finally:
            self._depth -= 1

    def _copied(
        self, request: CopyRequest, origin: Origin, instruction: Instruction, made: _Made
    ) -> tuple[Loss, ...]:
        try:
            result = copy_into(made.files, request, origin, self._around.kept)
        except CopyError as error:
            token = _source_token(instruction, error.fact.source)
            span = token.span if token else instruction.span
            raise InstructionError(error.message, fix=error.fix, span=span, what=error.fact.what) from error
        except LimitError as error:
            # A build has no --limit: what goes into an image is not unpacked on trust.
            fix = "Unpack or fetch it before the build, and COPY what is needed."
            raise InstructionError(error.message, fix=fix, span=instruction.span) from error
        except (SpecError, SourceError, UsageError) as error:
            flag = next((each for each in instruction.flags if error.message.startswith(f"--{each.name}")), None)
            at = instruction if flag is None else flag
            raise InstructionError(error.message, fix=error.fix, span=at.span) from error
        self._noted.extend(
            Noted(
                what=fact.what,
                instruction=instruction,
                token=_source_token(instruction, fact.source),
                values=fact.values,
            )
            for fact in result.facts
        )
        made.brought.update(dict.fromkeys(result.written, instruction))
        return result.losses


def stage_of(found: Stage | Other) -> Stage:
    """The stage that a name means, whoever makes it."""
    if isinstance(found, Stage):
        return found
    assert found.stage is not None  # noqa: S101 - images and contexts are asked for elsewhere
    return found.stage


def is_on(flag: Flag | None) -> bool:
    """Whether a flag that takes true or false is set."""
    return flag is not None and (flag.value or "true").lower() in ("true", "t", "1")


def _source_token(instruction: Instruction, number: int | None) -> Token | None:
    """The argument that is the source of this number, heredocs not counted."""
    openings = {each.opening.span for each in instruction.heredocs if each.opening}
    plain = [token for token in instruction.tokens[:-1] if token.span not in openings]
    return plain[number] if number is not None and number < len(plain) else None
