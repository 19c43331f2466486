"""Rules on programs that start others: a shell, helpers of their own, what a Go program looks up in PATH."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from rootless_scratch.findings import Finding
from rootless_scratch.rules.advice import listed, shown
from rootless_scratch.rules.image.calls import Calls

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rootless_scratch.elf.libraries import Closure
    from rootless_scratch.image.plan.planner import Plan, Program
    from rootless_scratch.image.plan.starters import Starter
    from rootless_scratch.rules.view import ImageView

_SHOWN = 3
_EXECUTE: Final = 0o111


def judge_others(
    view: ImageView,
    programs: Sequence[Program],
    closures: Mapping[str, Closure],
    starters: Sequence[Starter] = (),
) -> Iterator[Finding]:
    """Say which programs can start others that the image does not have; `starters` name those of the host."""
    named = {starter.path: starter for starter in starters}
    for program in programs:
        elf = program.facts.elf
        if elf is None:
            continue
        calls = Calls(elf, (program.path, program.facts.path), closures.get(program.path))
        starter = named.get(program.path)
        yield from _shell(view, program, calls, starter)
        if starter is not None and starter.starts:
            yield from _helpers(view, program, starter)
        elif evidence := list(calls.own(("os/exec.(*Cmd).Start",))):
            yield from _any_program(view, program, evidence, closures)


def judge_displaced(plan: Plan) -> Iterator[Finding]:
    """Say which programs look for themselves, and do not lie where they lie on this host."""
    for path, home in plan.displaced:
        yield Finding.info(
            rule="placed-elsewhere",
            subject=path,
            message=f"{shown(path)} looks for files by its own path (/proc/self/exe), which is {shown(home)} on "
            "this host.",
            fix="Leave its DEST out, so that `--bundle-libraries` keeps its path; or copy what it looks for to "
            "where that lies from there.",
        )


def _shell(view: ImageView, program: Program, calls: Calls, starter: Starter | None) -> Iterator[Finding]:
    evidence = list(calls.own(("system", "popen")))
    if not evidence and starter is not None and starter.shell:
        evidence = ["/bin/sh in its texts"]
    if evidence and not view.is_file("/bin/sh"):
        name = shown(program.facts.path)
        yield Finding.warning(
            rule="needs-shell",
            subject=program.facts.path,
            message=f"{name} runs shell commands ({listed(evidence[:_SHOWN])}), and the image has no /bin/sh.",
            fix="Add a static shell, e.g. `--copy /bin/busybox:/bin/sh`, if what uses it is needed.",
        )


def _helpers(view: ImageView, program: Program, starter: Starter) -> Iterator[Finding]:
    missing = [path for path in starter.starts if not view.is_file(path)]
    if not missing:
        return
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    names = ", ".join(map(shown, missing[:_SHOWN])) + more if more else listed([shown(path) for path in missing])
    by_package = (
        f", or the package that has them by `--bundle-package {starter.package}`" if starter.package else ""
    )
    yield Finding.warning(
        rule="needs-other-programs",
        subject=program.facts.path,
        message=f"{shown(program.facts.path)} can start {names}, which the image does not have.",
        fix=f"Add those that it is to start, each as a PROGRAM of its own{by_package}.",
    )


def _any_program(
    view: ImageView, program: Program, evidence: Sequence[str], closures: Mapping[str, Closure]
) -> Iterator[Finding]:
    loaded = {each.real for closure in closures.values() for each in closure.libraries}
    loaded |= {closure.interpreter.real for closure in closures.values() if closure.interpreter is not None}
    others = (
        file
        for file in view.rootfs.files
        if file.mode & _EXECUTE and file.path != program.path and file.path not in loaded
        if ".so" not in posixpath.basename(file.path)
    )
    if next(others, None) is None:
        name = shown(program.facts.path)
        yield Finding.warning(
            rule="needs-other-programs",
            subject=program.facts.path,
            message=f"{name} can start other programs ({listed(evidence[:_SHOWN])}), and the image has none.",
            fix="Add those that it starts, each as a PROGRAM of its own.",
        )
