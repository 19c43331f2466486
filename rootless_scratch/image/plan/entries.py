"""From what a Spec names to entries: every file of the host is looked at, none is judged."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from rootless_scratch.elf.identity import identity_of
from rootless_scratch.elf.program import unreadable
from rootless_scratch.errors import SourceError, SpecError
from rootless_scratch.image.capabilities import encode_capabilities
from rootless_scratch.image.paths import PATH_MAX, encoded, image_path, require_file_text
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rootless_scratch.elf.program import ProgramFacts
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.spec import Copy, NewDirectory, NewSymlink

_PROGRAM_MODE = 0o755
_FILE_MODE = 0o644
_MODE_MAX = 0o7777
_ID_MAX = 2**32 - 2
"""The highest number means "no change" to chown(2)."""


def program_entry(program: Copy, files: HostFiles) -> tuple[File, ProgramFacts]:
    """A program's file and what it says of itself; raises SpecError, SourceError, ElfError."""
    facts = _facts(program, files)
    _require_metadata(program.source, program.mode, program.uid, program.gid)
    file = File(
        path=program_path(program),
        mode=_PROGRAM_MODE if program.mode is None else program.mode,
        uid=program.uid,
        gid=program.gid,
        source=_absolute(program.source),
        identity=facts.identity,
        capabilities=_capabilities(program),
    )
    return file, facts


def program_path(program: Copy) -> str:
    """Where a program goes in the image; raises SpecError, UsageError."""
    return image_path(_destination(program), what="destination")


def copied_entries(copy: Copy, files: HostFiles) -> tuple[Entry, ...]:
    """A file, or a directory with all that it holds, as it was first looked at; raises SpecError, SourceError.

    A link that is named itself is followed; those inside a directory stay links, wherever they point.
    """
    if copy not in files.copied:
        files.copied[copy] = tuple(_copied(copy, files))
    return files.copied[copy]


def _copied(copy: Copy, files: HostFiles) -> Iterator[Entry]:
    _require_metadata(copy.source, copy.mode, copy.uid, copy.gid)
    try:
        status = os.stat(copy.source)
    except (OSError, ValueError) as error:
        raise unreadable(copy.source, error) from error
    if not stat.S_ISDIR(status.st_mode):
        path = image_path(_destination(copy), what="destination")
        yield _file(copy, _absolute(copy.source), path, status, files)
        return
    if copy.capabilities is not None:
        raise SpecError(
            f"{copy.source!r} is a directory, and capabilities belong to single programs.",
            fix="Copy the program that needs them with a --copy of its own.",
        )
    target = image_path(copy.destination or _destination(copy), what="destination")
    if target != "/":
        yield Directory(path=target, mode=0o755, uid=copy.uid, gid=copy.gid)
    yield from _tree(copy, _absolute(copy.source), target, files)


def directory_entry(new: NewDirectory) -> Directory:
    """A directory; raises SpecError for a path or metadata that no image may have."""
    _require_metadata(new.path, new.mode, new.uid, new.gid)
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
    named = {directory.path for directory in directories}
    others = [entry for entry in entries if not (isinstance(entry, Directory) and entry.path in named)]
    return [*others, *directories]


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


def _destination(copy: Copy) -> str:
    """Where a single file goes: `DIR/` means the file's own name below it, as `cp` and COPY read it."""
    destination = "/" if copy.destination is None else copy.destination
    return destination + os.path.basename(copy.source.rstrip("/")) if destination.endswith("/") else destination


def _absolute(source: str) -> str:
    """Independent of the working directory; `..` stays, for above a linked directory it is not what it looks."""
    if ".." in source.split("/"):
        return os.path.join(os.getcwd(), source)
    return os.path.abspath(source)


def _tree(copy: Copy, source: str, target: str, files: HostFiles) -> Iterator[Entry]:
    """Everything below a directory; a stack, for directories may nest deeper than Python calls."""
    pending = [(source, target)]
    while pending:
        source, target = pending.pop()
        for item in _listing(source):
            path = image_path(f"{target}/{item.name}", what="destination")
            if item.is_symlink():
                yield Symlink(path=path, target=_link_target(item.path), uid=copy.uid, gid=copy.gid)
            elif item.is_dir(follow_symlinks=False):
                yield Directory(path=path, mode=0o755, uid=copy.uid, gid=copy.gid)
                pending.append((item.path, path))
            else:
                known = copy.mode is not None or not item.is_file(follow_symlinks=False)
                status = _status(item) if known else None
                yield _file(copy, item.path, path, status, files, flags=os.O_NOFOLLOW)


def _listing(source: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(source) as listing:
            return sorted(listing, key=lambda item: os.fsencode(item.name))
    except OSError as error:
        raise unreadable(source, error) from error


def _link_target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError as error:
        raise unreadable(path, error) from error


def _status(item: os.DirEntry[str]) -> os.stat_result:
    try:
        return item.stat(follow_symlinks=False)
    except OSError as error:
        raise unreadable(item.path, error) from error


def _file(
    copy: Copy, source: str, path: str, status: os.stat_result | None, files: HostFiles, *, flags: int = 0
) -> File:
    """A file of the host; without `status` it is a regular one of which no more is known."""
    identity, mode = None, copy.mode
    if status is not None:
        # Looked at before it is opened: a device might act, and a socket cannot be opened at all.
        _require_regular(source, status.st_mode)
        identity = identity_of(status)
    try:
        if identity is None or mode is None:
            identity, executable = files.look(source, identity, flags)
            mode = _PROGRAM_MODE if executable else _FILE_MODE
        elif not os.access(source, os.R_OK, effective_ids=True):
            # Nothing of it is wanted before it is copied, so it is opened only then.
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise unreadable(source, error) from error
    return File(
        path=path,
        mode=mode,
        uid=copy.uid,
        gid=copy.gid,
        source=source,
        identity=identity,
        capabilities=_capabilities(copy),
    )


def _require_regular(source: str, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    what = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    raise SourceError(
        f"{source!r} is {what}, neither a file, a directory nor a symbolic link.",
        fix="Leave it out; images hold no devices, sockets or pipes.",
    )


def _capabilities(copy: Copy) -> str | None:
    if copy.capabilities is not None:
        encode_capabilities(copy.capabilities)
    return copy.capabilities


def _require_metadata(path: str, mode: int | None, uid: int, gid: int) -> None:
    if mode is not None and not 0 <= mode <= _MODE_MAX:
        raise SpecError(f"The mode {mode:#o} of {path!r} is not a file mode.", fix="Give it as 0o755 or 0o1777.")
    for number in (uid, gid):
        if not 0 <= number <= _ID_MAX:
            raise SpecError(
                f"The owner {number} of {path!r} is not a user or group id.",
                fix=f"Ids are from 0 to {_ID_MAX}; 65532 is usual.",
            )
