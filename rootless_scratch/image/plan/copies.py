"""From `--copy` to entries: a file, or a directory with all that it holds and that no pattern leaves out."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from typing import TYPE_CHECKING

from rootless_scratch.data import Data
from rootless_scratch.elf.identity import identity_of
from rootless_scratch.elf.program import unreadable
from rootless_scratch.errors import SourceError, SpecError, UsageError
from rootless_scratch.image.exclusions import Exclusions, ignored_by, literal
from rootless_scratch.image.paths import image_path
from rootless_scratch.image.plan.entries import (
    PROGRAM_MODE,
    absolute,
    checked_capabilities,
    destination_of,
    require_metadata,
)
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rootless_scratch.errors import HostError
    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.spec import Copy, Spec

_FILE_MODE = 0o644


class _Branch(Data):
    """A directory under way: on the host, in the image, and below the one that is copied.

    `met` are the patterns that match it, `above` are directories that are left out unless something below returns.
    """

    source: str
    target: str
    below: str
    met: int
    above: tuple[Directory, ...] = ()


def copied_entries(copy: Copy, files: HostFiles, exclude: Sequence[str] = ()) -> tuple[Entry, ...]:
    """A file, or a directory with all that it holds, as it was first looked at; raises SpecError, SourceError.

    A link that is named itself is followed; those inside a directory stay links, wherever they point. What the
    directory's ignore file or a pattern of `exclude` leaves out is not looked at.
    """
    key = (copy, tuple(exclude))
    if key not in files.copied:
        files.copied[key] = tuple(_copied(copy, files, exclude))
    return files.copied[key]


def require_copies(spec: Spec) -> None:
    """Raise UsageError for patterns where no directory is copied."""
    if spec.exclude and not any(os.path.isdir(copy.source) for copy in spec.copies):
        raise UsageError(
            "--exclude says what a copied directory leaves out, and none is copied.",
            fix="Name the directory, e.g. `--copy static:/srv`, or leave --exclude out.",
        )


def _copied(copy: Copy, files: HostFiles, exclude: Sequence[str]) -> Iterator[Entry]:
    require_metadata(copy.source, copy.mode, copy.uid, copy.gid)
    try:
        status = os.stat(copy.source)
    except (OSError, ValueError) as error:
        raise unreadable(copy.source, error) from error
    if not stat.S_ISDIR(status.st_mode):
        path = image_path(destination_of(copy), what="destination")
        yield _file(copy, absolute(copy.source), path, status, files)
        return
    if copy.capabilities is not None:
        raise SpecError(
            f"{copy.source!r} is a directory, and capabilities belong to single programs.",
            fix="Copy the program that needs them with a --copy of its own.",
        )
    target = image_path(copy.destination or destination_of(copy), what="destination")
    if target != "/":
        yield Directory(path=target, mode=0o755, uid=copy.uid, gid=copy.gid)
    exclusions = Exclusions((*ignored_by(copy.source), *exclude))
    yield from _tree(copy, _Branch(absolute(copy.source), target, "", 0), exclusions, files)


def _tree(copy: Copy, first: _Branch, exclusions: Exclusions, files: HostFiles) -> Iterator[Entry]:
    """Everything below a directory; a stack, for directories may nest deeper than Python calls."""
    pending = [first]
    returned: set[str] = set()
    while pending:
        branch = pending.pop()
        for item in _listing(branch):
            below = f"{branch.below}/{item.name}" if branch.below else item.name
            met = exclusions.met(below, branch.met)
            is_directory = item.is_dir(follow_symlinks=False)
            out = exclusions.excludes(met)
            if out and not (is_directory and exclusions.may_return(below, met)):
                continue
            path = image_path(f"{branch.target}/{item.name}", what="destination")
            above = branch.above
            directory = Directory(path=path, mode=0o755, uid=copy.uid, gid=copy.gid)
            if out:
                pending.append(_Branch(item.path, path, below, met, (*above, directory)))
                continue
            for each in above:
                if each.path not in returned:
                    returned.add(each.path)
                    yield each
            if is_directory:
                yield directory
                pending.append(_Branch(item.path, path, below, met))
            elif item.is_symlink():
                yield Symlink(path=path, target=_link_target(item.path, below), uid=copy.uid, gid=copy.gid)
            else:
                known = copy.mode is not None or not item.is_file(follow_symlinks=False)
                status = _status(item, below) if known else None
                yield _file(copy, item.path, path, status, files, flags=os.O_NOFOLLOW, below=below)


def _listing(branch: _Branch) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(branch.source) as listing:
            return sorted(listing, key=lambda item: os.fsencode(item.name))
    except OSError as error:
        raise _blocked(branch.source, branch.below, error) from error


def _link_target(path: str, below: str) -> str:
    try:
        return os.readlink(path)
    except OSError as error:
        raise _blocked(path, below, error) from error


def _status(item: os.DirEntry[str], below: str) -> os.stat_result:
    try:
        return item.stat(follow_symlinks=False)
    except OSError as error:
        raise _blocked(item.path, below, error) from error


def _file(
    copy: Copy,
    source: str,
    path: str,
    status: os.stat_result | None,
    files: HostFiles,
    *,
    flags: int = 0,
    below: str = "",
) -> File:
    """A file of the host; without `status` it is a regular one of which no more is known."""
    identity, mode = None, copy.mode
    if status is not None:
        # Looked at before it is opened: a device might act, and a socket cannot be opened at all.
        _require_regular(source, status.st_mode, below)
        identity = identity_of(status)
    try:
        if identity is None or mode is None:
            identity, executable = files.look(source, identity, flags)
            mode = PROGRAM_MODE if executable else _FILE_MODE
        elif not os.access(source, os.R_OK, effective_ids=True):
            # Nothing of it is wanted before it is copied, so it is opened only then.
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _blocked(source, below, error) from error
    return File(
        path=path,
        mode=mode,
        uid=copy.uid,
        gid=copy.gid,
        source=source,
        identity=identity,
        capabilities=checked_capabilities(copy),
    )


def _blocked(source: str, below: str, error: OSError) -> SourceError | HostError:
    """Why a file cannot be read, and how a tree does without it."""
    found = unreadable(source, error)
    if not below or not isinstance(found, SourceError):
        return found
    return SourceError(found.message, fix=f"{found.fix.rstrip('.')}, or leave it out by {_option(below)}.")


def _require_regular(source: str, mode: int, below: str) -> None:
    if stat.S_ISREG(mode):
        return
    what = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    how = f" by {_option(below)}" if below else ""
    raise SourceError(
        f"{source!r} is {what}, neither a file, a directory nor a symbolic link.",
        fix=f"Leave it out{how}; images hold no devices, sockets or pipes.",
    )


def _option(below: str) -> str:
    """The option that leaves out one path of a copied directory."""
    return f"`--exclude {shlex.quote(literal(below))}`"
