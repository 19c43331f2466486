"""What a stage of buildah's came to, remembered with all that it was made of: then it need not be asked for again.

Where nothing has changed since, the files lie where storage has them, and those of this user can be read without
any namespace. What buildah itself looks at to find a stage in its cache is compared: the lines of the file, the
options, the files of the context, and the images that its names stand for.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from base64 import b64encode
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from rootless_scratch.backends.stage_store import StoreSettings, known_settings
from rootless_scratch.containerfile.reducing import needed_stages, reduced
from rootless_scratch.containerfile.taken import taken_paths
from rootless_scratch.elf.identity import identity_of
from rootless_scratch.elf.program import read_program
from rootless_scratch.errors import ScratchError
from rootless_scratch.image.rootfs import Directory, Entry, File, Symlink
from rootless_scratch.spawn import find

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rootless_scratch.backends.stages import Mounted, StageOptions
    from rootless_scratch.containerfile.document import Document, Instruction, Stage
    from rootless_scratch.containerfile.origins import Found, HostOrigin

_MOST = 50_000
_MOST_OF_CONTEXT = 200_000
"""Entries of a stage, and files of a context. buildah reads all of these files, and here they are looked at."""

_KEPT = 256
_LAYOUT = "docker-image://oci:"
"""As `_for_buildah` has it (verbs/contexts.py)."""

_SHORTEST_ID = 3
_TICK = 100_000_000
"""Nanoseconds, more than any kernel takes for a step of the times of files."""

_COPYING = ("COPY", "ADD")
_UNSETTLED = frozenset("$*?[\\`\"'")


class _TooMuch(Exception):  # noqa: N818 - not an error
    """More than is remembered, or of another kind."""


class Recalled(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a stage that the file may copy; `state` is what it was made of, `image_id` what it was made.

    `linked` is whether a loader starts any of its programs, `entries` is None where files are of another kind, or
    too many, to be told one by one.
    """

    state: str
    image_id: str
    linked: bool
    entries: tuple[Entry, ...] | None
    mtimes: dict[str, int]

    def is_readable(self, *, libraries: bool) -> bool:
        """Whether this process can read all of it, the libraries of programs included where these are wanted."""
        if self.entries is None or (libraries and self.linked):
            return False
        return all(_is_readable(entry) for entry in self.entries if isinstance(entry, File))


class Memory:
    """What is remembered of the stages of one file, for its `target`; `variables` are those of tools."""

    def __init__(
        self, document: Document, target: Stage, options: StageOptions, variables: Mapping[str, str]
    ) -> None:
        self._document = document
        self._target = target
        self._options = options
        self._settings = known_settings(variables)

    def recall(self, stage: Stage) -> Recalled | None:
        """What is known of a stage, if that still holds."""
        if self._settings is None or self._options.pull is not None or self._options.no_cache:
            return None
        try:
            with open(self._path(self._settings, stage), "rb") as file:
                found = msgspec.msgpack.decode(file.read(), type=Recalled)
        except (OSError, ValueError, msgspec.MsgspecError):
            return None
        return found if found.state == self.surroundings(stage) else None

    def surroundings(self, stage: Stage) -> str | None:
        """All that may change while file and options stay; None where it cannot be told, or has just changed."""
        if self._settings is None:
            return None
        buildah = find("buildah")
        total = hashlib.sha256()
        newest = 0
        try:
            for path in (buildah, self._options.ignore_file):
                if path is not None:
                    total.update(repr((path, _stamp(os.stat(path)))).encode("utf-8", "surrogateescape"))
            sources: set[str] = set()
            images: set[str] = set()
            for number in needed_stages(self._document, stage):
                needed = self._document.stages[number]
                images.add(needed.base.raw)
                for instruction in needed.instructions:
                    sources.update(_context_paths(instruction))
                    images.update(flag.value or "" for flag in instruction.flags if flag.name in ("from", "mount"))
            directories = {self._options.context: sources, **_directories(self._options)}
            for name, value in self._options.build_contexts:
                images.discard(name)
                images.add(_image_of_context(value))
            images -= _own_names(self._document)
            known = _named_images((self._settings.images, self._settings.own_images), images)
            if images and not known:
                # By nothing that is there yet.
                return None
            total.update(repr(known).encode("utf-8", "surrogateescape"))
            for path, stamp in (each for top, below in directories.items() for each in _listed(top, below)):
                newest = max(newest, stamp[-1])
                total.update(repr((path, stamp)).encode("utf-8", "surrogateescape"))
        except (OSError, ValueError, KeyError, TypeError, _TooMuch):
            return None
        # What is written within one tick of the clock has one time.
        return total.hexdigest() if newest < time.time_ns() - _TICK else None

    def note(self, stage: Stage, origin: HostOrigin, mounted: Mounted, *, before: str | None) -> None:
        """Remember what a stage came to; `before` were its surroundings before it was built."""
        settings = self._settings
        if settings is None or before is None or self.surroundings(stage) != before:
            return
        entries: tuple[Entry, ...] | None = None
        mtimes: dict[str, int] = {}
        layers = _layers_of(mounted.directory, os.path.dirname(os.path.dirname(settings.images)))
        with suppress(OSError, ValueError):
            found = _Collected(origin, layers)
            with suppress(_TooMuch):
                for path in taken_paths(self._document, self._target, (), stages={stage.number}):
                    found.add(path)
                entries, mtimes = tuple(found.entries.values()), found.mtimes
            known = Recalled(
                state=before,
                image_id=mounted.image_id,
                linked=any(map(_is_linked, entries or ())),
                entries=entries,
                mtimes=mtimes,
            )
            path = self._path(settings, stage)
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            with open(f"{path}.{os.getpid()}", "wb") as file:
                file.write(msgspec.msgpack.encode(known))
            os.replace(file.name, path)
            _forget_oldest(os.path.dirname(path))

    def _path(self, settings: StoreSettings, stage: Stage) -> str:
        options = self._options
        taken = taken_paths(self._document, self._target, (), stages={stage.number})
        asked_for = (reduced(self._document, stage), stage.number, taken, options.but(secrets=()).flags())
        values = [(name, os.environ.get(name)) for name, value in options.build_args if value is None]
        key = hashlib.sha256(repr((asked_for, options.context, values)).encode("utf-8", "surrogateescape"))
        return f"{settings.directory}/memory/{key.hexdigest()}"


def _is_linked(entry: Entry) -> bool:
    """Whether this is a program that a loader starts."""
    if not isinstance(entry, File) or entry.source is None:
        return False
    try:
        elf = read_program(entry.source).elf
    except ScratchError:
        return False
    return elf is not None and elf.interpreter is not None


def _is_readable(file: File) -> bool:
    try:
        return (
            file.source is not None
            and identity_of(os.stat(file.source, follow_symlinks=False)) == file.identity
            and os.access(file.source, os.R_OK)
        )
    except OSError:
        return False


def _own_names(document: Document) -> set[str]:
    """What names no image: `scratch`, stages, their numbers, and nothing."""
    named = {each.name for each in document.stages if each.name is not None}
    return {"", "scratch", *named, *(str(each.number) for each in document.stages)}


def _directories(options: StageOptions) -> dict[str, set[str]]:
    """What named contexts read of directories: all of it, of layouts the index, which has digests of the rest."""
    found: dict[str, set[str]] = {}
    for _, value in options.build_contexts:
        if os.path.isabs(value):
            found[value] = {""}
        elif value.startswith(_LAYOUT):
            found[value.removeprefix(_LAYOUT).partition(":")[0]] = {"index.json"}
    return found


def _image_of_context(value: str) -> str:
    """The name of the image that a named context is; nothing where it is another thing."""
    return "" if os.path.isabs(value) or value.startswith(_LAYOUT) else value.removeprefix("docker-image://")


def _named_images(lists: tuple[str, ...], wanted: set[str]) -> list[tuple[str, str]]:
    """Names with what they stand for, of all images that could be meant; raises OSError, _TooMuch."""
    names = {re.split(r"[:@]", each.rpartition("/")[2])[0] for each in wanted}
    is_open = any("$" in each or "," in each for each in wanted)
    found = []
    for path in lists:
        if not os.path.exists(path):
            continue
        with open(path, "rb") as file:
            for image in msgspec.json.decode(file.read()):
                meant = [
                    (name, image["id"])
                    for name in image.get("names") or ()
                    if is_open or re.split(r"[:@]", name.rpartition("/")[2])[0] in names
                ]
                meant += [(each, image["id"]) for each in wanted if _is_id(each) and image["id"].startswith(each)]
                if meant and _has_triggers(os.path.dirname(path), image["id"]):
                    raise _TooMuch
                found += meant
    return sorted(found)


def _is_id(name: str) -> bool:
    return len(name) >= _SHORTEST_ID and re.fullmatch("[0-9a-f]+", name) is not None


def _has_triggers(images: str, image_id: str) -> bool:
    """Whether an image adds instructions to the stage that it begins (ONBUILD), which may read anything."""
    key = b64encode(f"sha256:{image_id}".encode()).decode()
    with open(f"{images}/{image_id}/={key}", "rb") as file:
        config = msgspec.json.decode(file.read()).get("config") or {}
    return bool(config.get("OnBuild"))


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _context_paths(instruction: Instruction) -> Iterator[str]:
    """What an instruction reads of the context: a path, or "" for all of it; _TooMuch for the network."""
    inner = instruction.inner
    if inner is not None:
        yield from _context_paths(inner)
    if instruction.name == "RUN":
        mounts = [flag.value or "" for flag in instruction.flags if flag.name == "mount"]
        if any("from=" not in each and "type=cache" not in each and "type=secret" not in each for each in mounts):
            yield ""
    if instruction.name not in _COPYING or instruction.flag("from") is not None:
        return
    arguments = instruction.exec_form or tuple(token.raw for token in instruction.tokens)
    for argument in arguments[:-1]:
        if "://" in argument or argument.startswith("git@"):
            raise _TooMuch
        if not argument.startswith("<<"):
            is_settled = not _UNSETTLED & set(argument) and ".." not in argument.split("/")
            yield argument.strip("/") if is_settled and argument.strip("/.") else ""


def _listed(context: str, sources: set[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Each file of the context at or below these paths, with what tells that it is still the same."""
    count = 0
    for source in ("",) if "" in sources else sorted(sources):
        top = os.path.join(context, source)
        pending = [os.path.realpath(top)]
        yield pending[0], _stamp(os.stat(top))
        while pending:
            directory = pending.pop()
            if not os.path.isdir(directory):
                continue
            with os.scandir(directory) as listing:
                items = sorted(listing, key=lambda item: os.fsencode(item.name))
            count += len(items)
            if count > _MOST_OF_CONTEXT:
                raise _TooMuch
            for item in items:
                yield item.path, _stamp(item.stat(follow_symlinks=False))
                if item.is_dir(follow_symlinks=False):
                    pending.append(item.path)


class _Collected:
    """Entries of a mounted stage, as the host has their files; raises _TooMuch, OSError."""

    def __init__(self, origin: HostOrigin, layers: Iterable[str]) -> None:
        self.entries: dict[str, Entry] = {}
        self.mtimes: dict[str, int] = {}
        self._origin = origin
        self._layers = tuple(layers)

    def add(self, path: str) -> None:
        """What a path leads to, with all links on the way, and what is below it."""
        pending = path.split("/")[::-1]
        real = ""
        while pending:
            name = pending.pop()
            if name in ("", ".", ".."):
                real = real.rpartition("/")[0] if name == ".." else real
                continue
            found = self._origin.find(f"{real}/{name}", "all")
            if found is None:
                return
            entry = self._take(found)
            if isinstance(entry, Symlink):
                pending += entry.target.split("/")[::-1]
                real = "" if entry.target.startswith("/") else real
            else:
                real = entry.path
        if self._origin.is_directory(real):
            self._add_below(real)

    def _add_below(self, directory: str) -> None:
        links = []
        pending = [directory]
        while pending:
            for found in self._origin.listing(pending.pop(), None, "all"):
                known = found.entry is not None and found.entry.path in self.entries
                entry = self._take(found)
                if isinstance(entry, Directory):
                    pending.append(entry.path)
                elif isinstance(entry, Symlink) and not known:
                    links.append(entry)
        for link in links:
            above = link.path.rpartition("/")[0]
            self.add(link.target if link.target.startswith("/") else f"{above}/{link.target}")

    def _take(self, found: Found) -> Entry:
        entry = found.entry
        if entry is None or found.lost is not None or len(self.entries) > _MOST:
            raise _TooMuch
        if isinstance(entry, File):
            entry = self._as_host_has_it(entry)
        self.entries[entry.path] = entry
        if found.mtime is not None:
            self.mtimes[entry.path] = found.mtime
        return entry

    def _as_host_has_it(self, file: File) -> File:
        """The file where it lies in the one of the layers that brought it."""
        for layer in self._layers:
            source = layer + file.path
            try:
                status = os.stat(source, follow_symlinks=False)
            except OSError:
                continue
            same = (status.st_size, status.st_mtime_ns) == (file.identity.size, file.identity.mtime_ns)
            if stat.S_ISREG(status.st_mode) and same and (status.st_uid, status.st_gid) == (file.uid, file.gid):
                return msgspec.structs.replace(file, source=source, identity=identity_of(status))
            break
        raise _TooMuch


def _layers_of(root: str, other: str) -> Iterator[str]:
    """The directories that a mounted image is made of, the uppermost first: one for vfs, several for overlay.

    Some of these may lie in the `other` store.
    """
    above, name = os.path.split(root)
    if name != "merged":
        yield root
        return
    yield f"{above}/diff"
    with open(f"{above}/lower", encoding="utf-8") as file:
        for lower in file.read().strip().split(":"):
            for store in (os.path.dirname(above), f"{other}/overlay"):
                if os.path.exists(f"{store}/{lower}"):
                    yield os.path.realpath(f"{store}/{lower}")
                    break


def _forget_oldest(directory: str) -> None:
    paths = [f"{directory}/{name}" for name in os.listdir(directory)]
    if len(paths) > _KEPT:
        for path in sorted(paths, key=os.path.getmtime)[: -_KEPT // 2]:
            os.unlink(path)
