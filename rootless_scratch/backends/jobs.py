"""What a worker in the namespace is asked for and answers, as both sides have it.

A job goes over as marshal writes it: the very Python that has written it reads it, and no import is needed.
Answers come as lines of JSON, each with the name of its class.
"""

from __future__ import annotations

import marshal

from rootless_scratch.data import Data

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Literal, TypeAlias, TypeVar

    Job = TypeVar("Job", "BuildJob", "ReadJob")
    Answer: TypeAlias = "Written | FoundFile | Failure | Done"


class JobEntry(Data):
    """One entry of a Rootfs.

    A file has `content`, or a `source` with its `identity`, or both where it was read already: device,
    inode, size, times of content and of status in nanoseconds; `descriptor` is where the caller has it open.
    `capabilities` are hexadecimal. A hard link's `target` is the path of its file, which comes before it. `mtime`
    is in seconds since 1970, None for the job's.
    """

    type: Literal["directory", "file", "hardlink", "symlink"]
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
    xattrs: Sequence[tuple[str, bytes]] = ()
    mtime: int | None = None


class ExpectedConfig(Data):
    """The config of an image without its layers, by the keys of OCI; `created` None: the moment of the build."""

    created: str | None
    architecture: str
    variant: str | None
    os: str
    config: Mapping[str, object]
    author: str | None = None


class BuildJob(Data):
    """An image to be built: `config` are arguments for `buildah config`, `expected` is what must come of them.

    `descriptors` are files that the caller has open, `opened` the worker's copies by the caller's numbers. `known`
    is the image that came of the very same before: its ID, and the sha256 of its manifest. `policy` are options of
    `buildah commit` where the host has no policy.json.
    """

    names: Sequence[str]
    entries: Sequence[JobEntry]
    descriptors: Sequence[int]
    mtime: int
    timestamp: int | None
    config: Sequence[str]
    config_environment: Mapping[str, str]
    expected: ExpectedConfig
    opened: Mapping[int, int] = {}
    known: tuple[str, str] | None = None
    policy: Sequence[str] = ()


class ReadJob(Data):
    """An image to be read, and what that may cost."""

    image: str
    limits: Mapping[str, int]


class Written(Data):
    """How many bytes of a build are written by now."""

    count: int


class Failure(Data):
    """What the user is told about; `kind` is that of an error of rootless_scratch.errors."""

    kind: str
    message: str
    fix: str
    detail: str = ""


class Done(Data):
    """The image that was built or read: its ID, its config and its manifest as text.

    `images` is the directory in which storage keeps what was built, where that was found.
    """

    image_id: str
    config: str
    manifest: str
    images: str | None = None


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
    attributes: str | None = None
    inode: str | None = None
    program: object = None
    unreadable: str | None = None
    content: str | None = None


def packed(job: BuildJob | ReadJob) -> bytes:
    """A job as it goes over."""
    fields = dict(job.__dict__)
    if isinstance(job, BuildJob):
        fields["entries"] = [entry.__dict__ for entry in job.entries]
        fields["expected"] = job.expected.__dict__
    return marshal.dumps(fields)


def unpacked(kind: type[Job], content: bytes | bytearray, descriptors: Iterable[int]) -> Job:
    """The job that came, and the descriptors that came along."""
    fields = marshal.loads(content)  # noqa: S302 - from our own parent, over a socket
    if "entries" in fields:
        fields["entries"] = [JobEntry(**entry) for entry in fields["entries"]]
        fields["expected"] = ExpectedConfig(**fields["expected"])
        # Fewer have come where a limit is in the way.
        fields["opened"] = dict(zip(fields["descriptors"], descriptors, strict=False))
    return kind(**fields)


def packed_answer(answer: Answer) -> bytes:
    """An answer as the line that goes over."""
    import json

    return json.dumps({type(answer).__name__: answer.__dict__}).encode("ascii") + b"\n"


def unpacked_answer(line: bytes) -> Answer:
    """The answer that came."""
    import json

    [(name, fields)] = json.loads(line).items()
    return _ANSWERS[name](**fields)


_ANSWERS: Mapping[str, type[Answer]] = {kind.__name__: kind for kind in (Written, FoundFile, Failure, Done)}
