"""Stages with RUN, or of a base that is an image: built by buildah into a store of their own, and mounted from it.

All of it runs inside buildah's user namespace (for root: in a mount namespace), so that mounts end with this
process, however it ends. The store is a cache: what is in it may be removed at any time. Images of the user's own
storage are seen in it too, as those of an additional read-only store (containers-storage.conf(5)).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from rootless_scratch.backends.failing import failed_stage
from rootless_scratch.backends.inner_tools import follow
from rootless_scratch.backends.isolation import Isolation, isolation_here, otherwise_isolated
from rootless_scratch.backends.stage_store import StageStore
from rootless_scratch.containerfile.reducing import Step, instruction_of, needed_stages, reduced, step_of
from rootless_scratch.containerfile.scopes import platform_arguments
from rootless_scratch.data import Value
from rootless_scratch.elf.platforms import host_platform, parse_platform
from rootless_scratch.errors import CommandError
from rootless_scratch.host.causes import cause_in
from rootless_scratch.host.environment import policy_options
from rootless_scratch.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from rootless_scratch.containerfile.document import Document, Stage

_KEPT = 200
"""Lines of what a step has printed."""

_PULL = {"always": ("--pull-always",), "newer": ("--pull-always",), "never": ("--pull-never",), "missing": ()}


class StageOptions(Value):
    """What buildah is told besides the file: all of it as it takes it, paths absolute.

    `secrets` and `ssh` name files and variables; no value of a secret stands in an argument. `build_contexts` are
    names with what each stands for, `pull` is always, missing, never or newer, `registry` how these are spoken to.
    """

    context: str
    ignore_file: str | None = None
    build_args: tuple[tuple[str, str | None], ...] = ()
    build_contexts: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()
    network: str | None = None
    platform: str | None = None
    pull: str | None = None
    no_cache: bool = False
    registry: tuple[str, ...] = ()

    def flags(self) -> list[str]:
        """The options of `buildah build`."""
        flags = [*_PULL[self.pull or "missing"], *(("--no-cache",) if self.no_cache else ()), *self.registry]
        for name, value in (
            ("ignorefile", self.ignore_file),
            ("network", self.network),
            ("platform", self.platform),
            *(("build-arg", name if value is None else f"{name}={value}") for name, value in self.build_args),
            *(("build-context", f"{name}={value}") for name, value in self.build_contexts),
            *(("secret", each) for each in self.secrets),
            *(("ssh", each) for each in self.ssh),
        ):
            if value is not None:
                flags.append(f"--{name}={value}")
        return flags


class Mounted(Value):
    """A stage: its image, and the directory where its files are, to be read only."""

    image_id: str
    directory: str


class Stages:
    """Builds stages of one file, each once, and mounts them until this is closed, or the process ends.

    To be used inside the namespace (`within.py`). Raises HostError where the store cannot be used.
    """

    def __init__(
        self,
        document: Document,
        options: StageOptions,
        *,
        environment: Mapping[str, str],
        progress: Progress = SILENT,
    ) -> None:
        self._document = document
        self._options = options
        self._progress = progress
        self._mounted: dict[int, Mounted] = {}
        self._noted: set[str] = set()
        self._found: Isolation | None = None
        self._store = StageStore(environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._store.close()

    @property
    def roots(self) -> tuple[str, ...]:
        """The directories of the stages that were mounted."""
        return tuple(each.directory for each in self._mounted.values())

    def mounted(self, stage: Stage, known: str | None = None) -> Mounted:
        """The stage, built unless the `known` image is there still. Raises BuildError, HostError."""
        if stage.number not in self._mounted:
            found = None
            if known is not None:
                with suppress(CommandError):
                    found = Mounted(image_id=known, directory=self._store.mount(known))
            if found is None:
                image_id = self._build(stage)
                found = Mounted(image_id=image_id, directory=self._store.mount(image_id))
            self._mounted[stage.number] = found
        return self._mounted[stage.number]

    def _build(self, stage: Stage) -> str:
        """The ID of the stage's image."""
        store = self._store
        with store.files() as directory:
            path, answer = os.path.join(directory, "Containerfile"), os.path.join(directory, "id")
            with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.write(reduced(self._document, stage, self._platforms()))
            argv = ["buildah", *store.flags, "build", "--layers", f"--iidfile={answer}", f"--file={path}"]
            # The stage is the last of that file; a --target might be the name of several, or a number.
            argv += [*policy_options(store.environment, "--signature-policy"), *self._options.flags()]
            code, output = self._followed(argv, self._isolation(stage), stage)
            if code != 0:
                instruction = None if output.step is None else instruction_of(self._document, stage, output.step)
                lines, where = output.lines, store.directory
                raise failed_stage(self._document, stage, instruction, lines, code=code, store=where)
            with open(answer, encoding="ascii") as file:
                return file.read().strip().removeprefix("sha256:")

    def _followed(self, argv: list[str], isolation: Isolation, stage: Stage) -> tuple[int, _Output]:
        """The exit code of a build and what it printed, isolated in the next best way where one cannot be had."""
        while True:
            output = _Output(self._progress, stage.name or str(stage.number))
            # The last option of one name holds.
            whole = [*argv, *isolation.flags, "--", self._options.context]
            code = follow(whole, isolation.variables, on_line=output.take)
            cause = None if code == 0 else cause_in("\n".join(output.lines))
            if cause is None:
                return code, output
            again = otherwise_isolated(isolation, cause.rule, network=self._options.network)
            if again is None:
                return code, output
            isolation = self._note(again)

    def _isolation(self, stage: Stage) -> Isolation:
        """That of commands, said once; nothing where the stages that are built run none."""
        needed = [self._document.stages[number] for number in needed_stages(self._document, stage)]
        if not any(instruction.name == "RUN" for each in needed for instruction in each.instructions):
            return Isolation(variables=self._store.environment)
        found = self._found or isolation_here(self._store.environment, network=self._options.network)
        return self._note(found)

    def _note(self, isolation: Isolation) -> Isolation:
        """Keep it for the stages to come, and say what is new about it."""
        self._found = isolation
        for note in isolation.notes:
            if note not in self._noted:
                self._noted.add(note)
                self._progress.note(note)
        return isolation

    def _platforms(self) -> dict[str, str]:
        build = host_platform(os.uname().machine)
        target = build if self._options.platform is None else parse_platform(self._options.platform)
        return platform_arguments(target, build)


class _Output:
    """What a build prints: `step` is the last that it began, `lines` what came since."""

    def __init__(self, progress: Progress, name: str) -> None:
        self.step: Step | None = None
        self.lines: list[str] = []
        self._progress = progress
        self._name = name

    def take(self, line: str) -> None:
        """The next line."""
        step = step_of(line)
        if step is not None:
            self.step, self.lines = step, []
        else:
            self.lines = [*self.lines[-_KEPT:], line]
        if line.strip():
            self._progress.step(f"stage {self._name}: {line.strip()}")
