"""How a container ended."""

from __future__ import annotations

from rootless_scratch.data import Value

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from rootless_scratch.findings import Finding

TIMED_OUT = 124
"""The exit code where the timeout ran out, as timeout(1) has it."""


class RunResult(Value):
    """How a run ended. `stdout` and `stderr` are empty where they were streamed to descriptors.

    `explanation` says why a program could not begin although podman started it; `notes` has one sentence for
    each thing that was chosen because something else does not work on this host. `container_id` names a container
    that stays: kept, or detached, where the exit code is 0 and nobody has seen its end. `last_words` is the end of
    stderr (4096 bytes at most) also where it was streamed, of the terminal where there was one; `ends_mid_line`
    says that the output does not end with the end of a line, `out_of_memory` that a memory limit was its end.
    `image` is what was started: of a list, with `platform`, the ID of its member.
    """

    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""
    explanation: Finding | None = None
    timed_out: bool = False
    notes: tuple[str, ...] = ()
    container_id: str | None = None
    last_words: bytes = b""
    ends_mid_line: bool = False
    out_of_memory: bool = False
    image: str | None = None
