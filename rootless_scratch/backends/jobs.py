"""What a worker in the namespace is asked for and answers, as both sides have it.

A job goes over as marshal writes it: the very Python that has written it reads it, and no import is needed.
"""

from __future__ import annotations

import marshal

from rootless_scratch.data import Data

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Literal, TypeVar

    Job = TypeVar("Job", "BuildJob", "ReadJob")


class JobEntry(Data):
    """One entry of a Rootfs.

    A file has `content`, or a `source` with its `identity`: device, inode, size, times of content and of status
    in nanoseconds; `descriptor` is where the caller has it open. `capabilities` are hexadecimal.
    """

    type: Literal["directory", "file", "symlink"]
    path: str
    mode: int
    uid: int
    gid: int
    target: str = ""
    source: str | None = None
    descriptor: int | None = None
    content: bytes | None = None
    identity: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    capabilities: str | None = None


class BuildJob(Data):
    """An image to be built: `config` are words for `buildah config`, `expected` is what must come of them.

    `descriptors` are files that the caller has open, `opened` the worker's copies by the caller's numbers.
    """

    names: Sequence[str]
    entries: Sequence[JobEntry]
    descriptors: Sequence[int]
    mtime: int
    timestamp: int | None
    config: Sequence[str]
    config_environment: Mapping[str, str]
    expected: dict[str, Any]
    opened: Mapping[int, int] = {}


class ReadJob(Data):
    """An image to be read, and what that may cost."""

    image: str
    limits: Mapping[str, int]


class Done(Data):
    """The image that was built or read: its ID, its config and its manifest as text."""

    image_id: str
    config: str
    manifest: str


class FoundFile(Data, frozen=False):
    """A file of an image, as StoredFile is read from JSON."""

    path: str
    type: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    sha256: str | None = None
    target: str | None = None
    capabilities: str | None = None
    program: object = None
    unreadable: str | None = None
    content: str | None = None


def packed(job: BuildJob | ReadJob) -> bytes:
    """A job as it goes over."""
    fields = dict(job.__dict__)
    if isinstance(job, BuildJob):
        fields["entries"] = [entry.__dict__ for entry in job.entries]
    return marshal.dumps(fields)


def unpacked(kind: type[Job], content: bytes | bytearray, descriptors: Iterable[int]) -> Job:
    """The job that came, and the descriptors that came along."""
    fields = marshal.loads(content)  # noqa: S302 - from our own parent, over a socket
    if "entries" in fields:
        fields["entries"] = [JobEntry(**entry) for entry in fields["entries"]]
        # Fewer have come where a limit is in the way.
        fields["opened"] = dict(zip(fields["descriptors"], descriptors, strict=False))
    return kind(**fields)
