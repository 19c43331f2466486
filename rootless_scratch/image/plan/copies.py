"""From `--copy` to entries: a file, or a directory with all that it holds and that no pattern leaves out."""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from typing import TYPE_CHECKING

from rootless_scratch.data import Data
from rootless_scratch.elf.identity import identity_of
from rootless_scratch.elf.program import unreadable
from rootless_scratch.errors import HostError, SourceError, SpecError, UsageError
from rootless_scratch.image.exclusions import Exclusions, ignored_by, literal
from rootless_scratch.image.paths import image_path, path_below
from rootless_scratch.image.plan.entries import (
    PROGRAM_MODE,
    absolute,
    checked_capabilities,
    destination_of,
    require_metadata,
)
from rootless_scratch.image.plan.venv import leads_to_interpreter, programs_of_venv
from rootless_scratch.image.plan.xattrs import capability_of, kept_capability, xattrs_of
from rootless_scratch.image.rootfs import Copied, Directory, Entry, File, Ignored, Loss, Symlink, Xattrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rootless_scratch.image.host_files import HostFiles
    from rootless_scratch.image.spec import Copy, Spec

_FILE_MODE = 0o644
_SET_ID = 0o6000
_EXECUTE = 0o111


class _Branch(Data):
    """A directory under way: on the host, in the image, and below the one that is copied.

    `met` are the patterns that match it, `above` are directories that are left out unless something below returns.
    `venv` is the virtual environment whose programs lie here.
    """

    source: str
    target: str
    below: str
    met: int
    above: tuple[Directory, ...] = ()
    venv: str = ""


def copied(copy: Copy, files: HostFiles, exclude: Sequence[str] = (), *, below: str = "") -> Copied:
    """A file, or a directory with all that it holds, as it was first looked at; raises SpecError, SourceError.

    A link that is named itself is followed; those inside a directory stay links, wherever they point. What the
    directory's ignore file or a pattern of `exclude` leaves out is not looked at. What was not named by the user
    lies `below` the directory where patterns begin; no ignore file counts there.
    """
    key = (copy, tuple(exclude), below)
    if key not in files.copied:
        copying = _Copying(copy, files)
        entries = tuple(copying.entries(exclude, below))
        files.copied[key] = Copied(entries=entries, losses=tuple(copying.losses), ignored=tuple(copying.ignored))
    return files.copied[key]


def copied_entries(copy: Copy, files: HostFiles) -> tuple[Entry, ...]:
    """The entries alone."""
    return copied(copy, files).entries


def brought_entries(copy: Copy, files: HostFiles, exclude: Sequence[str]) -> tuple[Entry, ...]:
    """The entries of what essentials and packages bring; patterns of `exclude` begin at the root of the image."""
    return copied(copy, files, exclude, below=destination_of(copy).strip("/")).entries


def program_losses(program: Copy, file: File, mode: int) -> Iterator[Loss]:
    """What a program that has this mode on the host does not have in the image."""
    found = None if file.capabilities is not None or file.source is None else capability_of(file.source)
    if found is not None:
        yield Loss(path=file.path, what="capabilities", had=found[0], named=True)
    if program.mode is None and mode & _SET_ID:
        yield Loss(path=file.path, what="set-id", had=f"{mode:04o}", named=True)


def require_copies(spec: Spec) -> None:
    """Raise UsageError for patterns where nothing is copied that they could leave out."""
    copies_trees = any(os.path.isdir(copy.source) for copy in spec.copies)
    if spec.exclude and not (copies_trees or spec.essentials or spec.bundle_packages):
        raise UsageError(
            "--exclude says what copied directories, --with or --bundle-package leave out, and there are none.",
            fix="Name the directory, e.g. `--copy static:/srv`, or leave --exclude out.",
        )


class _Copying:
    """One `--copy` under way; `losses` are filled while its entries are taken."""

    def __init__(self, copy: Copy, files: HostFiles) -> None:
        self._copy = copy
        self._files = files
        self._mode_by_content = copy.mode is None and not copy.keep_mode
        self.losses: list[Loss] = []
        self.ignored: list[Ignored] = []
        self._exclusions = Exclusions()
        # So many patterns are those of the ignore file; what they leave out is told.
        self._own = 0
        self._left: list[str] = []

    def entries(self, exclude: Sequence[str], below: str) -> Iterator[Entry]:
        """The file, or the directory and what it holds."""
        copy = self._copy
        require_metadata(copy.source, copy.mode, copy.uid, copy.gid)
        try:
            status = os.stat(copy.source)
        except (OSError, ValueError) as error:
            raise unreadable(copy.source, error) from error
        is_directory = stat.S_ISDIR(status.st_mode)
        by, patterns = ignored_by(copy.source) if is_directory and not below else ("", ())
        self._own = len(patterns)
        self._exclusions = Exclusions((*patterns, *exclude))
        met = self._exclusions.met_on_the_way(below)
        if not is_directory:
            if not self._exclusions.excludes(met):
                path = image_path(destination_of(copy), what="destination")
                yield self._file(absolute(copy.source), path, status, below=below)
            return
        if copy.capabilities is not None:
            raise SpecError(
                f"{copy.source!r} is a directory, and capabilities belong to single programs.",
                fix="Copy the program that needs them with a --copy of its own.",
            )
        target = image_path(copy.destination or destination_of(copy), what="destination")
        source = absolute(copy.source)
        if self._leaves_out(below, met, is_directory=True):
            return
        if target != "/":
            yield self._directory(source, target, lambda: status)
        yield from self._tree(_Branch(source, target, below, met))
        if self._left:
            self.ignored.append(Ignored(path=target, by=by, count=len(self._left), first=self._left[0]))

    def _leaves_out(self, below: str, met: int, *, is_directory: bool) -> bool:
        """Whether something is not even looked at."""
        if not self._exclusions.excludes(met):
            return False
        if is_directory and self._exclusions.may_return(below, met):
            return False
        if self._exclusions.counts_before(met, self._own):
            self._left.append(below)
        return True

    def _tree(self, first: _Branch) -> Iterator[Entry]:
        """Everything below a directory; a stack, for directories may nest deeper than Python calls."""
        exclusions = self._exclusions
        pending = [first]
        returned: set[str] = set()
        while pending:
            branch = pending.pop()
            listing = _listing(branch)
            base = branch.target if branch.target != "/" else ""
            programs = programs_of_venv(branch.source, [item.name for item in listing])
            for item in listing:
                below = f"{branch.below}/{item.name}" if branch.below else item.name
                met = exclusions.met(below, branch.met)
                is_directory = item.is_dir(follow_symlinks=False)
                if met and self._leaves_out(below, met, is_directory=is_directory):
                    continue
                out = met != 0 and exclusions.excludes(met)
                path = path_below(base, item.name)
                directory = None
                if is_directory:
                    directory = self._directory(item.path, path, partial(_status, item, below))
                    above = (*branch.above, directory) if out else ()
                    venv = branch.source if item.name == programs else ""
                    pending.append(_Branch(item.path, path, below, met, above, venv))
                if out:
                    continue
                for each in branch.above:
                    if each.path not in returned:
                        returned.add(each.path)
                        yield each
                if directory is not None:
                    yield directory
                elif item.is_symlink() and not (branch.venv and leads_to_interpreter(item.path, branch.venv)):
                    target = _link_target(item.path, below)
                    yield Symlink(path=path, target=target, uid=self._copy.uid, gid=self._copy.gid)
                else:
                    follow = item.is_symlink()
                    plain = self._mode_by_content and item.is_file(follow_symlinks=False)
                    plain = plain and not self._files.is_kept(item.inode())
                    status = None if plain else _status(item, below, follow=follow)
                    flags = 0 if follow else os.O_NOFOLLOW
                    yield self._file(item.path, path, status, flags=flags, below=below)

    def _directory(self, source: str, path: str, status: Callable[[], os.stat_result]) -> Directory:
        copy = self._copy
        mode = stat.S_IMODE(status().st_mode) if copy.keep_mode else 0o755
        xattrs = self._xattrs(source, path) if copy.keep_xattrs else ()
        return Directory(path=path, mode=mode, uid=copy.uid, gid=copy.gid, xattrs=xattrs)

    def _file(
        self, source: str, path: str, status: os.stat_result | None, *, flags: int = 0, below: str = ""
    ) -> File:
        """A file of the host, of which is known before it is opened what it is: a device might act.

        `status` is None for what its directory says to be a regular file that nobody has opened before.
        """
        copy = self._copy
        known, found_mode, executable = None, 0, False
        if status is not None:
            _require_regular(source, status.st_mode, below)
            known, found_mode = identity_of(status), status.st_mode
        try:
            if known is None or self._mode_by_content or self._files.is_small(known):
                known, found_mode, executable = self._files.look(source, known, flags)
            elif not os.access(source, os.R_OK, effective_ids=True):
                # Nothing of it is wanted before it is copied, so it is opened only then.
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise _blocked(source, below, error) from error
        host_mode = stat.S_IMODE(found_mode)
        mode = host_mode if copy.keep_mode else copy.mode
        if mode is None:
            mode = PROGRAM_MODE if executable else _FILE_MODE
            self._note_mode(path, host_mode, mode)
        return File(
            path=path,
            mode=mode,
            uid=copy.uid,
            gid=copy.gid,
            source=source,
            identity=known,
            capabilities=self._capabilities(source, path, host_mode),
            xattrs=self._xattrs(source, path) if copy.keep_xattrs else (),
        )

    def _note_mode(self, path: str, host_mode: int, mode: int) -> None:
        if not host_mode & (_SET_ID | stat.S_IXUSR) and host_mode & stat.S_IROTH:
            return
        had = f"{host_mode:04o}"
        if host_mode & _SET_ID:
            self.losses.append(Loss(path=path, what="set-id", had=had))
        if host_mode & stat.S_IXUSR and not mode & stat.S_IXUSR:
            self.losses.append(Loss(path=path, what="execute", had=had))
        if not host_mode & stat.S_IROTH:
            self.losses.append(Loss(path=path, what="private", had=had))

    def _capabilities(self, source: str, path: str, host_mode: int) -> str | None:
        if self._copy.capabilities is not None or not host_mode & _EXECUTE:
            return checked_capabilities(self._copy)
        found = capability_of(source)
        if found is None:
            return None
        text, value = found
        if not self._copy.keep_xattrs:
            self.losses.append(Loss(path=path, what="capabilities", had=text))
            return None
        return kept_capability(source, text, value)

    def _xattrs(self, source: str, path: str) -> Xattrs:
        kept, others = xattrs_of(source)
        if others:
            self.losses.append(Loss(path=path, what="attributes", had=", ".join(others)))
        return kept


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


def _status(item: os.DirEntry[str], below: str, *, follow: bool = False) -> os.stat_result:
    try:
        return item.stat(follow_symlinks=follow)
    except OSError as error:
        raise _blocked(item.path, below, error) from error


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
    import shlex

    return f"`--exclude {shlex.quote(literal(below))}`"
