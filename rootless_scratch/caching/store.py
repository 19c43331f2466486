"""Compressed layers below the user's cache directory, each in a file of its own with a record at its end.

A file gets its name when it is whole, and is replaced or removed at once: who reads it keeps what was opened, so
nothing has to be locked. Nothing that is taken is believed: its bytes are summed while they are copied.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rootless_scratch.data import Data, Value
from rootless_scratch.image.host_files import open_descriptor
from rootless_scratch.image.write.remembered import own_cache
from rootless_scratch.image.write.temporary import Temporary
from rootless_scratch.sparse import append_sparse, write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DEFAULT_LIMIT = 10 << 30
_SHARE = 10
"""Of the file system, which part at most."""

_FREE = 20
"""Which part of the file system stays free: a cache must not be what keeps an image from being written."""

_RECORD = 512
_MAGIC = b"rootless-scratch layer 1\n"
_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{64}\Z")
_SUM = re.compile(r"[0-9a-f]{64}\Z")
_CHUNK = 1 << 20
_SCANNED_EVERY = 32
"""Layers that are added before all are looked at again, by one that adds many."""

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+"


class Entry(Value):
    """A layer that is known: sha256 in hexadecimal of its tar (`diff_id`) and of what is stored (`digest`).

    `key` is what it is looked up by, `shape` what may have it without a look at any byte, `compression` the name
    of it and its level; `size` and `tar_size` are bytes.
    """

    shape: str
    key: str
    diff_id: str
    digest: str
    size: int
    tar_size: int
    compression: str

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.shape}-{self.key}"

    @property
    def media_type(self) -> str:
        """Of the layer in an image."""
        return MEDIA_TYPE + self.compression.partition(":")[0]

    def is_sound(self) -> bool:
        """Whether every field is what it should be, whoever wrote it."""
        numbers = (self.size, self.tar_size)
        return (
            all(isinstance(each, str) for each in (self.shape, self.key, self.diff_id, self.digest))
            and _NAME.match(self.name) is not None
            and all(_SUM.match(each) for each in (self.diff_id, self.digest))
            and all(type(each) is int and each >= 0 for each in numbers)
            and re.match(r"(gzip|zstd):\d{1,2}\Z", str(self.compression)) is not None
        )


class Kept(Data):
    """A file of the store: its name, bytes, when it was used last, and its entry, None where it is damaged."""

    name: str
    bytes: int
    used: float
    entry: Entry | None


class Removed(Data):
    """How many layers were removed, their bytes, and what is there now."""

    layers: int
    bytes: int
    left: int


class Store:
    """Layers in `directory`, a private one; "" keeps nothing. They have `limit` bytes at most, the oldest go."""

    def __init__(self, directory: str, limit: int | None = None) -> None:
        self.directory = directory
        self._limit = limit
        self._added = self._bytes = 0

    @classmethod
    def of_user(cls, environ: Mapping[str, str]) -> Store:
        """That of this user; where none can be, one that keeps nothing."""
        return cls(own_cache(environ, "blobs"))

    @property
    def limit(self) -> int:
        """Bytes of all layers at most; raises OSError."""
        if self._limit is None:
            room = os.statvfs(self.directory)
            self._limit = min(DEFAULT_LIMIT, room.f_blocks * room.f_frsize // _SHARE)
        return self._limit

    def has_shape(self, shape: str) -> bool:
        """Whether any layer has it."""
        try:
            return any(name.startswith(f"{shape}-") for name in os.listdir(self.directory or os.devnull))
        except OSError:
            return False

    def find(self, shape: str, key: str) -> Entry | None:
        """The layer of this key, if its record is whole."""
        with self._opened(f"{shape}-{key}") as found:
            return None if found is None else found[1]

    def copy(self, entry: Entry, writing: int) -> bool:
        """Write a layer to where a file is at; False where it is not there, or not what it was: then it goes.

        What was written is then of no use. Raises OSError where nothing can be written.
        """
        with self._opened(entry.name) as found:
            if found is None or found[1] != entry:
                return False
            if copy_summed(found[0], writing, entry):
                with suppress(OSError):
                    os.utime(found[0])
                return True
            self._remove(entry.name, found[0])
            return False

    def touch(self, entry: Entry) -> None:
        """It was used, and is to stay."""
        with suppress(OSError):
            os.utime(f"{self.directory}/{entry.name}", follow_symlinks=False)

    def keep(self, entry: Entry, reading: int) -> None:
        """Keep what is at the start of a file; nothing is raised where that cannot be."""
        if not self.directory:
            return
        try:
            room = os.statvfs(self.directory)
            left = room.f_bavail - entry.size // room.f_frsize
            if entry.size > self.limit or left < room.f_blocks // _FREE:
                return
            with Temporary(self.directory) as file:
                if sum(append_sparse(reading, file.descriptor, entry.size, chunk=16 * _CHUNK)) < entry.size:
                    return
                file.write(_record(entry))
                os.fchmod(file.descriptor, 0o600)
                file.rename(f"{self.directory}/{entry.name}", sync="nothing")
            self._bytes += entry.size
            if self._added % _SCANNED_EVERY == 0 or self._bytes > self.limit // _SCANNED_EVERY:
                self._bytes = 0
                self.prune(keep=self.limit)
            self._added += 1
        except OSError:
            return

    def files(self) -> list[Kept]:
        """All layers, what was used last first. Raises OSError."""
        found = []
        for name, status in self._listed():
            with self._opened(name) as opened:
                entry = None if opened is None else opened[1]
            found.append(Kept(name, status.st_size, status.st_mtime, entry))
        return sorted(found, key=lambda each: each.used, reverse=True)

    def prune(self, *, keep: int | None = None, older_than: float | None = None) -> Removed:
        """Remove what was not used for so many seconds, then what was used longest ago, down to `keep` bytes.

        Without either everything goes. What others add meanwhile stays. Raises OSError.
        """
        if keep is None and older_than is None:
            keep = 0
        now, left, count, freed, is_over = time.time(), 0, 0, 0, False
        for name, status in sorted(self._listed(), key=lambda item: item[1].st_mtime, reverse=True):
            # What comes behind one that goes was not used for even longer.
            is_over |= older_than is not None and now - status.st_mtime > older_than
            is_over |= keep is not None and left + status.st_size > keep
            if not is_over:
                left += status.st_size
                continue
            with suppress(FileNotFoundError):
                os.unlink(f"{self.directory}/{name}")
                count += 1
                freed += status.st_size
        return Removed(count, freed, left)

    def verify(self, unpacked: Callable[[int, Entry], bool]) -> list[Kept]:
        """Read every layer, and remove and return those that are not what they are said to be. Raises OSError.

        `unpacked` says whether the bytes of a file come to the layer's tar.
        """
        wrong = []
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for kept in self.files():
                with self._opened(kept.name) as found:
                    if (
                        found is not None
                        and found[1] is not None
                        and copy_summed(found[0], nowhere, found[1])
                        and unpacked(found[0], found[1])
                    ):
                        continue
                    wrong.append(kept)
                    self._remove(kept.name, None if found is None else found[0])
        finally:
            os.close(nowhere)
        return wrong

    def _listed(self) -> Iterator[tuple[str, os.stat_result]]:
        """Names and status of the files that are called as layers are."""
        if not self.directory:
            return
        with os.scandir(self.directory) as listing:
            for item in listing:
                if _NAME.match(item.name):
                    with suppress(FileNotFoundError):
                        status = item.stat(follow_symlinks=False)
                        if not stat.S_ISDIR(status.st_mode):
                            yield item.name, status

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[int, Entry | None] | None]:
        """A file's descriptor and its entry, None where its record is damaged; None where there is no file."""
        descriptor = -1
        with suppress(OSError):
            if self.directory:
                descriptor, _ = open_descriptor(f"{self.directory}/{name}", os.O_NOFOLLOW)
        if descriptor < 0:
            yield None
            return
        try:
            yield descriptor, _entry(descriptor, name)
        finally:
            os.close(descriptor)

    def _remove(self, name: str, descriptor: int | None) -> None:
        """Remove a file that is not what it should be, unless another has taken its place by now."""
        path = f"{self.directory}/{name}"
        with suppress(OSError):
            if descriptor is None or os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                os.unlink(path)


def copy_summed(reading: int, writing: int, entry: Entry) -> bool:
    """Copy the blob at the start of a file to where another is at; whether it is that of the entry.

    Raises OSError where nothing can be written.
    """
    found, at = hashlib.sha256(), 0
    while at < entry.size:
        try:
            block = os.pread(reading, min(_CHUNK, entry.size - at), at)
        except OSError:
            return False
        if not block:
            return False
        found.update(block)
        write_all(writing, block)
        at += len(block)
    return found.hexdigest() == entry.digest


def _record(entry: Entry) -> bytes:
    """What stands behind a blob: as many bytes for each, with a sum of its own."""
    values = [getattr(entry, name) for name in entry._fields]
    body = (_MAGIC + json.dumps(values).encode()).ljust(_RECORD - 64)
    return body + hashlib.sha256(body).hexdigest().encode()


def _entry(descriptor: int, name: str) -> Entry | None:
    """The record of a file, if it is whole and the file's own."""
    try:
        size = os.fstat(descriptor).st_size - _RECORD
        record = os.pread(descriptor, _RECORD, size) if size >= 0 else b""
        body, checksum = record[:-64], record[-64:]
        if not body.startswith(_MAGIC) or hashlib.sha256(body).hexdigest().encode() != checksum:
            return None
        entry = Entry(*json.loads(body[len(_MAGIC) :]))
        return entry if entry.is_sound() and entry.name == name and entry.size == size else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None
