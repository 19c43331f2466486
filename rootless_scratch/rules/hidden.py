"""Rules on paths that a runtime covers: what an image has there is not seen by its programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rootless_scratch.findings import Finding
from rootless_scratch.rules.advice import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.image.rootfs import File

_MOUNTS: Final = ("/proc/", "/sys/", "/dev/")
_FILES: Final = ("/etc/hosts", "/etc/hostname")


def judge_hidden(started: Sequence[File]) -> Iterator[Finding]:
    """Refuse to start what lies where every runtime mounts something else."""
    for file in started:
        if file.path.startswith(_MOUNTS) or file.path in _FILES:
            yield Finding(
                rule="hidden-by-runtime",
                severity="error",
                subject=file.path,
                message=f"{shown(file.path)} is started, but a container runtime mounts its own over it.",
                fix="Put the program elsewhere, e.g. PROGRAM:/usr/bin/NAME.",
            )
