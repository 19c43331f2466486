"""Rules on what a program asks of the host that it will run on, and on what it does as the first process.

An image is built to run elsewhere, so nothing here is compared with this host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rootless_scratch.findings import Finding
from rootless_scratch.rules.advice import shown
from rootless_scratch.rules.image.commands import started_path
from rootless_scratch.rules.program.levels import needs_processor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.image.plan.planner import Program
    from rootless_scratch.rules.view import ImageView

_OLD_KERNEL: Final = (4, 18)
"""Nothing older runs containers without root: docs/hosts.md."""

_LARGE_PAGES: Final = {"aarch64": "16 or 64 KiB", "ppc64le": "64 KiB"}
_PAGE = 64 << 10
_C_LIBRARIES: Final = ("libc.", "libm.", "libpthread.", "libdl.", "librt.", "libgcc_s.", "libstdc++.", "ld-")
_HANDLERS: Final = frozenset(
    {"sigaction", "signal", "__sysv_signal", "sigset", "signalfd", "sigwait", "sigwaitinfo", "sigtimedwait"}
)
_KILLS: Final = frozenset({"9", "KILL", "SIGKILL"})


def judge_machines(view: ImageView, programs: Sequence[Program]) -> Iterator[Finding]:
    """Judge every program by what its notes, headers and code ask for."""
    started = started_path(view)
    for program in programs:
        elf = program.facts.elf
        if elf is not None:
            yield from _level(program.facts.path, elf)
            yield from _kernel(program.facts.path, elf)
            yield from _vsyscall(program.facts.path, elf)
            yield from _pages(program.facts.path, elf)
            if program.path == started:
                yield from _signals(view, program.facts.path, elf)


def _level(subject: str, elf: ElfFacts) -> Iterator[Finding]:
    setting = elf.go.setting("GOAMD64") if elf.go is not None and elf.machine == "x86_64" else None
    levels = [elf.isa_level or 0, int(setting[1]) if setting in {"v1", "v2", "v3", "v4"} else 0]
    level = max(levels)
    if level > 1:
        fix = "Build it for all, with `GOAMD64=v1`." if setting else "Build it for all, with `-march=x86-64`."
        yield needs_processor(subject, level, fix=fix)


def _kernel(subject: str, elf: ElfFacts) -> Iterator[Finding]:
    version = tuple(int(part) for part in elf.kernel.split(".")) if elf.kernel else ()
    if version[:2] > _OLD_KERNEL:
        yield Finding.warning(
            rule="needs-kernel",
            subject=subject,
            message=f"{shown(subject)} starts only on Linux {elf.kernel} or newer, as its C library requires.",
            fix="Build it on a system with an older C library, or with musl.",
        )


def _vsyscall(subject: str, elf: ElfFacts) -> Iterator[Finding]:
    if elf.vsyscall:
        yield Finding.warning(
            rule="needs-vsyscall",
            subject=subject,
            message=f"{shown(subject)} calls the kernel by the fixed addresses of old C libraries, and crashes "
            "where that is switched off (vsyscall=none).",
            fix="Relink it with glibc from 2.14 on or with musl; or start such hosts with vsyscall=xonly.",
        )


def _pages(subject: str, elf: ElfFacts) -> Iterator[Finding]:
    if elf.machine in _LARGE_PAGES and 0 < elf.alignment < _PAGE:
        yield Finding.warning(
            rule="needs-small-pages",
            subject=subject,
            message=f"{shown(subject)} is aligned for memory pages of {elf.alignment} bytes, and does not start "
            f"on kernels for {elf.machine} whose pages have {_LARGE_PAGES[elf.machine]}.",
            fix="Link it with `-Wl,-z,max-page-size=65536`.",
        )


def _signals(view: ImageView, subject: str, elf: ElfFacts) -> Iterator[Finding]:
    """The kernel gives the first process of a container no signal that it has no handler for: pid_namespaces(7).

    It matters for servers. Only imports tell that there is none, and only where all libraries are those of C.
    """
    if not view.config.ports:
        return
    alone = all(name.startswith(_C_LIBRARIES) for name in elf.needed)
    if elf.interpreter is None or not elf.needed or not alone or elf.go is not None:
        return
    if _HANDLERS.isdisjoint(elf.functions) and (view.config.stop_signal or "").upper() not in _KILLS:
        yield Finding.info(
            rule="ignores-signals",
            subject=subject,
            message=f"{shown(subject)} has no handler for signals, so that as the first process of a container it "
            "does not end by SIGTERM, but is killed after a delay.",
            fix="Handle SIGTERM in it if it runs long, or set `--stop-signal SIGKILL`.",
        )
