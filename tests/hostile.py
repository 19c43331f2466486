"""Images made to cost more than they are: small files of many kinds, each of harmless parts.

Run as a program (`python hostile.py PLACE VERB...`, subjects as lines of JSON on stdin) it does what a verb does
with each, in a process of its own, and tells how long that took, in how much memory, and how it ended. With
`--make PLACE ENTRIES` it makes the subjects, and names them line by line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hostile_layers import LAYERS
from hostile_layouts import ARCHIVES, LAYOUTS, Layout
from tars import many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    _Make = Callable[[], bytes | tuple[bytes, ...]]

VERBS = ("check", "inspect", "verify", "save", "save-anew", "repair")


class Subject(NamedTuple):
    """A kind of trouble, the word by which the image is named, and how much of it there is on disk."""

    kind: str
    name: str
    word: str


def subjects(place: Path, *, entries: int = 300_000) -> Iterator[Subject]:
    """Make them all, one after the other."""
    numerous: dict[str, dict[str, _Make]] = {"entries": {f"{entries}": partial(many, entries)}}
    for kind, makes in (LAYERS | numerous).items():
        for name, make in makes.items():
            layout = Layout(place / f"{kind}-{name}")
            made = make()
            layers = made if isinstance(made, tuple) else (made,)
            layout.write([layout.image(*layers)])
            yield Subject(kind, name, f"oci:{layout.path}")
    for kind, builds in LAYOUTS.items():
        for name, build in builds.items():
            layout = Layout(place / f"{kind}-{name}")
            build(layout)
            yield Subject(kind, name, f"oci:{layout.path}")
    for kind, writes in ARCHIVES.items():
        for name, write in writes.items():
            path = place / f"{kind}-{name}.tar"
            write(path)
            yield Subject(kind, name, f"docker-archive:{path}")


def do(verb: str, word: str, place: str) -> str:
    """What a verb does with an image, and in one word how it ended; all else is an exception."""
    import rootless_scratch as rs
    from rootless_scratch.backends.open_image import read_any

    try:
        if verb == "check":
            return rs.check(word).verdict
        if verb == "inspect":
            return f"{len(read_any(word).files)} files"
        if verb == "verify":
            return rs.verify(word, f"{place}/program").verdict
        if verb == "repair":
            rs.save(word, f"oci:{place}/out-{os.getpid()}", repair=True)
        elif verb == "save":
            rs.save(word, f"oci:{place}/out-{os.getpid()}")
        else:
            rs.save(word, f"{place}/out-{os.getpid()}.tar", compress="none")
    except rs.ScratchError as error:
        return error.kind if error.message and error.fix else "an error without words"
    return "saved"


def main() -> None:
    """Do each verb of the arguments with each subject of stdin, one process each."""
    import importlib

    for module in (
        "api",
        "backends.layouts",
        "backends.verify",
        "verbs.ship",
        "ship.copy_image",
        "image.read.faults",
        "verbs.planning",
    ):
        importlib.import_module(f"rootless_scratch.{module}")
    import isal.igzip  # noqa: F401 - loaded before memory is measured

    place, *verbs = sys.argv[1:]
    for line in sys.stdin:
        kind, name, word = json.loads(line)
        for verb in verbs:
            out, into = os.pipe()
            began = time.monotonic()
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    os.write(into, do(verb, word, place).encode())
                    status = 0
                finally:
                    sys.stderr.flush()
                    os._exit(status)
            os.close(into)
            _, status, usage = os.wait4(child, 0)
            took = time.monotonic() - began
            said = os.read(out, 1000).decode()
            os.close(out)
            answer = {
                "kind": kind,
                "name": name,
                "verb": verb,
                "ended": said if status == 0 else f"status {status}",
                "seconds": round(took, 2),
                "megabytes": usage.ru_maxrss // 1024,
            }
            print(json.dumps(answer), flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    if sys.argv[1] == "--make":
        for made in subjects(Path(sys.argv[2]), entries=int(sys.argv[3])):
            print(json.dumps(made), flush=True)  # noqa: T201 - its answer
    else:
        main()
