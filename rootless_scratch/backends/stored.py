"""An image that lies in local storage: its config, its layers, every file, and what its programs say."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from rootless_scratch.backends.jobs import FoundFile, ReadJob, Written
from rootless_scratch.elf.identity import FileIdentity
from rootless_scratch.elf.program import ProgramFacts  # noqa: TC001 - likewise
from rootless_scratch.image.capabilities import decode_capabilities
from rootless_scratch.image.config import RuntimeConfig
from rootless_scratch.image.finished import Layer, layers_of, platform_said
from rootless_scratch.image.limits import DEFAULTS
from rootless_scratch.image.rootfs import Directory, Entry, File, Rootfs, Symlink

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rootless_scratch.backends.session import Session

FileType = Literal["file", "directory", "symlink", "device", "fifo", "socket"]


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of an image, all layers applied; `sha256` of regular files, `target` of symbolic links.

    `capabilities` are the bytes of the extended attribute in hexadecimal, `mtime` seconds since 1970, `attributes`
    a digest of those of `user.*`. Names of one file have the same `inode`, and all but the first are `linked`.
    `program` is there for what may be started, where it was asked for, `unreadable` where it could not be read;
    `content`, likewise, for search lists of loaders, and for users and groups.
    """

    path: str
    type: FileType
    mode: int
    uid: int
    gid: int
    size: int = 0
    sha256: str | None = None
    target: str | None = None
    mtime: int = 0
    capabilities: str | None = None
    attributes: str | None = None
    inode: str | None = None
    linked: str | None = None
    program: ProgramFacts | None = None
    unreadable: str | None = None
    content: bytes | None = None

    def capabilities_text(self) -> str | None:
        """The capabilities in the notation of cap_from_text(3); the digits where no kernel reads them."""
        if self.capabilities is None:
            return None
        return decode_capabilities(bytes.fromhex(self.capabilities)) or self.capabilities


class StoredImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image of local storage; `config` is the JSON object of OCI image-spec v1.1, config.md, as text."""

    image_id: str
    config: str
    layers: tuple[Layer, ...]
    files: tuple[StoredFile, ...]

    @property
    def platform(self) -> str | None:
        """As in `linux/arm64/v8`; None where the config lacks it."""
        config = json.loads(self.config)
        return platform_said(config)

    def rootfs(self) -> Rootfs:
        """The files as entries; devices, pipes and sockets are left out."""
        entries = (_entry(file) for file in self.files)
        return Rootfs(entries=tuple(entry for entry in entries if entry is not None))

    def runtime_config(self) -> RuntimeConfig:
        """What a runtime needs to start it."""
        return _runtime_config(json.loads(self.config).get("config"))


def read_image(name: str, session: Session, *, limits: Mapping[str, int] | None = None) -> StoredImage:
    """Read an image by its name or ID; what its programs say only if the session's purpose is `read-programs`.

    Raises ImageNotFoundError, LimitError, HostError, BuildError.
    """
    files: list[StoredFile] = []

    def on_message(answer: Written | FoundFile) -> None:
        if isinstance(answer, FoundFile):
            files.append(msgspec.convert(answer.__dict__, StoredFile))

    done = session.do(ReadJob(name, dict(limits or DEFAULTS)), on_message=on_message)
    return StoredImage(
        image_id=done.image_id,
        config=done.config,
        layers=layers_of(json.loads(done.config), json.loads(done.manifest)),
        files=with_links(files),
    )


def with_links(files: Iterable[StoredFile]) -> tuple[StoredFile, ...]:
    """The files in the order of a plan, with the links among those that are there."""
    # A NUL is in no path, and sorts as the end of a name does.
    ordered = sorted(files, key=lambda file: os.fsencode(file.path).replace(b"/", b"\0"))
    first: dict[str, str] = {}
    return tuple(
        file
        if file.inode is None or (path := first.setdefault(file.inode, file.path)) == file.path
        else msgspec.structs.replace(file, linked=path)
        for file in ordered
    )


def _entry(file: StoredFile) -> Entry | None:
    if file.type == "directory":
        return Directory(path=file.path, mode=file.mode, uid=file.uid, gid=file.gid)
    if file.type == "symlink":
        return Symlink(path=file.path, target=file.target or "", uid=file.uid, gid=file.gid)
    if file.type != "file":
        return None
    identity = FileIdentity(device=0, inode=0, size=file.size, mtime_ns=file.mtime * 1_000_000_000, ctime_ns=0)
    return File(
        path=file.path,
        mode=file.mode,
        uid=file.uid,
        gid=file.gid,
        source=file.path,
        identity=identity,
        capabilities=file.capabilities_text(),
    )


def _runtime_config(found: object) -> RuntimeConfig:
    """The object `config` of anybody's JSON; what has not the type of the specification is not there."""
    config = _object(found)
    pairs = (text.partition("=") for text in _texts(config.get("Env")))
    return RuntimeConfig(
        user=_text(config.get("User")),
        env=tuple((name, value) for name, _, value in pairs),
        entrypoint=_texts(config.get("Entrypoint")) or None,
        cmd=_texts(config.get("Cmd")) or None,
        working_dir=_text(config.get("WorkingDir")) or "/",
        labels=tuple(sorted((key, _text(value)) for key, value in _object(config.get("Labels")).items())),
        ports=tuple(sorted(_object(config.get("ExposedPorts")))),
        volumes=tuple(sorted(_object(config.get("Volumes")))),
        stop_signal=_text(config.get("StopSignal")) or None,
        healthcheck=_texts(_object(config.get("Healthcheck")).get("Test")),
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()
