"""The line to the process that wants something done: one job in, lines of JSON out, and its end noticed."""

from __future__ import annotations

import select
from array import array

from rootless_scratch.backends.jobs import Failure, packed_answer, unpacked
from rootless_scratch.data import Data
from rootless_scratch.sparse import write_all

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from rootless_scratch.backends.jobs import Answer, Job

STDIN = 0
_SIZE = 8
_PASSED = 253
"""SCM_MAX_FD of the kernel."""


class Cancelled(Exception):  # noqa: N818 - not an error: the caller went away
    """The caller closed stdin."""


class Failed(Exception):  # noqa: N818 - carries an error of the caller's to it
    """A Failure, which the caller is to be answered."""

    def __init__(self, kind: str, message: str, fix: str, detail: str = "") -> None:
        super().__init__(message)
        self.answer = Failure(kind, message, fix, detail)


class WorkerPaths(Data):
    """What a worker is told when it is started: where records and temporary files lie, and the path of buildah."""

    records: str
    base: str
    buildah: str


def read_job(kind: type[Job]) -> Job:
    """The job from stdin: its size in 8 bytes, then its bytes. Raises Cancelled where it ends before."""
    from _socket import CMSG_SPACE, MSG_CMSG_CLOEXEC, socket

    received, descriptors = bytearray(), array("i")
    channel = socket(fileno=STDIN)
    room = CMSG_SPACE(_PASSED * descriptors.itemsize)
    try:
        while len(received) < _SIZE or len(received) < _SIZE + int.from_bytes(received[:_SIZE], "little"):
            more, passed, _, _ = channel.recvmsg(1 << 20, room, MSG_CMSG_CLOEXEC)
            if not more:
                raise Cancelled
            received += more
            for _, _, data in passed:
                descriptors.frombytes(data)
    finally:
        channel.detach()
    return unpacked(kind, received[_SIZE:], descriptors)


def tell(answer: Answer) -> None:
    """One line to the caller; raises Cancelled where nobody hears it."""
    try:
        write_all(1, packed_answer(answer))
    except BrokenPipeError as error:
        raise Cancelled from error


def check_caller() -> None:
    """Raise Cancelled once the other end of stdin is closed; a job that waits there is left alone (poll(2))."""
    poll = select.poll()
    poll.register(STDIN, 0)
    if poll.poll(0):
        raise Cancelled
