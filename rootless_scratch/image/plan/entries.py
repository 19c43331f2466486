"""From what a Spec names to entries: every file of the host is looked at, none is judged."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rootless_scratch.errors import SourceError, SpecError
from rootless_scratch.image.capabilities import encode_capabilities
from rootless_scratch.image.paths import PATH_MAX, encoded, image_path, require_file_text
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink

if TYPE_CHECKING:
    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.spec import Copy, NewDirectory, NewSymlink

PROGRAM_MODE = 0o755
_MODE_MAX = 0o7777
_ID_MAX = 2**32 - 2
"""The highest number means "no change" to chown(2)."""


def program_entry(program: Copy, files: HostFiles) -> tuple[File, ProgramFacts]:
    """A program's file and what it says of itself; raises SpecError, SourceError, ElfError."""
    facts = _facts(program, files)
    require_metadata(program.source, program.mode, program.uid, program.gid)
    file = File(
        path=program_path(program),
        mode=PROGRAM_MODE if program.mode is None else program.mode,
        uid=program.uid,
        gid=program.gid,
        source=absolute(program.source),
        identity=facts.identity,
        capabilities=checked_capabilities(program),
    )
    return file, facts


def program_path(program: Copy) -> str:
    """Where a program goes in the image; raises SpecError, UsageError."""
    return image_path(destination_of(program), what="destination")


def directory_entry(new: NewDirectory) -> Directory:
    """A directory; raises SpecError for a path or metadata that no image may have."""
    require_metadata(new.path, new.mode, new.uid, new.gid)
    return Directory(path=image_path(new.path, what="directory"), mode=new.mode, uid=new.uid, gid=new.gid)


def symlink_entry(new: NewSymlink) -> Symlink:
    """A symbolic link; raises SpecError for a path or target that no image may have."""
    path = image_path(new.path, what="link")
    require_file_text(new.target)
    if not new.target:
        raise SpecError(f"The symbolic link {path!r} has no target.", fix="Name its target.")
    if len(encoded(new.target)) >= PATH_MAX:
        raise SpecError(
            f"The target of the symbolic link {path!r} has {PATH_MAX} bytes or more.",
            fix="Shorten it; Linux cannot follow it.",
        )
    if new.path.endswith("/"):
        raise SpecError(
            f"The path {new.path!r} of a symbolic link ends in `/`, as only a directory's may.",
            fix="Name the link itself, e.g. `/bin/sh`.",
        )
    return Symlink(path=path, target=new.target)


def with_directories(entries: list[Entry], directories: list[Directory]) -> list[Entry]:
    """Entries and directories that were asked for by name, which hold where a copied directory lies as well."""
    if not directories:
        return entries
    named = {directory.path for directory in directories}
    others = [entry for entry in entries if not (isinstance(entry, Directory) and entry.path in named)]
    return [*others, *directories]


def is_same(one: Entry, other: Entry) -> bool:
    """Whether two entries of one path are the same link, or have their bytes from the very same file."""
    if isinstance(one, File) and isinstance(other, File) and one.source is not None:
        return one.identity == other.identity
    return one == other


def _facts(program: Copy, files: HostFiles) -> ProgramFacts:
    try:
        return files.program(program.source)
    except SourceError as error:
        source, colon, place = program.source.rpartition(":")
        if program.destination is not None and place.startswith("/") and os.path.lexists(source):
            raise SourceError(
                error.message,
                fix=f"One path names one program: write {program.source!r}, or name the program twice.",
            ) from error
        if program.destination is not None or not colon or not place or not os.path.lexists(source):
            raise
        raise SourceError(
            error.message, fix=f"A place in the image is absolute: write {f'{source}:/{place}'!r}."
        ) from error


def destination_of(copy: Copy) -> str:
    """Where a single file goes: `DIR/` means the file's own name below it, as `cp` and COPY read it."""
    destination = "/" if copy.destination is None else copy.destination
    return destination + os.path.basename(copy.source.rstrip("/")) if destination.endswith("/") else destination


def absolute(source: str) -> str:
    """Independent of the working directory; `..` stays, for above a linked directory it is not what it looks."""
    if ".." in source.split("/"):
        return os.path.join(os.getcwd(), source)
    return os.path.abspath(source)


def checked_capabilities(copy: Copy) -> str | None:
    """The capabilities that were asked for; raises SpecError where they are none."""
    if copy.capabilities is not None:
        encode_capabilities(copy.capabilities)
    return copy.capabilities


def require_metadata(path: str, mode: int | None, uid: int, gid: int) -> None:
    """Raise SpecError for a mode or an owner that no file has."""
    if mode is not None and not 0 <= mode <= _MODE_MAX:
        raise SpecError(f"The mode {mode:#o} of {path!r} is not a file mode.", fix="Give it as 0o755 or 0o1777.")
    for number in (uid, gid):
        if not 0 <= number <= _ID_MAX:
            raise SpecError(
                f"The owner {number} of {path!r} is not a user or group id.",
                fix=f"Ids are from 0 to {_ID_MAX}; 65532 is usual.",
            )
