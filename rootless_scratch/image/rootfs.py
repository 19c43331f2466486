"""All entries of an image: sorted, parents explicit, conflicts and escapes refused."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Literal

import msgspec

from rootless_scratch.elf.identity import FileIdentity  # noqa: TC001 - msgspec resolves it for JSON
from rootless_scratch.errors import SpecError
from rootless_scratch.image.paths import encoded

Xattrs = tuple[tuple[str, bytes], ...]
"""Extended attributes of users, by name: xattr(7)."""


class File(msgspec.Struct, frozen=True, kw_only=True, tag="file", tag_field="type", gc=False):
    """A regular file.

    Its bytes come from `source` on the host, which must still be `identity` when it is copied; or they are
    `content`, and `source` is None. In an image that was read back from storage, `source` is its own path. Of
    what is no file of the host, `identity` only knows the size. `linked` is the path of the file that it is a hard
    link to, which comes before it. `mtime` is as Directory has it.
    """

    path: str
    mode: int
    uid: int
    gid: int
    source: str | None
    identity: FileIdentity
    capabilities: str | None = None
    content: bytes | None = None
    linked: str | None = None
    xattrs: Xattrs = ()
    mtime: int | None = None


class Directory(msgspec.Struct, frozen=True, kw_only=True, tag="directory", tag_field="type", gc=False):
    """A directory; `mtime` is a time of its own, in seconds since 1970, None for that of all entries of a plan."""

    path: str
    mode: int
    uid: int
    gid: int
    xattrs: Xattrs = ()
    mtime: int | None = None


class Symlink(msgspec.Struct, frozen=True, kw_only=True, tag="symlink", tag_field="type", gc=False):
    """A symbolic link; Linux gives every one the mode 0777. `mtime` is as Directory has it."""

    path: str
    target: str
    mode: int = 0o777
    uid: int = 0
    gid: int = 0
    mtime: int | None = None


Entry = File | Directory | Symlink


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What a file has on the host and not in the image, because nobody asked for it; `had` in words.

    `private` is a file that not everybody may read there. `named` is whether it was named as a program.
    """

    path: str
    what: Literal["capabilities", "set-id", "execute", "private", "attributes"]
    had: str
    named: bool = False


class Ignored(msgspec.Struct, frozen=True, kw_only=True):
    """How many files and directories the ignore file `by` leaves out of what goes to `path`; `first` is one."""

    path: str
    by: str
    count: int
    first: str


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What one `--copy` brings into the image, and what of it stays behind."""

    entries: tuple[Entry, ...]
    losses: tuple[Loss, ...] = ()
    ignored: tuple[Ignored, ...] = ()


class Rootfs(msgspec.Struct, frozen=True, kw_only=True):
    """Entries in the order in which they can be written: a directory before what it holds."""

    entries: tuple[Entry, ...]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def files(self) -> tuple[File, ...]:
        """The regular files."""
        return tuple(entry for entry in self.entries if isinstance(entry, File))

    @property
    def size(self) -> int:
        """Bytes of all regular files; those of hard links count once."""
        files = (entry for entry in self.entries if isinstance(entry, File) and entry.linked is None)
        return sum(file.identity.size for file in files)


def make_rootfs(entries: Iterable[Entry], apart: Collection[str] = ()) -> Rootfs:
    """Bring entries into one tree; a missing parent becomes a directory 0755 of root.

    The same entry twice is one entry. Raises SpecError where two different entries claim one path, where a
    parent is not a directory, or where a parent is a symbolic link of the image: nothing is written through
    links. Files of one inode are hard links to the first of them, where all else that they say is the same too,
    but for those whose paths are `apart`.
    """
    tree: dict[str, Entry] = {}
    for entry in entries:
        if entry.path == "/":
            raise SpecError(
                "The root directory of an image has no entry of its own.", fix="Name a path below `/`."
            )
        known = tree.setdefault(entry.path, entry)
        if known is not entry and known != entry:
            raise _conflict(known, entry)
    for entry in tuple(tree.values()):
        _add_parents(tree, entry)
    ordered = sorted(tree.values(), key=lambda entry: encoded(entry.path).replace(b"/", b"\0"))
    return Rootfs(entries=linked(ordered, apart))


def linked(entries: Iterable[Entry], apart: Collection[str] = ()) -> tuple[Entry, ...]:
    """The entries, in the same order, with hard links among themselves and to no others."""
    entries = tuple(entries)
    inodes = [entry.identity.inode for entry in entries if isinstance(entry, File) and entry.source is not None]
    if len(set(inodes)) == len(inodes) and not any(isinstance(each, File) and each.linked for each in entries):
        return entries
    first: dict[tuple[object, ...], str] = {}
    found: list[Entry] = []
    for entry in entries:
        link = None
        if (
            isinstance(entry, File)
            and entry.source is not None
            and entry.identity.inode
            and entry.path not in apart
        ):
            status = (entry.identity, entry.mtime, entry.mode, entry.uid, entry.gid)
            same = (*status, entry.capabilities, entry.xattrs)
            path = first.setdefault(same, entry.path)
            link = path if path != entry.path else None
        if isinstance(entry, File) and entry.linked != link:
            found.append(msgspec.structs.replace(entry, linked=link))
        else:
            found.append(entry)
    return tuple(found)


def _add_parents(tree: dict[str, Entry], entry: Entry) -> None:
    """From the inside out, up to a directory that is there: its own parents are looked after by itself."""
    parent = entry.path.rpartition("/")[0]
    while parent:
        above = tree.get(parent)
        if isinstance(above, Directory):
            return
        if isinstance(above, Symlink):
            raise SpecError(
                f"{entry.path!r} would be written through the symbolic link {parent!r} of the image.",
                fix=f"Name the real path (the link points to {above.target!r}), or leave the link out.",
            )
        if isinstance(above, File):
            raise SpecError(
                f"{parent!r} is a file in the image, so {entry.path!r} cannot lie below it.",
                fix="Give one of them another path.",
            )
        tree[parent] = Directory(path=parent, mode=0o755, uid=0, gid=0)
        parent = parent.rpartition("/")[0]


def _conflict(known: Entry, entry: Entry) -> SpecError:
    fix = "Give one of them another path, or leave it out."
    if isinstance(known, Directory) and isinstance(entry, Directory):
        settled = f"{entry.path}:mode={entry.mode:04o},uid={entry.uid},gid={entry.gid}"
        fix = f"Decide on one, e.g. `--mkdir {settled!r}`."
    return SpecError(
        f"Two different entries claim {entry.path!r} in the image: {describe(known)} and {describe(entry)}.",
        fix=fix,
    )


def describe(entry: Entry) -> str:
    """What an entry is, in words for a message."""
    if isinstance(entry, File):
        what = "a file made for it" if entry.source is None else f"the file {entry.source!r}"
        return f"{what} (mode {entry.mode:04o}, owner {entry.uid}:{entry.gid})"
    if isinstance(entry, Directory):
        return f"a directory (mode {entry.mode:04o}, owner {entry.uid}:{entry.gid})"
    return f"a symbolic link to {entry.target!r}"
