"""Files of this host that are read: regular ones alone; in a build each is opened once, and copied from that."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from rootless_scratch.elf.identity import FileIdentity, identity_of, is_identity
from rootless_scratch.elf.records import MAGIC
from rootless_scratch.errors import ElfError, HostError, SourceError
from rootless_scratch.troubles import limit_met, trouble_met

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

    from rootless_scratch.elf.facts import ElfFacts
    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.image.rootfs import Copied, File
    from rootless_scratch.image.spec import Copy

_EXECUTABLE: Final = (MAGIC, b"#!")
"""How programs, libraries and scripts begin."""

_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

_KEPT = 250
"""The kernel passes no more descriptors in one message: SCM_MAX_FD, less a few."""

_CONTENT_LIMIT = 64 << 20

_SMALL, _SMALL_ROOM, _SMALL_COST = 16 << 10, 32 << 20, 100
"""Bytes: below the first a file is read whole where it is looked at, up to the second in all of them.

The last is what each costs besides.
"""


class HostFiles:
    """The files that images of one Spec are made of; closed when the block ends.

    What was opened stays open until then: programs, libraries and scripts up to 250 files or a quarter of the
    descriptors that this process may have, other files while half of that is free. Half of all are left to others:
    what has a number beyond is not kept, and nothing once there are none. Whatever finds no room is opened again
    when it is read or copied again; without `keep` that is everything. `kept` has the descriptors, `copied` the
    copies that were looked at, by the patterns that leave some out. `heads` are what the layers of several images
    begin with (image/write/heads.py); None where there is one image.
    """

    heads: Any = None

    def __init__(self, *, keep: bool = True) -> None:
        self.copied: dict[tuple[Copy, tuple[str, ...], str], Copied] = {}
        limit = os.sysconf("SC_OPEN_MAX")
        self._room = min(_KEPT, limit // 4) if keep else 0
        # The kernel gives the least number that is free, so a high one tells that many are in use: open(2).
        self._highest = limit // 2
        self.kept: dict[FileIdentity, int] = {}
        # A block of Python that is never left must not keep them either.
        self._close = weakref.finalize(self, _close_all, self.kept)
        self._close.atexit = False
        self._programs: dict[FileIdentity, ProgramFacts] = {}
        self._elf: dict[FileIdentity, bool] = {}
        self._inodes: set[int] = set()
        self._small: dict[FileIdentity, bytes] = {}
        self._small_room = _SMALL_ROOM if keep else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        # Once is enough; what is read afterwards is not kept, as nobody would close it.
        self._room = self._small_room = 0
        self._small.clear()
        self._close()

    def program(self, path: str) -> ProgramFacts:
        """What `read_program` answers and raises."""
        from rootless_scratch.elf.program import program_of, require_program, unreadable

        try:
            status = os.stat(path)
            require_program(path, status.st_mode)
            facts = self._programs.get(identity_of(status))
            if facts is None:
                descriptor, identity = self._open(path, identity_of(status))
                try:
                    with open(descriptor, "rb", buffering=0, closefd=False) as file:
                        facts = program_of(file, path)
                finally:
                    self._leave(descriptor, identity, MAGIC)
                self._programs[identity] = facts
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from error
        return facts if facts.path == path else msgspec.structs.replace(facts, path=path)

    def elf(self, file: File) -> ElfFacts:
        """What a file of a plan says of itself as an ELF file; raises SourceError, ElfError."""
        elf = None if file.source is None else self.program(file.source).elf
        if elf is None:
            raise ElfError(f"{file.source or file.path!r} is not an ELF file.", fix="Name the library itself.")
        return elf

    def content(self, file: File) -> bytes | None:
        """All of a small file of a plan; None where it cannot be read."""
        if file.source is None:
            return file.content
        try:
            return self.head(file.source, _CONTENT_LIMIT)
        except OSError:
            return None

    def head(self, path: str, count: int) -> bytes:
        """The first bytes of a regular file; raises OSError, ValueError."""
        return self._head(path, identity_of(os.stat(path)), count)

    def is_kept(self, inode: int) -> bool:
        """Whether a file with such a number may have been opened before."""
        return inode in self._inodes

    def is_small(self, identity: FileIdentity) -> bool:
        """Whether all of the file would be kept by a look at it."""
        return identity.size < _SMALL and self._small_room > 0

    def look(self, path: str, known: FileIdentity | None, flags: int = 0) -> tuple[FileIdentity, int, bool]:
        """What a regular file is, its mode, and whether it begins as a program, library or script; raises OSError.

        `known` is needed for what may have been opened before. All of a small file is kept, while there is room.
        """
        kept = None if known is None else self.kept.get(known)
        if known is not None and kept is not None:
            descriptor, identity, status = kept, known, os.fstat(kept)
        else:
            descriptor, status = self._open_new(path, flags)
            identity = identity_of(status)
        head = b""
        try:
            if self.is_small(identity):
                head = os.pread(descriptor, identity.size + 1, 0)
                if len(head) == identity.size:
                    self._small[identity] = head
                    self._small_room -= _SMALL_COST + len(head)
            else:
                head = os.pread(descriptor, len(MAGIC), 0)
                self._elf[identity] = head == MAGIC
        finally:
            if descriptor != kept:
                self._leave(descriptor, identity, head)
        return identity, status.st_mode, head.startswith(_EXECUTABLE)

    def is_elf(self, file: File) -> bool:
        """Whether a file of a plan begins as an ELF file; raises OSError."""
        small = self._small.get(file.identity)
        if small is not None:
            return small.startswith(MAGIC)
        if file.source is not None and file.identity not in self._elf:
            self._elf[file.identity] = self._head(file.source, file.identity, len(MAGIC)) == MAGIC
        return self._elf.get(file.identity, False)

    @contextmanager
    def planned(self, file: File) -> Iterator[int]:
        """A descriptor of the file that was planned, to be read at places that the reader names.

        SourceError where its path leads to another file by now, or it is another one after use.
        """
        assert file.source is not None  # noqa: S101 - what has its content in the plan is no file of the host
        try:
            descriptor, identity = self._open(file.source, file.identity)
            kept = descriptor == self.kept.get(identity)
            found = identity_of(os.stat(file.source)) if kept else identity
        except OSError as error:
            if error.errno == errno.EINVAL:
                # What is there now is not a regular file.
                raise changed(file) from error
            raise limit_met(error) or SourceError(
                f"{file.source!r} can no longer be read: {error.strerror}.",
                fix="Do not change the file during the build.",
            ) from error
        is_over = False
        try:
            if found != file.identity:
                raise changed(file)
            try:
                yield descriptor
            except GeneratorExit:
                is_over = True
                raise
            finally:
                # A file that shrinks makes the copy fail too, and then the change is the cause to tell.
                if not is_over and identity_of(os.fstat(descriptor)) != file.identity:
                    raise changed(file)
        finally:
            # Whoever gave up may do so after all that is kept was closed.
            if not (is_over and kept):
                self._leave(descriptor, identity, b"")

    def planned_content(self, file: File) -> bytes:
        """All bytes of a small file that was planned; raises what `planned` does."""
        assert file.source is not None  # noqa: S101 - see above
        size = file.identity.size
        content = self._small.get(file.identity)
        if content is not None:
            with suppress(OSError):  # what is the matter is told below
                if is_identity(file.identity, os.stat(file.source)):
                    return content
        elif file.identity not in self.kept:
            with suppress(OSError):
                descriptor = os.open(file.source, _FLAGS)
                try:
                    content = os.pread(descriptor, size + 1, 0)
                    # Equal to what was planned by now, it was so before.
                    status = os.fstat(descriptor)
                finally:
                    os.close(descriptor)
                if len(content) == size and is_identity(file.identity, status):
                    return content
        with self.planned(file) as descriptor:
            content = os.pread(descriptor, size, 0)
            if len(content) < size:
                raise changed(file)
        return content

    def kept_content(self, file: File) -> bytes | None:
        """All bytes of a small file as they were when it was looked at, where they are kept: those of a layer."""
        return self._small.get(file.identity)

    def _head(self, path: str, known: FileIdentity | None, count: int) -> bytes:
        descriptor, identity = self._open(path, known)
        head = b""
        try:
            head = os.pread(descriptor, count, 0)
        finally:
            self._leave(descriptor, identity, head)
        return head

    def _open(self, path: str, known: FileIdentity | None) -> tuple[int, FileIdentity]:
        """A descriptor of the regular file that `path` leads to, new or kept, and what it is; for `_leave`."""
        kept = None if known is None else self.kept.get(known)
        if known is not None and kept is not None:
            return kept, known
        descriptor, status = self._open_new(path)
        return descriptor, identity_of(status)

    def _open_new(self, path: str, flags: int = 0) -> tuple[int, os.stat_result]:
        try:
            return open_descriptor(path, flags)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or not self.kept:
                raise
            # Others of this process need descriptors too, other builds for one.
            _close_all(self.kept)
            self._room = 0
            return open_descriptor(path, flags)

    def _leave(self, descriptor: int, identity: FileIdentity, start: bytes) -> None:
        """Keep what is new where there is room for what begins so, else close it."""
        room = self._room if start.startswith(_EXECUTABLE) else self._room // 2
        if len(self.kept) < room and descriptor < self._highest:
            self.kept.setdefault(identity, descriptor)
            self._inodes.add(identity.inode)
        if not self.kept or self.kept.get(identity) != descriptor:
            os.close(descriptor)


def _close_all(kept: dict[FileIdentity, int]) -> None:
    while kept:
        os.close(kept.popitem()[1])


def changed(file: File) -> SourceError:
    """The error for a file that is no longer what was planned."""
    return SourceError(
        f"{file.source!r} changed since it was planned.",
        fix="Try again when nothing writes to it any more.",
    )


def open_regular(path: str) -> BufferedReader:
    """Open a file for reading; raises OSError, also for a pipe, which would keep us waiting, and a device."""
    return open(open_descriptor(path)[0], "rb")


def open_descriptor(path: str, flags: int = 0) -> tuple[int, os.stat_result]:
    """The same as a bare descriptor, with what fstat(2) tells of it; `flags` are added to those of open(2)."""
    descriptor = os.open(path, _FLAGS | flags)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor, status


def take_lease(descriptor: int) -> None:
    """Raise BlockingIOError where somebody has the file open for writing, PermissionError for another user's.

    The kernel grants a read lease for a file that nobody has open for writing, to its owner: fcntl(2), "Leases".
    It is given back at once. Who opens the file in that very moment waits until then; the signal about it is one
    to ignore. Other OSErrors are those of file systems without leases.
    """
    import signal

    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def host_trouble(error: OSError, what: str) -> HostError | None:
    """The error of a host that cannot read now; None where it is the file's own fault, or it is not there."""
    trouble = trouble_met(error)
    if trouble is not None:
        return HostError(trouble.after(f"{what} cannot be read"), fix=trouble.fix)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EPERM):
        return HostError(
            f"{what} cannot be read: {error.strerror}.",
            fix="Check its permissions, its disk (`dmesg`), and the memory of this host; the image may be right.",
        )
    return None
