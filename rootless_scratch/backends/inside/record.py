"""Records of work under way, and taking back what killed work left behind."""

from __future__ import annotations

import binascii
import fcntl
import marshal
import os
import time

from rootless_scratch.backends.inside.tool import Tool

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from rootless_scratch.backends.inside.caller import Places

_NEW = ".new"
_ENDING_PATIENCE = 20.0
"""Seconds for another worker to take back what it was told to; it needs well under one."""

_WRITING_PATIENCE = 3.0
"""Seconds after which an image without config is no longer taken for one that is being written."""


class Record:
    """The file that says "this is under way": locked by flock(2) while its worker lives.

    A lock, not a process id, proves life: two CI jobs may share a home and not their process ids.
    """

    def __init__(self, path: str, descriptor: int, content: dict[str, Any]) -> None:
        self.path = path
        self.descriptor = descriptor
        self.content = content
        self.name: str = content["name"]
        self.scratch: str = content["scratch"]

    @classmethod
    def create(cls, places: Places) -> Record:
        """Write the record, locked before it has its name, so that no other worker can take it for a dead one."""
        content: dict[str, Any] = {"name": places.name, "scratch": places.scratch}
        path = os.path.join(places.records, places.name)
        descriptor = _create_locked(path + _NEW)
        record = cls(path, descriptor, content)
        record.write()
        os.rename(path + _NEW, path)
        os.makedirs(record.scratch, mode=0o700, exist_ok=True)
        return record

    def write(self) -> None:
        """Replace the content; a reader that finds it torn falls back on the file's name."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, marshal.dumps(self.content), 0)

    def commits(self, images: str | None, expected: dict[str, Any]) -> None:
        """From here on an image without a name may stay behind: note which were there before, and its config."""
        if images is not None:
            self.content["images"] = images
            self.content["expected"] = expected
            self.content["before"] = os.listdir(images)
            self.write()

    def lists(self, name: str, loaded: Sequence[str]) -> None:
        """From here on images without a name may stay behind, and a list of them under a name of ours."""
        self.content["list"] = name
        self.content["loaded"] = list(loaded)
        self.write()

    def remove(self) -> None:
        """All has ended and nothing is left."""
        remove_tree(self.scratch)
        os.unlink(self.path)
        os.close(self.descriptor)

    def take_back(self, places: Places) -> None:
        """Remove what this may have left: container, unnamed image, temporary files, record."""
        self.content["ending"] = True
        import contextlib

        with contextlib.suppress(OSError):
            # On a full disk the note that others might wait for is missing; taking back goes on.
            self.write()
        # What lies there may be what fills the disk, and on a full one storage removes nothing.
        with contextlib.suppress(OSError):
            remove_tree(self.scratch)
        Tool(places, ("rm", self.name)).finish(check=False, cancel=False)
        images = self.content.get("images")
        if images is not None and os.path.isdir(images):
            added = set(os.listdir(images)) - set(self.content["before"])
            remove_unnamed(places, added, self.content["expected"])
        if "list" in self.content:
            remove_list(places, self.content["list"], self.content["loaded"])
        self.remove()


class Lock:
    """Held while one name is given, so that of all builds here only one gives it at a time.

    Its file is an empty record: what a killed build leaves of it, the next sweep removes.
    """

    def __init__(self, records: str, name: str) -> None:
        # Two names that share a sum only wait for each other.
        self._path = os.path.join(records, f"name-{binascii.crc32(name.encode()):08x}")

    def __enter__(self) -> None:
        self._descriptor = _create_locked(self._path)

    def __exit__(self, *raised: object) -> None:
        os.unlink(self._path)
        os.close(self._descriptor)


def remove_unnamed(places: Places, added: Iterable[str], expected: dict[str, object]) -> None:
    """Remove those of the images `added` since a commit began that have no name and the config it meant."""
    for image_id in added:
        found = _describe(places, image_id)
        if found is None:
            continue
        config, names = found
        ours = all(config.get(key) == value for key, value in expected.items() if value is not None)
        if not names and (ours or not config):
            Tool(places, ("rmi", image_id)).finish(check=False, cancel=False)


def remove_list(places: Places, name: str, loaded: Iterable[str]) -> None:
    """Remove a manifest list of ours by its name, and its images unless the list has got a user's name by then."""
    lines = _listed(places)
    own = {number for number, each in lines if each == name}
    given = any(number in own and each != name for number, each in lines)
    Tool(places, ("manifest", "rm", name)).finish(check=False, cancel=False)
    for image_id in () if given else loaded:
        if _names(places, image_id) == []:
            Tool(places, ("rmi", image_id)).finish(check=False, cancel=False)


def _describe(places: Places, image_id: str) -> tuple[dict[str, Any], list[str]] | None:
    """The config of an image ({} where its writer was killed before it had one) and its names; None if gone.

    An image without config may also be one that another process is writing at this moment: that is waited for.
    """
    import json

    deadline = time.monotonic() + _WRITING_PATIENCE
    while True:
        names = _names(places, image_id)
        if names is None:
            return None
        described = Tool(places, ("inspect", "--type", "image", image_id)).finish(check=False, cancel=False)
        try:
            return json.loads(json.loads(described)["Config"]), names
        except (ValueError, KeyError, TypeError):
            if time.monotonic() > deadline:
                return {}, names
        time.sleep(0.1)


def _names(places: Places, image_id: str) -> list[str] | None:
    """The names of an image, or None where there is no such image any more."""
    found = None
    for number, name in _listed(places):
        if number == image_id:
            found = (found or []) + ([] if "<none>" in name else [name])
    return found


def _listed(places: Places) -> list[tuple[str, str]]:
    """ID and name of every image; one with several names comes several times."""
    listed = Tool(places, ("images", "--all", "--no-trunc", "--format", "{{.ID}} {{.Name}}:{{.Tag}}"))
    lines = (line.partition(" ") for line in listed.finish(check=False, cancel=False).splitlines())
    return [(number.removeprefix("sha256:"), name) for number, _, name in lines]


def sweep(places: Places) -> None:
    """Take back what was left by workers that were killed; a live one holds its record's lock and is let be.

    One that is just taking back its own is waited for, so that nothing of a cancelled build is there afterwards.
    """
    for name in sorted(os.listdir(places.records)):
        path = os.path.join(places.records, name)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if not (_lock(descriptor) and _is_same(descriptor, path)):
            os.close(descriptor)
            continue
        content = _read(descriptor)
        if "name" not in content:
            own = name.removesuffix(_NEW)
            content = {
                "name": own,
                "scratch": os.path.join(os.path.dirname(places.scratch), own),
                "expected": {},
            }
        Record(path, descriptor, content).take_back(places)


def _create_locked(path: str) -> int:
    """A new file under this lock, which a sweep between its creation and its locking may have removed."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_same(descriptor, path):
            return descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    deadline = time.monotonic() + _ENDING_PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not _read(descriptor).get("ending") or time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def _is_same(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> dict[str, Any]:
    try:
        content = marshal.loads(os.pread(descriptor, 1 << 26, 0))  # noqa: S302 - our own, in a directory of mode 0700
    except (ValueError, EOFError, TypeError):
        # Torn by a kill, or written by another Python.
        return {}
    return content if isinstance(content, dict) else {}


def remove_tree(path: str) -> None:
    """Remove a directory of ours with all that is in it; what is gone already is fine."""
    try:
        entries = list(os.scandir(path))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
        else:
            os.unlink(entry.path)
    os.rmdir(path)
