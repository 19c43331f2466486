"""An image of a layout or an archive as one of local storage would be read: every file, all layers applied."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.backends.inside.reading import is_told
from rootless_scratch.backends.stored import StoredFile, StoredImage
from rootless_scratch.elf.program import read_program
from rootless_scratch.image.capabilities import XATTR
from rootless_scratch.image.finished import Layer
from rootless_scratch.image.oci import LAYER
from rootless_scratch.image.source import Fault, broken, find_image
from rootless_scratch.image.unpacking import open_layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.backends.stored import FileType
    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.image.source import FoundImage, Source

_CHUNK = 1 << 20
_OPAQUE, _WHITEOUT = ".wh..wh..opq", ".wh."
_TYPES: dict[bytes, FileType] = {
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "fifo",
}


class LayoutImage:
    """The image that a source's word names, see `find_image`; raises ImageNotFoundError, SourceError."""

    def __init__(self, source: Source, platform: Platform | None = None) -> None:
        self._source = source
        self._found = find_image(source, platform)
        self._places: dict[str, tuple[int, str]] = {}
        self.stored = self._read(self._found)

    def program(self, path: str) -> ProgramFacts:
        """What a file of the image says of itself; raises SourceError, ElfError."""
        number, name = self._places[path]
        # Without a name nobody exchanges it, and nothing stays of it.
        with tempfile.TemporaryFile() as copy:
            with self._members(number) as archive:
                for member in archive:
                    if member.name == name and member.isreg():
                        file = archive.extractfile(member)
                        while file is not None and (block := file.read(_CHUNK)):
                            copy.write(block)
                        break
            copy.flush()
            return msgspec.structs.replace(read_program(f"/proc/self/fd/{copy.fileno()}"), path=path)

    @contextmanager
    def _members(self, number: int) -> Iterator[tarfile.TarFile]:
        layer = self._found.layers[number]
        try:
            with (
                open_layer(self._source, layer.name) as file,
                tarfile.open(fileobj=file, mode="r|", encoding="utf-8", errors="surrogateescape") as archive,
            ):
                yield archive
        except (Fault, tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise broken(self._source.word, f"{layer.name}: {error}") from error

    def _read(self, found: FoundImage) -> StoredImage:
        files: dict[str, StoredFile] = {}
        for number in range(len(found.layers)):
            with self._members(number) as archive:
                self._apply(files, number, archive)
        ordered = sorted(files.values(), key=lambda file: os.fsencode(file.path).split(b"/"))
        return StoredImage(
            image_id=found.image_id,
            config=found.config.decode("utf-8", "replace"),
            layers=tuple(self._layers(found)),
            files=tuple(ordered),
        )

    def _apply(self, files: dict[str, StoredFile], number: int, archive: tarfile.TarFile) -> None:
        """One layer over those below it: OCI image-spec v1.1, layer.md, "Whiteouts"."""
        added: set[str] = set()
        for member in archive:
            path = os.path.normpath("/" + member.name.lstrip("/"))
            above, _, name = path.rpartition("/")
            if name == _OPAQUE:
                _hide(files, above, added, itself=False)
            elif name.startswith(_WHITEOUT):
                _hide(files, f"{above}/{name.removeprefix(_WHITEOUT)}", added, itself=True)
            elif path != "/":
                if not member.isdir():
                    _hide(files, path, added, itself=True)
                _add_parents(files, above)
                files[path] = self._file(files, path, number, member, archive)
                added.add(path)

    def _file(
        self,
        files: dict[str, StoredFile],
        path: str,
        number: int,
        member: tarfile.TarInfo,
        archive: tarfile.TarFile,
    ) -> StoredFile:
        if member.islnk():
            target = os.path.normpath("/" + member.linkname.lstrip("/"))
            if target not in files:
                raise tarfile.TarError(f"{path!r} is a link to {target!r}, which is not there")
            if target in self._places:
                self._places[path] = self._places[target]
            return msgspec.structs.replace(files[target], path=path)
        kind = _TYPES.get(member.type, "file")
        value = member.pax_headers.get(f"SCHILY.xattr.{XATTR}")
        digest, content = None, None
        if kind == "file":
            self._places[path] = (number, member.name)
            digest, content = _read(archive, member, keep=is_told(path, member.size))
        return StoredFile(
            path=path,
            type=kind,
            mode=member.mode & 0o7777,
            uid=member.uid,
            gid=member.gid,
            size=member.size if kind == "file" else 0,
            sha256=digest,
            target=member.linkname if kind == "symlink" else None,
            mtime=int(member.mtime),
            capabilities=None if value is None else value.encode("utf-8", "surrogateescape").hex(),
            content=content,
        )

    def _layers(self, found: FoundImage) -> Iterator[Layer]:
        for layer in found.layers:
            with self._source.open(layer.name) as file:
                size = file.seek(0, os.SEEK_END)
            yield Layer(
                diff_id=layer.diff_id,
                digest=str(layer.descriptor.get("digest", layer.diff_id)),
                size=size,
                media_type=str(layer.descriptor.get("mediaType", LAYER)),
            )


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, *, keep: bool) -> tuple[str, bytes | None]:
    """The digest of a member's bytes, and the bytes where they are to be kept."""
    found, kept = hashlib.sha256(), bytearray()
    file = archive.extractfile(member)
    while file is not None and (block := file.read(_CHUNK)):
        found.update(block)
        kept += block if keep else b""
    return found.hexdigest(), bytes(kept) if keep else None


def _hide(files: dict[str, StoredFile], path: str, kept: set[str], *, itself: bool) -> None:
    """Remove what lower layers have at and below a path."""
    there = files.get(path)
    if there is None and path:
        return
    if there is not None and there.type != "directory":
        if itself and path not in kept:
            del files[path]
        return
    below = path + "/"
    for other in [each for each in files if each.startswith(below) or (itself and each == path)]:
        if other not in kept:
            del files[other]


def _add_parents(files: dict[str, StoredFile], above: str) -> None:
    """Directories that a layer does not name are made as root's, 0755."""
    while above and above not in files:
        files[above] = StoredFile(
            path=above,
            type="directory",
            mode=0o755,
            uid=0,
            gid=0,
            size=0,
            sha256=None,
            target=None,
            mtime=0,
            capabilities=None,
        )
        above = above.rpartition("/")[0]
