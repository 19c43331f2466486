"""The part that runs inside the user namespace, where image storage can be mounted.

Run by path (`python -I`), for a build with the standard library alone, and of that only what loads fast. Reads
its job from stdin and writes its answers to stdout, at last Done or Failure (jobs.py).

The caller keeps stdin open. When it closes before the end, the caller is gone or has changed its mind: what was
begun is taken back. A worker that could not even do that (SIGKILL) leaves its record behind, unlocked, and the
next one takes it back.
"""

from __future__ import annotations

import os
import sys

# Isolated mode leaves only the standard library on the path, and perhaps a venv.
sys.path.insert(0, os.path.abspath(f"{__file__}/../../../.."))


def main() -> int:
    """Do the job of stdin; the arguments name its purpose and its paths, and `enter` if it is still outside."""
    os.umask(0o022)
    purpose, records, base, buildah, *way = sys.argv[1:]
    if way:
        from rootless_scratch.backends.worker.namespace import enter

        enter(buildah, load if purpose == "build" else lambda: None)
    from rootless_scratch.backends.caller import Cancelled, Failed, WorkerPaths, tell
    from rootless_scratch.backends.record import sweep

    paths = WorkerPaths(records=records, base=base, buildah=buildah)
    try:
        sweep(paths)
        if purpose == "build":
            from rootless_scratch.backends.worker.building import build

            done = build(paths)
        else:
            from rootless_scratch.backends.worker.reading import read

            done = read(paths, programs=purpose == "read-programs")
        tell(done)
    except Cancelled:
        return 1
    except Failed as failure:
        tell(failure.answer)
    except OSError as error:
        from rootless_scratch.backends.worker.entries import refusal

        tell(refusal(error).answer)
    return 0


def load() -> None:
    """Import what a build needs."""
    import rootless_scratch.backends.worker.building  # noqa: F401 - that it is there


if __name__ == "__main__":
    # Taking the interpreter apart would only keep the caller waiting.
    os._exit(main())
