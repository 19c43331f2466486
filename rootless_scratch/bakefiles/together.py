"""Bake files of HCL and JSON and compose files, read as one: the rules are those of `docker buildx bake`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rootless_scratch.bakefiles.choosing import LINK, Config
from rootless_scratch.bakefiles.definitions import Definitions
from rootless_scratch.bakefiles.interpolation import variables_of
from rootless_scratch.bakefiles.mapping import mapped
from rootless_scratch.bakefiles.positions import Position, Wrong
from rootless_scratch.bakefiles.target import Target, Targets
from rootless_scratch.bakefiles.values import Misfit
from rootless_scratch.elf.platforms import host_platform
from rootless_scratch.errors import Fault, SourceError, SpecFileError, UsageError
from rootless_scratch.image.host_files import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rootless_scratch.bakefiles.attributes import Defined
    from rootless_scratch.bakefiles.blocks import Block

_SIZE_MAX = 4 << 20
_COMPOSE = (".yaml", ".yml")
_NO_ENVIRONMENT = "BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP"


def read_together(
    paths: Sequence[str], names: Sequence[str], *, settings: Sequence[str], environ: Mapping[str, str]
) -> Targets:
    """The chosen targets of all files, each with what it inherits and what is set; raises as `read_targets`."""
    values = dict(each.partition("=")[::2] for each in settings if "." not in each.partition("=")[0])
    known = {} if environ.get(_NO_ENVIRONMENT, "").lower() in ("1", "t", "true") else dict(environ)
    reading = _Reading(", ".join(paths), known, values)
    reading.add(paths)
    reading.refuse()
    config = reading.config
    every = config.settings([each for each in settings if "." in each.partition("=")[0]], known)
    chosen, groups = config.chosen(names)
    resolved = {name: config.resolved(name, every) for name in chosen}
    linked = _linked(config, resolved, lambda name: config.resolved(name, every))
    targets, notes = _mapped([*resolved.values(), *linked], environ)
    return Targets(
        path=reading.path,
        targets=tuple(targets[: len(resolved)]),
        linked=tuple(targets[len(resolved) :]),
        groups=tuple((name, tuple(members)) for name, members in groups.items()),
        notes=tuple(dict.fromkeys(notes)),
        foreign=True,
    )


class _Reading:
    """Files read one after the other; what is wrong with any is told for all."""

    def __init__(self, path: str, environ: Mapping[str, str], values: Mapping[str, str]) -> None:
        self.path = path
        self.config = Config(path)
        self._environ = environ
        self._values = values
        self._faults: list[Fault] = []

    def add(self, paths: Sequence[str]) -> None:
        """Compose files first, as one; then all others as one. Raises SourceError."""
        contents = [(path, _content(path)) for path in paths]
        composed = [each for each in contents if each[0].lower().endswith(_COMPOSE)]
        if composed:
            self._add_composed(composed)
        others = [each for each in contents if each not in composed]
        blocks = [block for path, content in others for block in self._read(content, path)]
        if blocks or self._values:
            self._add_blocks(blocks)

    def refuse(self) -> None:
        """Raise SpecFileError for what is wrong."""
        if self._faults:
            found = dict.fromkeys(self._faults)
            raise SpecFileError(sorted(found, key=lambda each: (each.path, each.line, each.column)))

    def _wrong(self, found: Iterable[Wrong], key: str = "") -> None:
        self._faults += [each.fault(key) for each in found]

    def _read(self, content: str, path: str) -> list[Block]:
        from rootless_scratch.bakefiles.blocks import read_hcl, read_json

        read = read_json if path.lower().endswith(".json") else read_hcl
        try:
            return [read(content, path)]
        except Wrong as error:
            self._wrong([error])
            return []

    def _add_composed(self, files: Sequence[tuple[str, str]]) -> None:
        from rootless_scratch.bakefiles.compose import Composed

        composed = Composed({**self._dotenv(), **self._values})
        try:
            for path, content in files:
                composed.add(content, path)
        except Wrong as error:
            self._wrong([error])
            return
        made = []
        for name, target, wrong in composed.targets():
            self._wrong(wrong, name)
            if target is not None:
                self.config.add(target)
                made.append(target.name)
        self.config.add_group("default", made)

    def _dotenv(self) -> Mapping[str, str]:
        """Variables of compose files: the environment, and what `.env` has beside it."""
        if not os.path.isfile(".env"):
            return self._environ
        try:
            return {**variables_of(_content(".env"), self._environ), **self._environ}
        except Misfit as error:
            fault = Wrong(Position(path=".env"), f"{error}.", "Write NAME=VALUE lines.")
            self._wrong([fault])
            return self._environ

    def _add_blocks(self, blocks: Sequence[Block]) -> None:
        builtin = {"BAKE_CMD_CONTEXT": "cwd://", "BAKE_LOCAL_PLATFORM": str(host_platform(os.uname().machine))}
        found = Definitions(blocks, values=self._values, environ=self._environ, builtin=builtin)
        for name in self._values:
            if name not in found.variables:
                from rootless_scratch.image.plan.inheriting import unknown

                raise unknown("variable", self.path, name, found.variables)
        self._wrong(found.wrong())
        composed = [*self.config.targets]
        renamed: dict[str, list[str]] = {}
        for label, targets, wrong in found.targets():
            self._wrong(wrong, label)
            self._add_targets(label, targets)
            renamed.setdefault(label, []).extend(each.name for each in targets)
        try:
            for name, names in found.groups():
                # What compose files have is added to; a later group of the files themselves takes its place.
                before = self.config.groups.get(name, []) if composed and name == "default" else []
                self.config.add_group(name, [*before, *names])
        except Wrong as error:
            self._wrong([error])
        for label, names in renamed.items():
            if names != [label] * len(names) and label not in self.config.groups:
                self.config.add_group(label, names)

    def _add_targets(self, label: str, targets: Sequence[Defined]) -> None:
        seen: set[str] = set()
        for target in targets:
            if target.name in seen:
                fix = "Give `name` a part of each value of the matrix."
                self._wrong([Wrong(target.place, f"Two targets are called {target.name!r}.", fix)], label)
            seen.add(target.name)
            self.config.add(target)


def _linked(config: Config, resolved: Mapping[str, Defined], resolve: Callable[[str], Defined]) -> list[Defined]:
    """Targets that others take as a named context, and that nobody asked for; raises UsageError, SpecFileError."""
    found: dict[str, Defined] = dict(resolved)
    waiting = list(resolved.values())
    while waiting:
        target = waiting.pop(0)
        for value in target.values.get("contexts", {}).values():
            name = value.removeprefix(LINK)
            if not value.startswith(LINK) or name in found:
                continue
            if name not in config.targets:
                wrong = Wrong(target.where("contexts"), f"There is no target {name!r}.", "Name one of the file.")
                raise SpecFileError([wrong.fault(f"{target.name}.contexts")])
            found[name] = resolve(name)
            waiting.append(found[name])
    _require_no_circle(found)
    return [each for name, each in found.items() if name not in resolved]


def _require_no_circle(targets: Mapping[str, Defined]) -> None:
    def follow(name: str, seen: tuple[str, ...]) -> None:
        if name in seen:
            ways = " -> ".join([*seen[seen.index(name) :], name])
            raise UsageError(f"Targets need each other as contexts: {ways}.", fix="Leave one of them out.")
        for value in targets[name].values.get("contexts", {}).values():
            if value.startswith(LINK):
                follow(value.removeprefix(LINK), (*seen, name))

    for name in targets:
        follow(name, ())


def _mapped(targets: Sequence[Defined], environ: Mapping[str, str]) -> tuple[list[Target], list[str]]:
    """All as targets of builds here; raises SpecFileError with all that cannot be done."""
    found: list[Target] = []
    faults: list[Fault] = []
    notes: list[str] = []
    for each in targets:
        target, wrong, noted = mapped(each, environ)
        faults += [one.fault() for one in wrong]
        notes += noted
        if target is not None:
            found.append(target)
    if faults:
        raise SpecFileError(list(dict.fromkeys(faults)))
    return found, notes


def _content(path: str) -> str:
    try:
        with open_regular(path) as file:
            content = file.read(_SIZE_MAX + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(
            f"{path!r} cannot be read: {reason}.", fix="Name a bake file or a compose file."
        ) from error
    if len(content) > _SIZE_MAX:
        raise SourceError(f"{path!r} has more than {_SIZE_MAX} bytes.", fix="Name a bake file.")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpecFileError([Fault(path, line, 1, "", "The file is not UTF-8.", "Save it as UTF-8.")]) from error
