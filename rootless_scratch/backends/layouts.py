"""An image of a layout or an archive as one of local storage would be read: every file, all layers applied."""

from __future__ import annotations

import hashlib
import os
import tempfile
from array import array
from bisect import bisect_left
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.backends.stored import FileType, StoredFile, StoredImage, with_links
from rootless_scratch.elf.program import ProgramFacts, read_program
from rootless_scratch.errors import HostError
from rootless_scratch.host.environment import no_temporary, temporary_directory, tool_environment
from rootless_scratch.image.attributes import attributes_digest, is_own
from rootless_scratch.image.capabilities import XATTR
from rootless_scratch.image.finished import Layer
from rootless_scratch.image.host_files import host_trouble
from rootless_scratch.image.oci import LAYER
from rootless_scratch.image.read.found import FoundImage, find_image
from rootless_scratch.image.read.reader import Fault, ImageReader, broken
from rootless_scratch.image.read.tarread import Member, TarFault, TarReader
from rootless_scratch.image.read.unpacking import open_layer
from rootless_scratch.sparse import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from rootless_scratch.elf.platforms import Platform
    from rootless_scratch.image.rootfs import Xattrs

_CAPABILITIES = 64
"""Characters of the attribute that are kept: no kernel reads one of more than 24 bytes, capabilities(7)."""

_XATTR = "SCHILY.xattr."

_LINKS_LIMIT = 40
"""MAXSYMLINKS of the kernel: path_resolution(7)."""

_FOLLOWED_LIMIT = 50_000_000
"""Characters of links that entries lie below; systems whose /bin is a link have some hundred thousand."""

_OPAQUE, _WHITEOUT = ".wh..wh..opq", ".wh."
_HARD_LINK, _DIRECTORY = ord("1"), ord("5")
_TYPES: dict[int, FileType] = {
    ord("0"): "file",
    _DIRECTORY: "directory",
    ord("2"): "symlink",
    ord("3"): "device",
    ord("4"): "device",
    ord("6"): "fifo",
}


class LayoutImage:
    """The image that a reference names; raises ImageNotFoundError, SourceError, LimitError as `find_image`."""

    def __init__(self, reader: ImageReader, platform: Platform | None = None) -> None:
        self._image = reader
        self._found = find_image(reader, platform)
        self._positions: dict[str, tuple[int, int]] = {}
        self.stored = self._read(self._found)

    def program(self, path: str) -> ProgramFacts:
        """What a file of the image says of itself; raises SourceError, ElfError, LimitError, HostError."""
        layer, number = self._positions[path]
        self._image.budget.restart()
        # Without a name nobody exchanges it, and nothing stays of it.
        with _temporary_file() as copy:
            with self._reader(layer) as reader:
                for at, member in enumerate(reader):
                    if at == number:
                        _refuse_too_large(path, member.size, copy.fileno())
                        for block in reader.content(member):
                            _write(copy.fileno(), block)
                        break
            return msgspec.structs.replace(read_program(f"/proc/self/fd/{copy.fileno()}"), path=path)

    def copy_out(
        self, paths: Iterable[str], directory: str, *, only: Callable[[str, bytes], bool] | None = None
    ) -> dict[str, tuple[str, Xattrs]]:
        """Write regular files of the image to a private directory: by its path, each copy and its attributes.

        Hard links share one copy. `only` is told path and first bytes, and says whether a file is wanted. Raises
        SourceError, LimitError, HostError.
        """
        wanted: dict[tuple[int, int], list[str]] = {}
        for path in paths:
            wanted.setdefault(self._positions[path], []).append(path)
        found: dict[str, tuple[str, Xattrs]] = {}
        self._image.budget.restart()
        for layer in sorted({number for number, _ in wanted}):
            with self._reader(layer) as reader:
                for at, member in enumerate(reader):
                    if (layer, at) in wanted:
                        copy = f"{directory}/{layer}.{at}"
                        blocks = reader.content(member)
                        first = next(blocks, b"")
                        if only is not None and not any(only(path, first) for path in wanted[layer, at]):
                            continue
                        _write_copy(chain((first,), blocks), member, copy)
                        found |= dict.fromkeys(wanted[layer, at], (copy, _own_attributes(member)))
        return found

    @contextmanager
    def _reader(self, number: int) -> Iterator[TarReader]:
        layer = self._found.layers[number]
        try:
            with open_layer(self._image, layer.name) as file:
                yield TarReader(file, self._image.budget)
        except (Fault, TarFault, OSError, EOFError) as error:
            trouble = host_trouble(error, layer.name) if isinstance(error, OSError) else None
            raise trouble or broken(self._image.subject, f"{layer.name}: {error}") from error

    def _read(self, found: FoundImage) -> StoredImage:
        overlay = Overlay()
        self._image.budget.restart()
        for number in range(len(found.layers)):
            with self._reader(number) as reader:
                self._apply(overlay, number, reader)
            overlay.settle()
        return StoredImage(
            image_id=found.image_id,
            config=found.config.decode("utf-8", "replace"),
            layers=tuple(self._layers(found)),
            files=with_links(overlay),
        )

    def _apply(self, overlay: Overlay, number: int, reader: TarReader) -> None:
        """One layer over those below it: OCI image-spec v1.1, layer.md, "Whiteouts"."""
        budget = self._image.budget
        for at, member in enumerate(reader):
            budget.add_entry(member.name)
            budget.check_path(member.link)
            path = os.path.normpath("/" + member.name.lstrip("/"))
            above, _, name = path.rpartition("/")
            above = overlay.reached(above)
            path = path if path == "/" else f"{above}/{name}"
            if name == _OPAQUE:
                overlay.hide_below(above)
            elif name.startswith(_WHITEOUT):
                overlay.hide(f"{above}/{name.removeprefix(_WHITEOUT)}")
            elif path != "/":
                if member.kind != _DIRECTORY:
                    overlay.hide(path)
                for directory in overlay.missing_above(above):
                    budget.add_entry(directory)
                    # One that a layer does not name is root's.
                    overlay.add(StoredFile(path=directory, type="directory", mode=0o755, uid=0, gid=0))
                overlay.add(self._file(overlay, path, (number, at), member, reader))

    def _file(
        self, overlay: Overlay, path: str, position: tuple[int, int], member: Member, reader: TarReader
    ) -> StoredFile:
        if member.kind == _HARD_LINK:
            above, _, name = os.path.normpath("/" + member.link.lstrip("/")).rpartition("/")
            target = f"{overlay.reached(above)}/{name}"
            linked = overlay.find(target)
            if linked is None:
                raise TarFault(f"{path!r} is a link to {target!r}, which is not there")
            if target in self._positions:
                self._positions[path] = self._positions[target]
            return msgspec.structs.replace(linked, path=path)
        kind = _TYPES.get(member.kind)
        if kind is None:
            raise TarFault(f"{path!r} is of the type {chr(member.kind)!r}, which no engine unpacks")
        value = member.records.get(_XATTR + XATTR)
        digest, content, inode = None, None, None
        if kind == "file":
            self._positions[path] = position
            inode = f"{position[0]}:{position[1]}"
            keep = self._image.budget.may_keep(path, member.size)
            digest, content = _read(reader, member, keep=keep)
        return StoredFile(
            path=path,
            type=kind,
            mode=member.mode & 0o7777,
            uid=member.uid,
            gid=member.gid,
            size=member.size if kind == "file" else 0,
            sha256=digest,
            target=member.link if kind == "symlink" else None,
            mtime=member.mtime,
            attributes=None if kind == "symlink" else _attributes(member),
            inode=inode,
            capabilities=None if value is None else value[:_CAPABILITIES].encode("utf-8", "surrogateescape").hex(),
            content=content,
        )

    def _layers(self, found: FoundImage) -> Iterator[Layer]:
        for layer in found.layers:
            with self._image.open(layer.name) as file:
                size = file.seek(0, os.SEEK_END)
            yield Layer(
                diff_id=layer.diff_id,
                digest=str(layer.descriptor.get("digest", layer.diff_id)),
                size=size,
                media_type=str(layer.descriptor.get("mediaType", LAYER)),
            )


def _attributes(member: Member) -> str | None:
    return attributes_digest(_pairs(member))


def _own_attributes(member: Member) -> Xattrs:
    return tuple(sorted(pair for pair in _pairs(member) if is_own(pair[0])))


def _pairs(member: Member) -> Iterator[tuple[str, bytes]]:
    for name, value in member.records.items():
        if name.startswith(_XATTR):
            yield name.removeprefix(_XATTR), value.encode("utf-8", "surrogateescape")


def _read(reader: TarReader, member: Member, *, keep: bool) -> tuple[str, bytes | None]:
    """The digest of a member's bytes, and the bytes where they are to be kept."""
    found, kept = hashlib.sha256(), bytearray()
    for block in reader.content(member):
        found.update(block)
        kept += block if keep else b""
    return found.hexdigest(), bytes(kept) if keep else None


def _refuse_too_large(path: str, size: int, descriptor: int) -> None:
    """Raise HostError where a program cannot be copied to where temporary files lie."""
    room = os.fstatvfs(descriptor)
    free = room.f_bavail * room.f_frsize
    if size > free:
        raise _no_space(f"{path!r} has {size} bytes, and {free} are free")


def _write_copy(blocks: Iterable[bytes], member: Member, copy: str) -> None:
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _refuse_too_large(member.name, member.size, descriptor)
        for block in blocks:
            _write(descriptor, block)
    finally:
        os.close(descriptor)


def _directory() -> str:
    """Where temporary files of tools lie: Python's own choice writes to TMPDIR to try it, whoever else may."""
    return temporary_directory(tool_environment().variables)


def _temporary_file() -> BinaryIO:
    directory = _directory()
    try:
        return tempfile.TemporaryFile(dir=directory)
    except OSError as error:
        raise no_temporary(directory, error) from error


def _write(descriptor: int, block: bytes) -> None:
    try:
        write_all(descriptor, block)
    except OSError as error:
        raise _no_space(error.strerror or str(error)) from error


def _no_space(what: str) -> HostError:
    return HostError(
        f"A file of the image cannot be copied to {_directory()} to be read: {what}.",
        fix="Make room there, or set TMPDIR to a larger disk.",
    )


class Overlay:
    """What the layers below have (`find` sees it), and what the one that is applied has added so far.

    Whiteouts hide only what lies below. Each file is hidden once, whatever the number and the order of whiteouts:
    the paths below are sorted once for a layer that hides anything, and what is hidden is stepped over.
    """

    def __init__(self) -> None:
        self._below: dict[str, StoredFile] = {}
        self._added: dict[str, StoredFile] = {}
        self._sorted: list[str] | None = None
        self._next = array("q")
        self._followed = 0

    def __iter__(self) -> Iterator[StoredFile]:
        yield from self._below.values()

    def find(self, path: str) -> StoredFile | None:
        """The file of this path, of this layer or one below."""
        return self._added.get(path) or self._below.get(path)

    def add(self, file: StoredFile) -> None:
        """An entry of this layer; it takes the place of one below."""
        self._added[file.path] = file

    def reached(self, directory: str) -> str:
        """Where entries of a directory go, links of the image followed; itself where these lead nowhere.

        Raises TarFault where the links of the image are made to take long.
        """
        found = directory
        for _ in range(_LINKS_LIMIT):
            there = found
            while there and self.find(there) is None:
                there = there.rpartition("/")[0]
            link = self.find(there) if there else None
            if link is None or link.type == "directory":
                return found
            if link.type != "symlink":
                return directory
            target = os.path.normpath(f"{there.rpartition('/')[0]}/" + (link.target or ""))
            if (link.target or "").startswith("/"):
                target = os.path.normpath(link.target or "")
            found = f"/{target.strip('/')}".rstrip("/") + found[len(there) :]
            self._followed += len(found) + len(link.target or "")
            if self._followed > _FOLLOWED_LIMIT:
                raise TarFault("its entries lie below more symbolic links than any image has")
        return directory

    def missing_above(self, directory: str) -> list[str]:
        """The directories that are not there on the way to `directory`, itself included, from the outside in."""
        missing = []
        while directory and self.find(directory) is None:
            missing.append(directory)
            directory = directory.rpartition("/")[0]
        return missing[::-1]

    def hide(self, path: str) -> None:
        """Remove a path of the layers below, with all that is below it."""
        there = self._below.get(path)
        if there is not None and there.type == "directory":
            self.hide_below(path)
        self._below.pop(path, None)

    def hide_below(self, directory: str) -> None:
        """Remove what the layers below have in a directory, and leave that itself."""
        if not self._below:
            return
        if self._sorted is None:
            self._sorted = sorted(self._below)
            self._next = array("q", range(len(self._sorted) + 1))
        # Whatever lies below has the directory and a slash before it, and `0` comes after the slash.
        at = self._visible(bisect_left(self._sorted, f"{directory}/"))
        end = bisect_left(self._sorted, f"{directory}0")
        while at < end:
            self._below.pop(self._sorted[at], None)
            self._next[at] = at + 1
            at = self._visible(at + 1)

    def settle(self) -> None:
        """The layer is complete: what it has added lies below the next one."""
        self._below.update(self._added)
        self._added = {}
        self._sorted = None

    def _visible(self, at: int) -> int:
        """The first position from `at` on that was not stepped over; the way to it is made shorter."""
        found = at
        while self._next[found] != found:
            found = self._next[found]
        while self._next[at] != found:
            self._next[at], at = found, self._next[at]
        return found
