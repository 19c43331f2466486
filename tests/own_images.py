"""The container image of rootless-scratch itself, and the filter of a pod that it works in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRIPT = Path(__file__).resolve().parent.parent / "scripts/image.py"

NO_NAMESPACES = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {
            "names": ["unshare", "mount", "umount2", "setns", "pivot_root"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 1,
        }
    ],
}
"""As a pod has it with its engine's default profile; the runtime itself has done its work before."""


def build_own(environment: Mapping[str, str], *words: str) -> None:
    """Build it, as the words of `build` have it."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "-q", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
