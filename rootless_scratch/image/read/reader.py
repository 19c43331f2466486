"""A layout or an archive as files by their names, read without tools; documents of it are JSON of anybody's.

What is read was written by anybody: sizes are bounded, no path of it is ever opened, and nothing is unpacked.
"""

from __future__ import annotations

import io
import json
import os
import stat
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from rootless_scratch.errors import ImageNotFoundError, SourceError
from rootless_scratch.expressions import expression
from rootless_scratch.image.host_files import host_trouble, open_regular
from rootless_scratch.image.limits import DEFAULTS, Budget
from rootless_scratch.image.names import full_names
from rootless_scratch.image.oci import INDEX
from rootless_scratch.image.read.tarread import Member, TarFault, TarReader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rootless_scratch.image.references import Reference

DIGEST = expression(r"sha256:[0-9a-f]{64}\Z")
_PARTS_MAX = 1 << 20
"""Commas and brackets of a document: what it would become in memory is many times its size."""

_HALF_CHARACTER = expression(rb"\\u[dD][89a-fA-F]")
_LINKS_MAX = 8
_LINKS, _SYMBOLIC = b"12", ord("2")

INDEXES = (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")


class Fault(Exception):  # noqa: N818 - one of many that are told together
    """What keeps a document from being read."""


class ImageReader:
    """An image layout, or an archive of either kind, by the names of the files in it.

    `budget` is the account of what reading it costs. Raises ImageNotFoundError where nothing is there, SourceError
    for what cannot be read, LimitError (limits.py) for what costs too much.
    """

    def __init__(self, output: Reference, limits: Mapping[str, int] | None = None) -> None:
        self.subject = output.text
        self.budget = Budget(output.text, DEFAULTS if limits is None else limits)
        self.ref = output.ref
        self.is_docker = output.transport == "docker-archive"
        # In an archive for docker a name without a host has two forms, and only the reference tells which it was.
        wanted = output.text.split(":", 2)[2] if self.is_docker and output.ref is not None else ""
        self.names = full_names(wanted) if wanted else ()
        self._directory = output.path if output.transport == "oci" else None
        self._file: BinaryIO | None = None
        self._members: dict[str, Member] = {}
        if not os.path.exists(output.path):
            raise ImageNotFoundError(
                f"There is no {output.path!r}.",
                fix=f"Build it with `rootless-scratch build PROGRAM -o {output.text}`.",
            )
        if self._directory is None:
            self._open_archive(output.path)
        elif not os.path.isdir(self._directory):
            raise SourceError(f"{output.path!r} is not a directory.", fix="Name an archive as oci-archive:FILE.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._file is not None:
            self._file.close()

    def _open_archive(self, path: str) -> None:
        try:
            self._file = open_regular(path)
            self.budget.store(path, os.fstat(self._file.fileno()).st_size)
            for member in TarReader(self._file, self.budget, seekable=True):
                self.budget.add_entry(member.name)
                # Of an archive's own members nobody asks for more.
                member.records = {}
                self._members[os.path.normpath(member.name)] = member
        except BaseException as error:
            if self._file is not None:
                self._file.close()
            if not isinstance(error, (OSError, TarFault)):
                raise
            if isinstance(error, OSError) and (trouble := host_trouble(error, path)) is not None:
                raise trouble from error
            raise SourceError(
                f"{path!r} cannot be read as a tar file: {getattr(error, 'strerror', None) or error}.",
                fix="Name an uncompressed archive of an image.",
            ) from error

    def open(self, name: str) -> BinaryIO:
        """Open a regular file of the image by its name; raises Fault, HostError."""
        if self._directory is None:
            member = self._member(name)
            if self._file is None or member is None or not member.is_regular:
                raise Fault(f"{name} is missing")
            if member.segments is not None:
                raise Fault(f"{name} is stored as a sparse file")
            return io.BufferedReader(_Part(self._file.fileno(), member.offset, member.size))
        try:
            path = os.path.join(self._directory, name)
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as problem:
            error = problem if isinstance(problem, OSError) else OSError(22, "it has no name that a file can have")
            if (trouble := host_trouble(error, name)) is not None:
                raise trouble from problem
            raise Fault(f"{name} is missing" if error.errno == 2 else f"{name}: {error.strerror}") from error  # noqa: PLR2004 - ENOENT
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Fault(f"{name} is not a regular file")
        return open(descriptor, "rb")

    def _member(self, name: str) -> Member | None:
        """A member of the archive; `docker save` has links to layers that it wrote before."""
        member = self._members.get(name)
        for _ in range(_LINKS_MAX):
            if member is None or member.kind not in _LINKS:
                return member
            above = os.path.dirname(member.name) if member.kind == _SYMBOLIC else ""
            member = self._members.get(os.path.normpath(os.path.join(above, member.link)))
        return None

    def document(self, name: str) -> Any:  # noqa: ANN401 - JSON of anybody's
        """A JSON document of bounded size; raises Fault, LimitError."""
        return parsed(content_of(self, name), name)


class _Part(io.RawIOBase):
    """A part of an open file, as a file of its own."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._offset = offset
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """Yes, and nothing else."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As a file's."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable memory
        """As a file's."""
        most = min(len(buffer), max(0, self._size - self._at))
        count = os.preadv(self._descriptor, [memoryview(buffer)[:most]], self._offset + self._at) if most else 0
        self._at += count
        return count


def broken(subject: str, what: str) -> SourceError:
    """The error for an image that cannot be read."""
    return SourceError(f"{subject} is not a whole image: {what}.", fix="Build or copy it again.")


def content_of(reader: ImageReader, name: str) -> bytes:
    """A document of bounded size as it is stored; raises Fault, LimitError."""
    with reader.open(name) as file:
        content = file.read(reader.budget.document_size)
    reader.budget.add_document(name, len(content))
    return content


def parsed(content: bytes, name: str) -> Any:  # noqa: ANN401 - JSON of anybody's
    """A document of JSON, unless it is made to fill memory; raises Fault."""
    if sum(map(content.count, (b",", b"[", b"{"))) > _PARTS_MAX:
        raise Fault(f"{name} has more than {_PARTS_MAX} parts")
    try:
        found = json.loads(content.decode())
        if _HALF_CHARACTER.search(content):
            # What is half a character can be written nowhere: RFC 8259, 8.2.
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Fault(f"{name} is not JSON") from error
    return found


def blob_name(descriptor: dict[str, Any]) -> str:
    """The file of a blob; raises Fault for what is not a sha256 digest."""
    digest = str(descriptor.get("digest"))
    if not DIGEST.match(digest):
        raise Fault(f"{digest[:80]!r} is not a sha256 digest")
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def as_dict(value: object, where: str) -> dict[str, Any]:
    """The value itself, if it is an object; raises Fault."""
    if not isinstance(value, dict):
        raise Fault(f"{where} does not follow the specification")
    return value


def as_list(value: object, where: str) -> list[Any]:
    """The value itself, if it is an array; raises Fault."""
    if not isinstance(value, list):
        raise Fault(f"{where} does not follow the specification")
    return value
