"""Where measurements are made: a home of their own, what is built there, and ways that are timed in turn."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benches.series import LONG, SHORT, Series, rounds
from rootless_scratch.host.environment import tool_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
OURS = str(Path(sys.executable).with_name("rootless-scratch"))
SIZES = {"0.75MB": 0, "100MB": 100_000_000, "500MB": 500_000_000}
"""Bytes that the program is padded to; 0: as compiled."""

SETTLED = 3.5
"""Seconds after which a file is known by its status (docs/decisions/0022)."""

CONTAINERFILE = """FROM scratch
COPY hello /hello
USER 65532:65532
ENTRYPOINT ["/hello"]
"""

_PER_DIRECTORY = 1000
_SETTINGS = ("XDG_", "ROOTLESS_SCRATCH_")


class Bench:
    """A home of its own beside the user's, on the same file system, with an empty image store.

    `quick` times each way less often.
    """

    def __init__(self, driver: str | None, *, quick: bool = False) -> None:
        self.quick = quick
        self.home = Path(tempfile.mkdtemp(prefix=".rootless-scratch-bench-", dir=Path.home()))
        # Apart from the home: paths of sockets may not exceed 107 bytes.
        self.runtime = Path(tempfile.mkdtemp(prefix="rsb-"))
        own = {
            name: value for name, value in tool_environment().variables.items() if not name.startswith(_SETTINGS)
        }
        self.environment: Mapping[str, str] = {
            **own,
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.runtime),
            **({"STORAGE_DRIVER": driver} if driver else {}),
        }

    def time(self, argv: Sequence[str]) -> float:
        """Run a command to its end and return its seconds; it must succeed."""
        begin = time.perf_counter()
        done = subprocess.run(
            argv,
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        taken = time.perf_counter() - begin
        if done.returncode != 0:
            sys.exit(f"bench: {argv} failed:\n{done.stderr.decode(errors='replace')}")
        return taken

    def ask(self, *argv: str) -> str:
        """Answer of a short question."""
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def alternate(
        self,
        ways: Mapping[str, Sequence[str]],
        *,
        after: Callable[[str], None] | None = None,
    ) -> Series:
        """Time the ways in turn, as often as the slowest allows; `after` follows each, and is not timed.

        A first round finds the slowest and fills the page cache. Where that takes little of the time, it counts.
        """
        first = self._round(ways, after)
        longest = max(first.values())
        count = rounds(longest, quick=self.quick)
        found = [first] if longest >= (SHORT if self.quick else LONG) else []
        found += [self._round(ways, after) for _ in range(count - len(found))]
        return Series(times={name: [each[name] for each in found] for name in ways})

    def _round(self, ways: Mapping[str, Sequence[str]], after: Callable[[str], None] | None) -> dict[str, float]:
        times = {}
        for name, argv in ways.items():
            times[name] = self.time(argv)
            if after:
                after(name)
        return times

    def empty(self, _way: str = "") -> None:
        """Forget every image, and what we remember of earlier builds."""
        self.time(["buildah", "rmi", "--all", "--force"])
        shutil.rmtree(self.home / ".cache/rootless-scratch", ignore_errors=True)

    @functools.cached_property
    def program(self) -> Path:
        """A static program that prints one line."""
        path = self.home / "hello"
        self.time(["gcc", "-static", "-o", str(path), str(ROOT / "docs/hello.c")])
        return path

    def context(self, size: str) -> Path:
        """Directory with the program, padded to a size of SIZES, and a Containerfile that does as we do."""
        context = self.home / f"context-{size}"
        if not context.exists():
            context.mkdir()
            pad(self.program, context / "hello", SIZES[size])
            (context / "Containerfile").write_text(CONTAINERFILE, encoding="ascii")
        return context

    def tree(self, count: int) -> Path:
        """Directory with so many small files and a Containerfile that brings them, and the program."""
        context = self.home / f"context-{count}"
        if not context.exists():
            for first in range(0, count, _PER_DIRECTORY):
                directory = context / "tree" / f"{first:06}"
                directory.mkdir(parents=True)
                for number in range(first, min(first + _PER_DIRECTORY, count)):
                    (directory / f"{number:06}.txt").write_bytes(b"page %d\n" % number)
            shutil.copy(self.program, context / "hello")
            text = CONTAINERFILE.replace("USER", "COPY tree /srv\nUSER")
            (context / "Containerfile").write_text(text, encoding="ascii")
        return context

    def close(self) -> None:
        """Leave nothing behind."""
        pause = self.runtime / "libpod/tmp/pause.pid"
        remove = ["rm", "-rf", str(self.home), str(self.runtime)]
        if os.getuid() != 0:
            subprocess.run(["buildah", "unshare", *remove[:3]], env=self.environment, check=False)
        if pause.exists():
            os.kill(int(pause.read_text(encoding="ascii")), 9)
        subprocess.run(remove, check=False)


def to_layout(layout: Path, *argv: str) -> list[str]:
    """The command `argv -o oci:LAYOUT`, where nothing is there yet: what is there would not be written again."""
    return ["sh", "-c", 'rm -rf "$0"; exec "$@" -o "oci:$0"', str(layout), *argv]


def pad(program: Path, target: Path, size: int) -> None:
    """Copy a program and append noise that does not compress; an ELF file may have a tail."""
    shutil.copy(program, target)
    with target.open("ab") as file:
        while (missing := size - file.tell()) > 0:
            file.write(os.urandom(min(missing, 1 << 20)))
