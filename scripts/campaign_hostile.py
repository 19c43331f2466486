"""Images of strangers that are made to take memory, processor or disk, read by every verb in a process of its own.

The subjects are those of tests/hostile.py, with a million entries. Each call is a whole process of the command
line; a table has the worst of each kind. Exits 1 where one took more than it may, or ended in anything but a
verdict or an error of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import hostile
import tinyelf
from figures import write_table

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS, MEGABYTES = 2.0, 150
ENDS = (0, 1, 2)


class Call(NamedTuple):
    """One process: whose it was, how it ended, what it took."""

    kind: str
    name: str
    verb: str
    code: int
    traceback: bool
    seconds: float
    megabytes: int

    @property
    def is_odd(self) -> bool:
        """Whether it took more than it may, or ended in another way than calls end."""
        return self.code not in ENDS or self.traceback or self.seconds > SECONDS or self.megabytes > MEGABYTES


def made(place: Path, entries: int) -> Iterator[hostile.Subject]:
    """The subjects, from a process of their own: its memory would count as that of what is started from it."""
    argv = [sys.executable, hostile.__file__, "--make", str(place), str(entries)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as making:
        assert making.stdout is not None  # noqa: S101 - a pipe was asked for
        for line in making.stdout:
            yield hostile.Subject(*json.loads(line))
    if making.returncode:
        sys.exit("the subjects could not be made")


def verbs(word: str, place: Path) -> dict[str, list[str]]:
    """The words of each verb for one image."""
    return {
        "check": ["check", word],
        "inspect": ["inspect", word, "--json"],
        "verify": ["verify", word, f"{place}/program"],
        "save": ["save", word, "-o", f"{place}/out.tar", "--compress", "none"],
        "push": ["push", word, f"oci:{place}/out"],
    }


def call(subject: hostile.Subject, verb: str, words: list[str], place: Path) -> Call:
    """Run it and measure it by what the kernel says of it: wait4(2)."""
    errors = place / "errors"
    argv = [sys.executable, "-m", "rootless_scratch", *words]
    environment = {**os.environ, "HOME": str(place), "TMPDIR": str(place)}
    began = time.monotonic()
    with errors.open("wb") as file, open(os.devnull, "wb") as null:
        streams = [(os.POSIX_SPAWN_DUP2, null.fileno(), 1), (os.POSIX_SPAWN_DUP2, file.fileno(), 2)]
        pid = os.posix_spawn(sys.executable, argv, environment, file_actions=streams)
        _, status, usage = os.wait4(pid, 0)
    took = time.monotonic() - began
    for made in ("out.tar", "out"):
        path = place / made
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return Call(
        kind=subject.kind,
        name=subject.name,
        verb=verb,
        code=os.waitstatus_to_exitcode(status),
        traceback=b"Traceback" in errors.read_bytes(),
        seconds=took,
        megabytes=usage.ru_maxrss // 1024,
    )


def main() -> int:
    """Make the subjects, call every verb with each, print the table."""
    parser = argparse.ArgumentParser(prog="scripts/campaign hostile", description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the largest layer [default: a million]")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    words = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="hostile-"))
    calls: list[Call] = []
    try:
        tinyelf.write(place / "program")
        for subject in made(place, words.entries):
            for verb, argv in verbs(subject.word, place).items():
                calls.append(call(subject, verb, argv, place))
                if calls[-1].is_odd:
                    sys.stderr.write(f"odd: {calls[-1]}\n")
    finally:
        shutil.rmtree(place)
    kinds = dict.fromkeys(each.kind for each in calls)
    rows = []
    for kind in kinds:
        own = [each for each in calls if each.kind == kind]
        count = len({each.name for each in own})
        slowest = max(each.seconds for each in own)
        largest = max(each.megabytes for each in own)
        rows.append([kind, str(count), f"{slowest:.2f}", str(largest), str(sum(each.is_odd for each in own))])
    total = len({(each.kind, each.name) for each in calls})
    odd = sum(each.is_odd for each in calls)
    rows.append([f"all {len(kinds)} kinds", str(total), "", "", str(odd)])
    heading = ["kind", "subjects", "slowest, s", "most memory, MB", "odd"]
    write_table("hostile", heading, rows, into=Path("docs/reliability.md") if words.write else None)
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
