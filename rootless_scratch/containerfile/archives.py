"""Archives that ADD unpacks: known by their content, read within bounds, kept in a private directory."""

from __future__ import annotations

import bz2
import lzma
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import msgspec

from rootless_scratch.elf.identity import FileIdentity, identity_of
from rootless_scratch.errors import HostError, SourceError
from rootless_scratch.image.capabilities import XATTR, decode_capabilities
from rootless_scratch.image.limits import DEFAULTS, Budget
from rootless_scratch.image.paths import encoded
from rootless_scratch.image.read.tarread import Member, TarFault, TarReader
from rootless_scratch.image.read.unpacking import GZIP, ZSTD, counted, gunzipped
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink
from rootless_scratch.sparse import is_hole, skip, write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_BZIP2, _XZ = b"BZh", b"\xfd7zXZ\0"
_CHUNK = 256 << 10
_MEMORY = 1 << 30
"""What a stream of xz may take to be unpacked: `xz -9` takes 65 MB."""

_MODE = 0o7777
_ID_MAX = 2**32 - 2
_WHITEOUT = ".wh."
_FILE, _HARD_LINK, _SYMLINK, _CHARACTER, _BLOCK, _DIRECTORY, _PIPE = b"0123456"
_SPECIAL: Final = {_CHARACTER: "device", _BLOCK: "device", _PIPE: "pipe"}
_XATTR: Final = "SCHILY.xattr."

_Unusable: Final = (OSError, EOFError, TarFault, lzma.LZMAError)
"""What reading bytes that are no archive, or only a part of one, raises."""


class Unpacked(msgspec.Struct, frozen=True):
    """A member: its `names` below the destination, and what it is; its path is still to be found.

    A hard link has the names of what it leads to in `link`, and a `file` that has only its mode and owner. What no
    image holds has neither, and is called by its kind in `special`.
    """

    names: tuple[str, ...]
    entry: Entry | None
    mtime: int
    link: tuple[str, ...] | None = None
    special: str = ""


def is_archive(file: BinaryIO, *, zstd: bool = True) -> bool:
    """Whether a file begins as a tar, plain or packed; raises HostError where nothing here unpacks it."""
    budget = Budget("an archive", DEFAULTS)
    try:
        with _opened(file, budget, zstd=zstd) as stream:
            return next(iter(TarReader(stream, budget)), None) is not None
    except _Unusable:
        return False


def unpack(
    file: BinaryIO, subject: str, directory: str, *, limits: Mapping[str, int] = DEFAULTS, zstd: bool = True
) -> Iterator[Unpacked]:
    """The members of an archive in their order, contents of files written into a directory of ours.

    Raises SourceError where it is cut off or garbled, or holds a whiteout; LimitError, HostError.
    """
    budget = Budget(repr(subject), limits)
    budget.store(subject, os.fstat(file.fileno()).st_size)
    try:
        with _opened(file, budget, zstd=zstd) as stream:
            reader = TarReader(stream, budget)
            for number, member in enumerate(reader):
                budget.add_entry(member.name)
                budget.check_path(member.link)
                yield _unpacked(member, reader, subject, f"{directory}/{number}")
    except _Unusable as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise HostError(
                f"{subject!r} cannot be unpacked to {directory}: {error.strerror}.",
                fix="Set TMPDIR to a directory of your own with some room.",
            ) from error
        raise SourceError(
            f"{subject!r} cannot be unpacked: {error}.", fix="Make the archive again, or COPY it as it is."
        ) from error


def _unpacked(member: Member, reader: TarReader, subject: str, path: str) -> Unpacked:
    names = _names(member.name)
    if any(name.startswith(_WHITEOUT) for name in names):
        raise SourceError(
            f"{subject!r} holds {member.name!r}, which marks a deletion in a layer of an image.",
            fix="ADD the whole file system as one tar (`podman export`), not its layers.",
        )
    if not (0 <= member.uid <= _ID_MAX and 0 <= member.gid <= _ID_MAX):
        raise SourceError(
            f"{subject!r} gives {member.name!r} the owner {member.uid}:{member.gid}, which no file has.",
            fix="Make the archive again, e.g. with `tar --owner=0 --group=0`.",
        )
    mtime = member.mtime * 10**9
    owner: Any = {"mode": member.mode & _MODE, "uid": member.uid, "gid": member.gid}
    if member.kind in _SPECIAL:
        return Unpacked(names, None, mtime, special=_SPECIAL[member.kind])
    capabilities, xattrs = _attributes(member)
    if member.kind == _DIRECTORY:
        return Unpacked(names, Directory(path="", **owner, xattrs=xattrs), mtime)
    if member.kind == _SYMLINK:
        if not member.link:
            raise SourceError(f"{subject!r} has a link {member.name!r} to nothing.", fix="Make the archive again.")
        return Unpacked(names, Symlink(path="", target=member.link, uid=member.uid, gid=member.gid), mtime)
    empty = FileIdentity(device=0, inode=0, size=0, mtime_ns=0, ctime_ns=0)
    if member.kind == _HARD_LINK:
        file = File(path="", **owner, source=None, identity=empty)
        return Unpacked(names, file, mtime, link=_names(member.link))
    identity = _write(path, member, reader)
    file = File(path="", **owner, source=path, identity=identity, capabilities=capabilities, xattrs=xattrs)
    return Unpacked(names, file, mtime)


def _write(path: str, member: Member, reader: TarReader) -> FileIdentity:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for block in reader.content(member):
            try:
                skip(descriptor, len(block)) if is_hole(block) else write_all(descriptor, block)
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from error
        return identity_of(os.fstat(descriptor))
    finally:
        os.close(descriptor)


def _names(path: str) -> tuple[str, ...]:
    """The names of a member, which never leads above where it is unpacked."""
    found: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del found[-1:]
        elif name not in ("", "."):
            found.append(name)
    return tuple(found)


def _attributes(member: Member) -> tuple[str | None, tuple[tuple[str, bytes], ...]]:
    """The capabilities and the attributes of users that the archive has for a member."""
    if not member.records:
        return None, ()
    capabilities = member.records.get(_XATTR + XATTR)
    found = (
        (key.removeprefix(_XATTR), encoded(value))
        for key, value in sorted(member.records.items())
        if key.startswith(f"{_XATTR}user.")
    )
    return None if capabilities is None else decode_capabilities(encoded(capabilities)), tuple(found)


@contextmanager
def _opened(file: BinaryIO, budget: Budget, *, zstd: bool) -> Iterator[BinaryIO]:
    """What is packed in a file, by its first bytes; the file itself where that is nothing we know."""
    file.seek(0)
    start = file.read(len(_XZ))
    file.seek(0)
    if start[:2] == GZIP:
        with gunzipped(file, budget) as stream:
            yield stream
    elif start[:3] == _BZIP2:
        yield counted(_Stream(file, bz2.BZ2Decompressor), budget)
    elif start == _XZ:
        yield counted(_Stream(file, _xz), budget)
    elif zstd and start[:4] == ZSTD:
        from rootless_scratch.image.zstd import opened

        try:
            stream = opened(file)
        except HostError as error:
            raise HostError(
                "An archive is packed by zstd, and the Python module that unpacks it is not installed.",
                fix="`pip install 'rootless-scratch[zstd]'`, or pack the archive by gzip.",
            ) from error
        yield counted(stream, budget)
    else:
        yield counted(file, budget)


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY)


class _Stream:
    """What is packed in all streams of a file of bzip2 or xz."""

    def __init__(self, file: BinaryIO, make: Callable[[], object]) -> None:
        self._file = file
        self._make = make
        self._unpacker: Any = make()
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Up to so many bytes, none only at the end; raises EOFError, OSError, LZMAError."""
        while self._unpacker is not None:
            data = self._rest
            if not data and self._unpacker.needs_input:
                data = self._file.read(_CHUNK)
                if not data:
                    raise EOFError("it is cut off")
            self._rest = b""
            block = cast("bytes", self._unpacker.decompress(data, size))
            if self._unpacker.eof:
                # Streams may follow each other, with zeros between them.
                self._rest = self._unpacker.unused_data.lstrip(b"\0") or self._file.read(_CHUNK).lstrip(b"\0")
                self._unpacker = self._make() if self._rest else None
            if block:
                return block
        return b""
