"""How what COPY and ADD bring is written into a stage: with the owner and the mode that the instruction gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.errors import SourceError
from rootless_scratch.image.paths import PATH_MAX, image_path
from rootless_scratch.image.rootfs import Directory, Entry, File, Loss, Symlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rootless_scratch.containerfile.archives import Unpacked
    from rootless_scratch.containerfile.files import StageFiles

_SET_ID = 0o6000


class Placing:
    """Writes for one instruction: `owner` and `mode` are what it gives, if it does; `losses` are filled meanwhile.

    With `strips` set-id bits are dropped that it does not give itself. Without `links` those of the image are not
    followed.
    """

    def __init__(
        self,
        files: StageFiles,
        *,
        owner: tuple[int, int] | None,
        mode: Callable[[int, bool], int] | None,
        strips: bool,
        links: bool,
    ) -> None:
        self.losses: list[Loss] = []
        self._files = files
        self._owner = owner
        self._mode = mode
        self._strips = strips
        self._links = links

    def mkdir(self, path: str, root: str = "") -> str:
        """Make a directory where it is missing, and those above it; its real path."""
        return self._files.mkdir(path, *(self._owner or (0, 0)), root=root, links=self._links)

    def put(self, entry: Entry, path: str, mtime: int | None) -> None:
        """Write an entry to a real path, whose parents are there, as the instruction changes it."""
        _require_path(path)
        uid, gid = self._owner or (entry.uid, entry.gid)
        if isinstance(entry, Symlink):
            self._files.put(msgspec.structs.replace(entry, path=path, uid=uid, gid=gid), mtime)
            return
        mode = entry.mode
        if self._strips and mode & _SET_ID:
            if self._mode is None:
                self.losses.append(Loss(path=path, what="set-id", had=f"{mode:04o}"))
            mode &= ~_SET_ID
        is_directory = isinstance(entry, Directory)
        if self._mode is not None:
            mode = self._mode(mode, is_directory)
        changed: Entry
        if isinstance(entry, Directory):
            changed = msgspec.structs.replace(entry, path=path, mode=mode, uid=uid, gid=gid)
        else:
            changed = msgspec.structs.replace(entry, path=path, mode=mode, uid=uid, gid=gid, linked=None)
        self._files.put(changed, mtime)

    def put_members(self, members: Iterable[Unpacked], subject: str, root: str) -> Iterator[str]:
        """Write the members of an archive below the real path `root`; their owners and modes stay.

        `root` is the root for their links too. What no image holds is left out, and its paths are yielded. Raises
        SourceError, SpecError.
        """
        for member in members:
            if not member.names:
                if root and isinstance(member.entry, Directory):
                    self._files.put(msgspec.structs.replace(member.entry, path=root), member.mtime)
                continue
            *above, name = member.names
            path = f"{self.mkdir('/'.join(above), root)}/{name}"
            _require_path(path)
            if member.entry is None:
                yield path
            elif member.link is None:
                self._files.put(msgspec.structs.replace(member.entry, path=path), member.mtime)
            else:
                self._link(member, path, root, subject)

    def _link(self, member: Unpacked, path: str, root: str, subject: str) -> None:
        """Write a hard link: one file has one mode and one owner, and the link's header comes last."""
        entry = member.entry
        first = self._files.at(self._files.resolve("/".join(member.link or ()), root=root))
        if not isinstance(first, File) or not isinstance(entry, File):
            raise SourceError(
                f"{subject!r} has a hard link {'/'.join(member.names)!r} to what is not a file in it.",
                fix="Make the archive again.",
            )
        for each in (first.path, path):
            changed = msgspec.structs.replace(first, path=each, mode=entry.mode, uid=entry.uid, gid=entry.gid)
            self._files.put(changed, member.mtime)


def _require_path(path: str) -> None:
    """Raise SpecError for a path that no image may have; most are seen to be short at once."""
    if "/.wh." in path or 4 * len(path) >= PATH_MAX:
        image_path(path, what="path")
