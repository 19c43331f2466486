"""Rules on one program: whether the kernel will start it in an image that holds only what was put there.

Each rule has a section in docs/rules.md. The rules on whole images (entrypoint, PATH, user, modes) stand in
rules/image/images.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rootless_scratch.findings import Finding, Verdict
from rootless_scratch.rules import advice
from rootless_scratch.rules.advice import shown
from rootless_scratch.rules.program.files import judge_file
from rootless_scratch.rules.program.loaders import judge_loading
from rootless_scratch.rules.program.scripts import judge_script
from rootless_scratch.rules.program.soundness import truncated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.rules.view import Surroundings

_UNDECIDED: Final = frozenset(
    {
        "upx-packed",
        "self-extracting",
        "loader-included",
        "script-env-program-missing",
        "not-executable",
        "not-readable",
        "file-capabilities",
        "id-too-high",
        "command-by-relative-path",
        "stage-not-built",
    }
)
"""Rules after which nobody can say beforehand whether the program starts."""


def judge_program(
    facts: ProgramFacts, *, subject: str, around: Surroundings, image_path: str | None = None
) -> tuple[Finding, ...]:
    """Say what would keep the program from starting in the image, and how this very program is mended.

    `image_path`, where known, is the program's own path there: `$ORIGIN` in its library path begins there.
    """
    found: Finding | None
    if facts.kind == "script":
        found = judge_script(facts, subject=subject, around=around, image_path=image_path)
    elif facts.elf is None:
        found = judge_file(facts, subject=subject)
    else:
        elf = facts.elf
        found = _refused(facts, elf, subject) or _packed(elf, subject)
        if (found is None or found.rule == "self-extracting") and not elf.static:
            loading = judge_loading(elf, subject=subject, around=around, image_path=image_path)
            return (*filter(None, (found,)), *loading)
    return () if found is None else (found,)


def judge_platforms(facts: Sequence[ProgramFacts]) -> tuple[Finding, ...]:
    """Refuse programs of different architectures in one image: no host could start them all."""
    first: dict[str, ProgramFacts] = {}
    for program in facts:
        if program.elf is not None and program.elf.type in {"EXEC", "DYN"}:
            first.setdefault(program.elf.machine, program)
    if len(first) < 2:  # noqa: PLR2004 - two make a mixture
        return ()
    parts = [f"{shown(program.path)} is for {machine}" for machine, program in first.items()]
    return (
        Finding.error(
            rule="mixed-architectures",
            subject=", ".join(program.path for program in first.values()),
            message=f"The image would hold programs of different architectures: {advice.listed(parts)}.",
            fix="Build one image per architecture; or, if they are one program, give them one place, as in "
            "`PROGRAM:/hello`: then there is an image for each.",
        ),
    )


def verdict(findings: Sequence[Finding]) -> Verdict:
    """Say what follows from the findings: `fails` after an error, `unknown` where a rule saw too little."""
    if any(finding.severity == "error" for finding in findings):
        return "fails"
    if any(finding.rule in _UNDECIDED for finding in findings):
        return "unknown"
    return "starts"


def _refused(facts: ProgramFacts, elf: ElfFacts, subject: str) -> Finding | None:
    """Refuse what is no linked program, is for no Linux that containers run on, or lacks the place to begin."""
    name = shown(subject)
    if elf.type == "REL":
        rule = "object-file"
        message = f"{name} is an object file (or a kernel module), which is not linked yet."
        fix = "Link it into a program, e.g. with `gcc -static -o PROGRAM`, and name that."
    elif elf.type == "CORE":
        rule = "core-file"
        message = f"{name} is a core file, the memory of a program that crashed."
        fix = "Name the program itself; `file` tells which program the core came from."
    elif elf.type not in {"EXEC", "DYN"}:
        rule = "not-a-program"
        message = f"{name} is an ELF file of the type {elf.type}, which the kernel does not execute."
        fix = "Name the linked program."
    elif elf.platform is None:
        rule = "unknown-architecture"
        message = f"{name} is for the processor {elf.machine} ({elf.bits} bits, {elf.byte_order}-endian), "
        message += "for which OCI images have no platform."
        fix = "Build it for a processor that containers run on, e.g. x86_64 or aarch64."
    elif elf.platform.os != "linux":
        rule = "not-linux"
        message = f"{name} is a program for {shown(elf.platform.os)}, not for Linux."
        fix = "Build it for Linux with `GOOS=linux go build`." if elf.go else "Build it for Linux."
    elif elf.truncated:
        return truncated(elf, subject)
    elif elf.type == "DYN" and (elf.entry == 0 or not _is_executable(facts, elf)):
        rule = "shared-library"
        message = f"{name} is a shared library, not a program."
        fix = advice.library_fix(elf)
    elif not elf.entry_loaded:
        rule = "no-code"
        message = f"{name} has no code at 0x{elf.entry:x}, where it should begin; "
        message += "files with split-off debug information look like this."
        fix = "Name the program itself, not the file with its debug information."
    else:
        return None
    return Finding.error(rule=rule, subject=subject, message=message, fix=fix)


def _is_executable(facts: ProgramFacts, elf: ElfFacts) -> bool:
    """Tell programs from shared libraries among ELF files of type DYN.

    Old linkers set DT_DEBUG but not DF_1_PIE, as file(1) knows too; loaders are programs that have neither.
    """
    if elf.interpreter is not None or elf.pie or elf.debug_tag:
        return True
    names = (elf.soname or "", facts.path.rpartition("/")[2])
    return any(name.startswith(("ld-", "ld.so", "ld64.so")) for name in names)


def _packed(elf: ElfFacts, subject: str) -> Finding | None:
    """Warn of a program that is more than its headers say, or whose headers are those of the packer."""
    name = shown(subject)
    rule = "self-extracting"
    if elf.upx:
        rule = "upx-packed"
        message = f"{name} is packed with UPX, which hides whether it needs a loader."
        fix = "Unpack it with `upx -d`, or build it without packing: layers are compressed anyway."
    elif elf.bundle == "AppImage":
        message = f"{name} is an AppImage, which mounts itself when it starts, by a device that containers do "
        message += "not have."
        fix = "Unpack it with `--appimage-extract`, and build the image from what comes out."
    elif elf.bundle is not None:
        message = f"{name} holds more programs and libraries, which {elf.bundle} unpacks when it starts, "
        message += "below /tmp; what those need cannot be seen."
        fix = "Add /tmp by `--with tmp`, and try the image out; or pack it as a directory, and copy that."
    else:
        return None
    return Finding.warning(rule=rule, subject=subject, message=message, fix=fix)
