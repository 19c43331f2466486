"""Calls of buildah from within the namespace."""

from __future__ import annotations

import os

from rootless_scratch.backends.caller import STDIN, Cancelled, Failed, WorkerPaths
from rootless_scratch.spawn import NULL, spawn
from rootless_scratch.troubles import trouble_in

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


SAID_KEPT = 16384
"""Bytes of stderr that are kept; the end is the part that tells."""

_SIGXFSZ = 25
"""signal(7); importing their module takes 2 ms."""

GRACE = 5.0
"""Seconds for a polite end."""


class Tool:
    """One call of buildah, started at once; `finish` waits for it and, by default, for the caller's end too.

    `program` is the path of another tool; `exit_code` is there once it has been waited for.
    """

    def __init__(
        self,
        paths: WorkerPaths,
        arguments: Sequence[str],
        *,
        program: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.arguments = arguments
        self.exit_code: int | None = None
        argv = [program or paths.buildah, *arguments]
        self._child = spawn(argv, environment=environment or os.environ, stdin=NULL)

    def finish(self, *, check: bool = True, cancel: bool = True) -> str:
        """Its stdout as text; raises Failed where it fails, and Cancelled, having ended it, with the caller."""
        out = err = b""
        try:
            for number, block in self._child.blocks(watched=STDIN if cancel else None):
                if number == 0:
                    self._end()
                    raise Cancelled
                if number == 1:
                    out += block
                else:
                    err = (err + block)[-SAID_KEPT:]
        finally:
            self._child.close()
        code = self.exit_code = self._child.wait()
        if check and code != 0:
            raise failure(self.arguments, code, err.decode("utf-8", "replace").strip())
        return out.decode("utf-8", "surrogateescape")

    def _end(self) -> None:
        """End a commit politely, and by force if that does not help; anything else is let finish.

        What takes 20 ms is not worth the layer without an owner that buildah may leave when it is ended.
        """
        import signal
        import time

        if self.arguments[0] == "commit":
            os.kill(self._child.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                return
            time.sleep(0.01)
        os.kill(self._child.pid, signal.SIGKILL)
        self._child.wait()


def failure(arguments: Sequence[str], code: int, text: str) -> Failed:
    """What a failed call means: the end of what it said tells."""
    lowered = text.lower()
    if "no space left on device" in lowered or "disk quota exceeded" in lowered:
        return no_space(f"`buildah {arguments[0]}` wrote the image", text)
    trouble = trouble_in(text) if code != -_SIGXFSZ else trouble_in("file too large")
    if "bzip2 data invalid" in text:
        cause = "This buildah takes a layer whose first file name begins with `BZh` for compressed data."
        fix = "Give that file another name in the image, or add one that sorts before it."
    elif trouble is not None:
        return Failed("host", trouble.after(f"`buildah {arguments[0]}` failed"), trouble.fix, text)
    else:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("Error:", "error:", "error "))]
        last = (errors or lines or ["it said nothing"])[-1].removeprefix("Error:").strip().rstrip(".")
        ended = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
        cause = f"`buildah {arguments[0]}` {ended}: {last}."
        fix = "See what `rootless-scratch doctor` says about this host; -v shows all that buildah said."
    return Failed("build", cause, fix, text)


def no_space(when: str, detail: str = "") -> Failed:
    """The disk was full when something was written."""
    return Failed(
        "build",
        f"No space left when {when}.",
        "Free some space in the image storage (`podman system df`, `podman image prune`) and in TMPDIR "
        "(default /var/tmp), where the layer is spooled, or point them at a larger disk.",
        detail,
    )


def call(paths: WorkerPaths, *arguments: str) -> str:
    """Run one buildah command to its end and return its stdout."""
    return Tool(paths, arguments).finish()
