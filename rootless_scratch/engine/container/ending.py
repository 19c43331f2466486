"""How a container ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rootless_scratch.findings import Finding


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a container ended, and what was captured of its output; `container` is the ID of one that stays.

    With `detached` it goes on, and nothing is known of its end. `last_words` is the end of its stderr, of its
    terminal where it had one; `ends_mid_line` says that its output does not end with a line's end, and
    `out_of_memory` that the kernel killed it for its memory limit.
    """

    exit_code: int
    timed_out: bool = False
    stdout: bytes = b""
    stderr: bytes = b""
    explanation: Finding | None = None
    container: str | None = None
    detached: bool = False
    last_words: bytes = b""
    ends_mid_line: bool = False
    out_of_memory: bool = False
