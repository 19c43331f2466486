"""The process inside buildah's user namespace that calls a function of ours for `backends/within.py`.

Run by path (`python -I -S`). Reads its call from stdin and writes what is said of progress, and at last the answer
or the error, to stdout. The caller keeps stdin open: when it closes before the end, the caller is gone or has
changed its mind. Then this process is interrupted as by Ctrl-C, so that whatever it does is taken back.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import threading
import time

# Isolated mode leaves only the standard library on the path, and perhaps a venv.
sys.path.insert(0, os.path.abspath(f"{__file__}/../../.."))

_STDIN = 0
_PATIENCE = 25.0
"""Seconds after which what does not end is ended, with all that it started."""


def main() -> int:
    """Do the call of stdin; 1 where the caller went away meanwhile."""
    # What tools print must not stand between the answers.
    answers = os.dup(1)
    os.dup2(2, 1)
    # Tools look up their user by it, and this is another one now.
    os.environ["USER"] = "root"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        call = _read()
        if call is None:
            return 1
        threading.Thread(target=_watch, daemon=True).start()
        _do(call, answers)
    except (KeyboardInterrupt, BrokenPipeError):
        return 1
    return 0


def _read() -> bytes | None:
    """The call, or None where the caller is gone."""
    size = _exactly(8)
    return None if size is None else _exactly(int.from_bytes(size, "little"))


def _exactly(count: int) -> bytes | None:
    received = bytearray()
    while len(received) < count:
        block = os.read(_STDIN, count - len(received))
        if not block:
            return None
        received += block
    return bytes(received)


def _watch() -> None:
    """Interrupt the main thread once the caller has closed stdin."""
    poll = select.poll()
    poll.register(_STDIN, select.POLLIN)
    poll.poll()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os.killpg(0, signal.SIGKILL)


def _do(call: bytes, answers: int) -> None:
    path, function, packed = pickle.loads(call)  # noqa: S301 - from our own parent
    sys.path += [each for each in path if each not in sys.path]
    from importlib import import_module

    from rootless_scratch.backends.within import framed
    from rootless_scratch.errors import ScratchError
    from rootless_scratch.progress import Progress
    from rootless_scratch.sparse import write_all

    def tell(name: str, value: object) -> None:
        write_all(answers, framed(pickle.dumps((name, value))))

    class Passed(Progress):
        """Passes on what it is told."""

        def begin(self, total: int) -> None:
            """To the caller's."""
            tell("begin", total)

        def show(self, done: int) -> None:
            """Likewise."""
            tell("show", done)

        def step(self, text: str) -> None:
            """Likewise."""
            tell("step", text)

        def note(self, text: str) -> None:
            """Likewise."""
            tell("note", text)

    module, _, name = function.partition(":")
    try:
        arguments = pickle.loads(packed)  # noqa: S301 - likewise
        answer = getattr(import_module(f"rootless_scratch.{module}"), name)(**arguments, progress=Passed())
    except ScratchError as error:
        tell("error", error)
    else:
        tell("answer", answer)


if __name__ == "__main__":
    # Taking the interpreter apart would only keep the caller waiting.
    os._exit(main())
