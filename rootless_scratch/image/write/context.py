"""A Containerfile's context: a directory for COPY and an archive for ADD, the same bytes each time."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from rootless_scratch.image.capabilities import XATTR, encode_capabilities
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink
from rootless_scratch.sparse import copy_sparse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from tarfile import TarFile

    from rootless_scratch.image.host_files import HostFiles

_CHUNK = 16 * 1024 * 1024


def write_tree(entries: Sequence[Entry], root: str, mtime: int, files: HostFiles) -> None:
    """Write entries that belong to 0:0 below a new directory; raises SourceError and OSError."""
    directories = [("", 0o755)]
    os.mkdir(root, 0o700)
    for entry in entries:
        path = root + entry.path
        if isinstance(entry, Directory):
            os.mkdir(path, 0o700)
            directories.append((entry.path, entry.mode))
        elif isinstance(entry, Symlink):
            os.symlink(entry.target, path)
            os.utime(path, (mtime, mtime), follow_symlinks=False)
        elif entry.linked is not None:
            os.link(root + entry.linked, path)
        else:
            if entry.content is not None:
                with open(path, "xb") as writing:
                    writing.write(entry.content)
            else:
                with files.planned(entry) as reading:
                    _copy(reading, path)
            finish(path, entry.mode, mtime)
    # Each entry written into a directory changes its time: the innermost are finished first.
    for below, mode in reversed(directories):
        finish(root + below, mode, mtime)


def finish(path: str, mode: int, mtime: int) -> None:
    """Set what the umask and the clock have set otherwise."""
    os.chmod(path, mode)
    os.utime(path, (mtime, mtime))


def _copy(reading: int, path: str) -> None:
    with open(path, "xb") as writing:
        for _ in copy_sparse(reading, writing.fileno(), os.fstat(reading).st_size, chunk=_CHUNK):
            pass


def write_archive(entries: Iterable[Entry], path: str, mtime: int, files: HostFiles) -> None:
    """Write entries to a new tar file, whatever their owners and modes; raises SourceError and OSError."""
    import tarfile

    # It may hold files that not everybody on this host shall read.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with (
        open(descriptor, "wb") as file,
        tarfile.open(
            fileobj=file, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
        ) as archive,
    ):
        for entry in entries:
            _pack(archive, entry, mtime, files)
    finish(path, 0o600, mtime)


def _pack(archive: TarFile, entry: Entry, mtime: int, files: HostFiles) -> None:
    import tarfile

    # Builders tell archives by their first bytes, and a name could look like a compressed one: `./` does not.
    member = tarfile.TarInfo(f".{entry.path}")
    member.mode, member.uid, member.gid, member.mtime = entry.mode, entry.uid, entry.gid, mtime
    attributes: dict[str, bytes] = {} if isinstance(entry, Symlink) else dict(entry.xattrs)
    if isinstance(entry, File) and entry.capabilities is not None:
        attributes[XATTR] = encode_capabilities(entry.capabilities)
    member.pax_headers = {
        f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in attributes.items()
    }
    if isinstance(entry, Directory):
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    elif isinstance(entry, Symlink):
        member.type, member.linkname = tarfile.SYMTYPE, entry.target
        archive.addfile(member)
    elif entry.linked is not None:
        member.type, member.linkname = tarfile.LNKTYPE, f".{entry.linked}"
        archive.addfile(member)
    else:
        member.size = entry.identity.size
        if entry.content is not None:
            archive.addfile(member, io.BytesIO(entry.content))
            return
        with files.planned(entry) as reading, open(reading, "rb", closefd=False) as source:
            source.seek(0)
            archive.addfile(member, source)
