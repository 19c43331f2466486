"""Judgement of a whole image, before it is built or read back from storage: would it start.

The rules stand by theme: the command (commands.py), the user and what it may execute (permissions.py),
directories (places.py), and every program by itself (programs.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from rootless_scratch.elf.libraries import Closure, Unresolved, resolve
from rootless_scratch.findings import Finding
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.treeroot import TreeRoot
from rootless_scratch.rules.advice import shown
from rootless_scratch.rules.image.commands import judge_command, judge_healthcheck, started_path
from rootless_scratch.rules.image.machines import judge_machines
from rootless_scratch.rules.image.needs import judge_covered, judge_needs
from rootless_scratch.rules.image.others import judge_displaced, judge_others
from rootless_scratch.rules.image.permissions import (
    judge_account,
    judge_execution,
    judge_ignored,
    judge_losses,
    judge_privileges,
    judge_reading,
)
from rootless_scratch.rules.image.places import judge_hidden, judge_mount_points, judge_places
from rootless_scratch.rules.image.runtimes import judge_runtimes
from rootless_scratch.rules.image.venvs import judge_venvs
from rootless_scratch.rules.program.loaders import judge_bundled, judge_incomplete
from rootless_scratch.rules.program.programs import judge_platforms, judge_program
from rootless_scratch.rules.program.scripts import judge_depth
from rootless_scratch.rules.view import ImageView, Surroundings, view_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.image.config import RuntimeConfig
    from rootless_scratch.image.plan.planner import Plan, Program
    from rootless_scratch.image.plan.starters import Starter
    from rootless_scratch.image.rootfs import File, Rootfs

_RANK: Final = {"error": 0, "warning": 1, "info": 2}

_ALSO_RUNS: Final = {"amd64": ("386",), "arm64": ("arm",)}
"""Processors on which a kernel also starts programs for an older one."""


def judge_plan(plan: Plan, files: HostFiles | None = None) -> tuple[Finding, ...]:
    """Judge an image before it is built; `files` are those of the plan. See `judge_image`."""
    files = files or HostFiles(keep=False)
    known = {library.path: library.facts.elf for library in plan.libraries}
    found = judge_image(
        rootfs=plan.rootfs,
        config=plan.config.config,
        programs=plan.programs,
        platform=plan.platform,
        read=lambda file: known.get(file.path) or files.elf(file),
        content=files.content,
        sought=plan.unresolved,
        bundling=plan.bundling,
        starters=plan.starters,
    )
    bundled = judge_bundled([(each.path, each.facts) for each in plan.libraries], found)
    every = sorted((*bundled, *found, *judge_losses(plan.losses)), key=lambda finding: _RANK[finding.severity])
    return (
        *every,
        *judge_incomplete(plan.rootfs, plan.incomplete),
        *judge_ignored(plan.ignored),
        *judge_covered(plan),
        *judge_displaced(plan),
    )


def judge_image(
    *,
    rootfs: Rootfs,
    config: RuntimeConfig,
    programs: Sequence[Program],
    platform: str | None,
    read: Callable[[File], ElfFacts | None] = lambda _: None,
    content: Callable[[File], bytes | None] = lambda _: None,
    sought: Sequence[Unresolved] = (),
    bundling: bool = False,
    starters: Sequence[Starter] = (),
) -> tuple[Finding, ...]:
    """Say what would keep the image from starting, then what would go wrong later; errors come first.

    `programs` are the files that were named as programs and those that get started, interpreters included.
    `read` tells the facts of other files, `content` all bytes of small ones (None: not known), `sought` what was
    to be bundled and not found, `bundling` whether anything was to be.
    """
    view = view_of(rootfs, config, content)
    root = TreeRoot(view.tree, read=read, content=content)
    around = Surroundings(
        root=root,
        start=config.start(),
        search_path=config.search_path(),
        working_dir=config.working_dir,
        sought=sought,
        bundling=bundling,
    )
    facts = {program.path: program.facts for program in programs}
    started = _started(view, facts)
    executed = tuple(_executed(view, started, facts))
    closures = dict(_closures(programs, around))
    around = msgspec.structs.replace(around, closures=closures)
    libraries = tuple(
        library.path for file in started if file.path in closures for library in closures[file.path].libraries
    )
    findings = [
        *judge_command(view),
        *judge_healthcheck(view),
        *judge_execution(view, executed),
        *_judge_programs(programs, around),
        *judge_reading(view, libraries),
        *judge_hidden(view, (*executed, *libraries)),
        *judge_mount_points(view),
        *judge_depth(view, started, facts),
        *_judge_platform(started, facts, platform),
        *judge_account(view),
        *judge_places(view),
        *judge_privileges(view, started),
        *judge_venvs(view, started, content),
        *judge_needs(view, programs, closures),
        *judge_others(view, programs, closures, starters),
        *judge_runtimes(view, programs, closures, content),
        *judge_machines(view, programs),
    ]
    if platform is None and not any(finding.severity == "error" for finding in findings):
        findings.append(_no_platform(config))
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: _RANK[finding.severity]))


def _started(view: ImageView, facts: Mapping[str, ProgramFacts]) -> tuple[File, ...]:
    path = started_path(view)
    if path is None:
        return ()
    found = msgspec.structs.replace(view.config, entrypoint=(path,), cmd=None)
    return view.tree.started_files(found, lambda file: facts.get(file.path))


def _executed(view: ImageView, started: Sequence[File], facts: Mapping[str, ProgramFacts]) -> Iterator[str]:
    """List the paths that the kernel opens for execution: the command, interpreters of scripts, loaders."""
    path = started_path(view)
    if path is not None:
        yield path
    for file in started:
        known = facts.get(file.path)
        if known is None:
            continue
        by_env = view.tree.started_by_env(view.config, known)
        for interpreter in (*(known.shebang or ())[:1], known.elf.interpreter if known.elf else None, by_env):
            if interpreter is not None and interpreter.startswith("/") and view.is_file(interpreter):
                yield interpreter


def _closures(programs: Sequence[Program], around: Surroundings) -> Iterator[tuple[str, Closure]]:
    """The libraries that loaders open for each program, by its path."""
    for program in programs:
        elf = program.facts.elf
        if elf is not None and elf.interpreter is not None:
            yield program.path, resolve(elf, path=program.path, root=around.root, start=around.start)


def _judge_programs(programs: Sequence[Program], around: Surroundings) -> Iterator[Finding]:
    for program in programs:
        yield from judge_program(program.facts, subject=program.facts.path, around=around, image_path=program.path)
    yield from judge_platforms([program.facts for program in programs])


def _judge_platform(
    started: Sequence[File], facts: Mapping[str, ProgramFacts], platform: str | None
) -> Iterator[Finding]:
    """Compare what the image claims with what it starts; variants are left to the engine that runs it."""
    if platform is None:
        return
    system, architecture = (*platform.split("/"), "")[:2]
    for file in started:
        known = facts.get(file.path)
        made_for = known.elf.platform if known is not None and known.elf is not None else None
        if made_for is None or made_for.os != "linux":
            continue
        fits = (architecture, *_ALSO_RUNS.get(architecture, ()))
        if system != "linux" or made_for.architecture not in fits:
            yield Finding.error(
                rule="platform-mismatch",
                subject=file.path,
                message=f"The image says that it is for {shown(platform)}, and {shown(file.path)}, which it "
                f"starts, is for {made_for}.",
                fix="Rebuild the image: `build` takes the platform from the program.",
            )


def _no_platform(config: RuntimeConfig) -> Finding:
    return Finding.error(
        rule="no-platform",
        subject=next(iter(config.argv()), ""),
        message="Nothing in the image tells its architecture, which every image must name.",
        fix="Name the compiled program that the image is to start.",
    )
