"""The entries of a stage as values of `programs`, `copy`, `mkdir` and `symlink`."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING

from rootless_scratch.errors import ScratchError
from rootless_scratch.image.host_files import HostFiles
from rootless_scratch.image.plan.copies import copied
from rootless_scratch.image.rootfs import Directory, File, Symlink
from rootless_scratch.image.spec import Copy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rootless_scratch.containerfile.evaluated import Evaluated
    from rootless_scratch.image.rootfs import Entry

_PLAIN = 0o755


class CopyLines:
    """The lines; `remarks` tell what has none. Sources are relative to `directory`."""

    def __init__(self, evaluated: Evaluated, *, context: str, directory: str) -> None:
        self.programs: list[str] = []
        self.copies: list[str] = []
        self.directories: list[str] = []
        self.symlinks: list[str] = []
        self.remarks: list[str] = []
        self._entries = {each.path: each for each in evaluated.entries}
        self._covered: set[str] = set()
        self._directory = directory
        self._named = _named_directories(evaluated, context)
        config = evaluated.config
        self._entrypoint = (config.entrypoint or ("",))[0]
        with HostFiles(keep=False) as files:
            self._files = files
            self._of_files(each for each in evaluated.entries if isinstance(each, File))
        self._of_others(evaluated.entries)

    def _of_files(self, entries: Iterable[File]) -> None:
        for entry in entries:
            if entry.path in self._covered:
                continue
            if entry.source is None:
                self.remarks.append(
                    f"{entry.path} is text of the Containerfile: write a file of it, and add that to `copy`."
                )
                continue
            source = os.path.abspath(entry.source)
            if not self._is_program(entry, source) and not self._below_named(source, entry.path):
                self._take(Copy(source=source, destination=entry.path))

    def _is_program(self, entry: File, source: str) -> bool:
        if entry.path != self._entrypoint or (entry.mode, entry.uid, entry.gid) != (_PLAIN, 0, 0):
            return False
        self.programs.append(f"{self._relative(source)}:{entry.path}")
        self._covered.add(entry.path)
        return True

    def _below_named(self, source: str, path: str) -> bool:
        """Take the topmost directory that an instruction names, or that is below one, and is there as a whole."""
        pairs = []
        while posixpath.basename(source) == posixpath.basename(path) and path != "/":
            source, path = posixpath.dirname(source), posixpath.dirname(path)
            if any(source == name or source.startswith(f"{name}/") for name in self._named):
                pairs.append((source, path))
        return any(self._take(Copy(source=source, destination=path)) for source, path in reversed(pairs))

    def _take(self, copy: Copy) -> bool:
        """Add the line if it brings nothing else than the stage has: as it is, with modes kept, or of one file."""
        entry = self._entries.get(copy.destination or "")
        owner = (0, 0) if entry is None else (entry.uid, entry.gid)
        for settings in ("", "mode=keep"):
            tried = copy.but(keep_mode=bool(settings), uid=owner[0], gid=owner[1])
            if self._is_same(tried):
                named = ",".join(filter(None, (settings, f"uid={owner[0]},gid={owner[1]}" if any(owner) else "")))
                self.copies.append(f"{self._relative(copy.source)}:{copy.destination}{named and ':'}{named}")
                return True
        if not isinstance(entry, File):
            return False
        capabilities = f",cap={entry.capabilities}" if entry.capabilities else ""
        settings = f"mode={entry.mode:04o},uid={entry.uid},gid={entry.gid}{capabilities}"
        self.copies.append(f"{self._relative(copy.source)}:{copy.destination}:{settings}")
        self._covered.add(entry.path)
        return True

    def _is_same(self, copy: Copy) -> bool:
        try:
            brought = copied(copy, self._files).entries
        except ScratchError:
            return False
        if not all(_is_alike(each, self._entries.get(each.path)) for each in brought):
            return False
        self._covered.update(each.path for each in brought)
        return True

    def _of_others(self, entries: Iterable[Entry]) -> None:
        above = {posixpath.dirname(path) for path in self._entries}
        for entry in entries:
            if entry.path in self._covered:
                continue
            if isinstance(entry, Symlink):
                self.symlinks.append(f"{entry.target}:{entry.path}")
                if (entry.uid, entry.gid) != (0, 0):
                    self.remarks.append(f"The link {entry.path} is owned by 0:0 here.")
            elif isinstance(entry, Directory):
                is_plain = (entry.mode, entry.uid, entry.gid) == (_PLAIN, 0, 0)
                settings = "" if is_plain else f":mode={entry.mode:04o},uid={entry.uid},gid={entry.gid}"
                if entry.path != "/" and not (is_plain and entry.path in above):
                    self.directories.append(f"{entry.path}{settings}")

    def _relative(self, source: str) -> str:
        return os.path.relpath(source, self._directory)


def _named_directories(evaluated: Evaluated, context: str) -> set[str]:
    """Directories of the context that instructions name; those with variables or patterns are not looked for."""
    found = set()
    for instruction in {id(each): each for each in evaluated.brought.values()}.values():
        for token in instruction.tokens[:-1]:
            path = os.path.normpath(os.path.join(os.path.abspath(context), token.raw.lstrip("/")))
            if os.path.isdir(path):
                found.add(path)
    return found


def _is_alike(brought: Entry, entry: Entry | None) -> bool:
    if type(brought) is not type(entry) or entry is None:
        return False
    if isinstance(brought, Symlink) and isinstance(entry, Symlink):
        return brought.target == entry.target and (brought.uid, brought.gid) == (entry.uid, entry.gid)
    if isinstance(brought, File) and isinstance(entry, File):
        same = os.path.realpath(brought.source or "") == os.path.realpath(entry.source or "")
        if not same or brought.capabilities != entry.capabilities:
            return False
    return (brought.mode, brought.uid, brought.gid) == (entry.mode, entry.uid, entry.gid)
