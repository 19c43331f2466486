"""Which layer came of which files, and what was found in which blob, so that nothing is read twice for nothing.

A large file is known by what stat(2) tells of it, and only where every later change of its bytes must show there
(docs/decisions/0022-known-by-their-status.md). What is remembered is only ever a reason not to read again.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from rootless_scratch import private, sums
from rootless_scratch.elf.identity import is_identity
from rootless_scratch.image.host_files import open_descriptor
from rootless_scratch.image.rootfs import File
from rootless_scratch.image.write.hints import cache_directory, numbers_of
from rootless_scratch.image.write.layer import WORTH, WrittenLayer
from rootless_scratch.image.write.settled import is_settled
from rootless_scratch.image.write.tarheader import entry_header
from rootless_scratch.image.write.temporary import Temporary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.rootfs import Rootfs

_FORMAT = b"rootless-scratch: layers 1\n"
"""Goes up with every change of the bytes of a layer."""

_ENTRIES_MAX = 1000
_RECORDS_MAX = 4096
"""Four each for a thousand images of one bake."""

_COUNTED = "0"
"""How keys end after whose record all are counted: one of sixteen, as to list them takes its time."""

_RECORD_SIZE = 4096


def own_cache(environ: Mapping[str, str], name: str) -> str:
    """A private directory of this user's for caches, made where it is missing; "" where there can be none."""
    try:
        base = cache_directory(environ)
        base = os.path.realpath(base) if base else ""
        # Root with the home of a user (sudo) would leave a directory there that the user cannot use.
        above = base if os.path.isdir(base) else os.path.dirname(base)
        if os.stat(above).st_uid == os.geteuid() and not private.exchangeable(above):
            return private.make_own(base, "rootless-scratch", name)
    except OSError:
        pass
    return ""


class Memory:
    """Records below the user's cache directory, each in a file of its own, replaced at once; the oldest go.

    What is damaged, or cannot be read or written, is not remembered: nothing is raised. There are `most` records
    of a `kind`, each with `size` bytes at most.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        kind: str = "layers",
        *,
        most: int = _RECORDS_MAX,
        size: int = _RECORD_SIZE,
    ) -> None:
        self._directory = own_cache(environ, kind)
        self._most = most
        self._size = size

    def recall(self, key: str) -> list[str] | None:
        """What was kept by a key."""
        return self._read(key)

    def keep(self, key: str, values: Sequence[str]) -> None:
        """Remember this by a key."""
        self._write(key, values)

    def layer(self, key: str) -> WrittenLayer | None:
        """The layer that came of a key, uncompressed."""
        found = self._read(key)
        return None if found is None else WrittenLayer(found[0], found[0], int(found[1]), int(found[1]))

    def keep_layer(self, key: str, layer: WrittenLayer) -> None:
        """Remember the tar of a layer."""
        self._write(key, [layer.diff_id, str(layer.tar_size)])

    def image(self, key: str) -> tuple[str, str, str] | None:
        """The image of local storage that came of a key: its ID, the sha256 of its manifest, where images lie."""
        found = self._read(key)
        return None if found is None else (found[0], found[1], found[2])

    def keep_image(self, key: str, image_id: str, manifest: str, images: str) -> None:
        """Remember an image of local storage."""
        self._write(key, [image_id, manifest, images])

    def images_directory(self, key: str) -> str | None:
        """Where a storage of these settings has its images."""
        found = self._read(key)
        return None if found is None else found[0]

    def keep_images_directory(self, key: str, images: str) -> None:
        """Remember that."""
        self._write(key, [images])

    def keep_hint(self, name: str) -> None:
        """Remember that what such a command builds is known."""
        if not os.path.exists(f"{self._directory}/{name}"):
            self._write(name, [])

    def digest(self, descriptor: int) -> str:
        """The sha256 of a file that is open for reading, in hexadecimal; only what may have changed is read.

        Raises OSError.
        """
        begun, status = time.time_ns(), os.fstat(descriptor)
        key = sums.digest(b"blob %a" % (numbers_of(status),))
        known = self._read(key)
        if known is not None:
            return known[0]
        settled = is_settled(descriptor, begun)
        with open(descriptor, "rb", closefd=False) as file:
            found = sums.file_digest(file)
        if settled and numbers_of(os.fstat(descriptor)) == numbers_of(status):
            self._write(key, [found])
        return found

    def _read(self, key: str) -> list[str] | None:
        try:
            descriptor, _ = open_descriptor(f"{self._directory}/{key}", os.O_NOFOLLOW)
            with open(descriptor, "rb") as file:
                checksum, _, body = file.read(self._size).partition(b"\n")
        except OSError:
            return None
        if sums.digest(body).encode() != checksum:
            return None
        known, *values = json.loads(body)
        return values if known == key else None

    def _write(self, key: str, values: Sequence[str]) -> None:
        body = json.dumps([key, *values]).encode()
        try:
            with Temporary(self._directory) as file:
                file.write(sums.digest(body).encode() + b"\n" + body)
                file.rename(f"{self._directory}/{key}")
            if key.endswith(_COUNTED):
                self._forget()
        except OSError:
            pass

    def _forget(self) -> None:
        """Remove the oldest records of too many."""
        with os.scandir(self._directory) as listing:
            paths = [item.path for item in listing]
        if len(paths) > self._most:
            for path in sorted(paths, key=os.path.getmtime)[: len(paths) - self._most // 2]:
                os.unlink(path)


def layer_key(
    rootfs: Rootfs, mtime: int, files: HostFiles | None, *, worth: int = WORTH, most: int = _ENTRIES_MAX
) -> str | None:
    """What decides on the bytes of an uncompressed layer; None where to remember it is not worth it.

    Small files count by the bytes that `files` keep, if the layer is made of these, others by what they are.
    It is worth it where these others have as many bytes, and for as many entries at `most`.
    """
    others = _by_status(rootfs, files)
    if len(rootfs) > most or sum(file.identity.size for file in others) < worth:
        return None
    found = sums.sha256(_FORMAT)
    for entry in rootfs:
        found.update(entry_header(entry, mtime if entry.mtime is None else entry.mtime))
        if not isinstance(entry, File) or entry.linked is not None:
            continue
        content = entry.content or b"" if entry.source is None else _kept(entry, files)
        # No bytes of one file may pass for the numbers of another.
        kind = b"bytes"
        if content is None:
            identity = entry.identity
            numbers = (identity.device, identity.inode, identity.size, identity.mtime_ns, identity.ctime_ns)
            kind, content = b"file", b"%a" % (numbers,)
        found.update(b"%b %d\n%b" % (kind, len(content), content))
    return found.hexdigest()


def are_settled(rootfs: Rootfs, files: HostFiles | None) -> bool:
    """Whether no file that counts by what it is can change from now on and be what was planned all the same."""
    now = time.time_ns()
    for file in _by_status(rootfs, files):
        assert file.source is not None  # noqa: S101 - see there
        try:
            descriptor, status = open_descriptor(file.source)
        except OSError:
            return False
        try:
            if not is_identity(file.identity, status) or not is_settled(descriptor, now):
                return False
        finally:
            os.close(descriptor)
    return True


def _by_status(rootfs: Rootfs, files: HostFiles | None) -> list[File]:
    """The files of the host whose bytes are not kept."""
    return [
        entry
        for entry in rootfs
        if isinstance(entry, File)
        and entry.linked is None
        and entry.source is not None
        and _kept(entry, files) is None
    ]


def _kept(file: File, files: HostFiles | None) -> bytes | None:
    return None if files is None else files.kept_content(file)
