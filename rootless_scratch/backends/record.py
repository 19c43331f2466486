"""Records of work under way, and taking back what killed work left behind."""

from __future__ import annotations

import binascii
import fcntl
import marshal
import os
import time

from rootless_scratch import locks, private

TYPE_CHECKING = False  # importing typing costs 8 ms
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rootless_scratch.backends.caller import WorkerPaths
    from rootless_scratch.backends.jobs import ExpectedConfig

_PREFIX = "rootless-scratch-"
_NEW = ".new"
_LOCK = "name-"
_OURS = (_PREFIX, _LOCK)
_ENDING_PATIENCE = 20.0
"""Seconds for another worker to take back what it was told to; it needs well under one."""

_ELSEWHERE = 24 * 3600
"""Seconds after which a record of another host is taken for one that was left there."""

_FORGET_AFTER = 7 * 24 * 3600
"""Seconds after which a container that nothing here can remove is no longer tried."""


class Record:
    """The file that says "this is under way": locked by flock(2) while its worker lives.

    A lock, not a process id, proves life: two CI jobs may share a home and not their process ids. `scratch` is a
    private directory of this work, for what its tools write on the way.
    """

    def __init__(
        self, path: str, descriptor: int, content: dict[str, Any], held: private.PrivateDirectory | None
    ) -> None:
        self.path = path
        self.descriptor = descriptor
        self.content = content
        self.name: str = content["name"]
        self._held = held

    @classmethod
    def create(cls, paths: WorkerPaths, *, inherited: bool) -> Record:
        """Write the record, locked before it has its name, so that no other worker can take it for a dead one.

        With `inherited` every program that this process starts keeps the lock of the directory for as long as
        it lives, also where this process is killed. Raises OSError.
        """
        name = _PREFIX + os.urandom(8).hex()
        path = os.path.join(paths.records, name)
        descriptor = _create_locked(path + _NEW)
        try:
            while True:
                scratch = private.fresh_path(paths.base)
                content = {"name": name, "scratch": scratch, "since": time.time(), **_host()}
                record = cls(path, descriptor, content, None)
                record.write()
                if os.path.lexists(path + _NEW):
                    os.rename(path + _NEW, path)
                record._held = private.make_at(scratch)
                if record._held is not None:
                    os.set_inheritable(record._held.descriptor, inherited)
                    return record
        except BaseException:
            for each in (path + _NEW, path):
                if os.path.lexists(each):
                    os.unlink(each)
            os.close(descriptor)
            raise

    @property
    def scratch(self) -> str:
        """The path of the private directory."""
        return str(self.content["scratch"])

    def write(self) -> None:
        """Replace the content; a reader that finds it torn falls back on the file's name."""
        content = marshal.dumps(self.content)
        os.pwrite(self.descriptor, content, 0)
        os.ftruncate(self.descriptor, len(content))

    def commits(self, images: str | None, expected: ExpectedConfig) -> None:
        """From here on an image without a name may stay behind: note which were there before, and its config."""
        if images is not None:
            self.content["images"] = images
            self.content["expected"] = expected.__dict__
            self.content["before"] = os.listdir(images)
            self.write()

    def stores(self, image_id: str) -> None:
        """From here on this image may stay behind without a name, or without all that belongs to one."""
        self.content["stored"] = image_id
        self.write()

    def lists(self, name: str, loaded: Sequence[str]) -> None:
        """From here on images without a name may stay behind, and a list of them under a name of ours."""
        self.content["list"] = name
        self.content["loaded"] = list(loaded)
        self.write()

    def remove(self) -> None:
        """All has ended and nothing is left; where the directory cannot go, the next sweep tries again."""
        try:
            self._empty()
            os.unlink(self.path)
        except OSError:
            return
        finally:
            os.close(self.descriptor)

    def take_back(self, paths: WorkerPaths) -> None:
        """Remove what this may have left: container, unnamed image, temporary files, record.

        Where storage keeps the container, the record stays for the next sweep.
        """
        import contextlib

        from rootless_scratch.backends.leavings import (
            remove_container,
            remove_list,
            remove_stored,
            remove_unnamed,
        )

        self.content["ending"] = True
        with contextlib.suppress(OSError):
            # On a full disk the note that others might wait for is missing; taking back goes on.
            self.write()
        # What lies there may be what fills the disk, and on a full one storage removes nothing.
        with contextlib.suppress(OSError):
            self._empty()
        # What skopeo stores is made of no container.
        gone = "stored" in self.content or remove_container(paths, self.name)
        images = self.content.get("images")
        if images is not None and os.path.isdir(images):
            added = set(os.listdir(images)) - set(self.content["before"])
            remove_unnamed(paths, added, self.content["expected"])
        if "stored" in self.content:
            remove_stored(paths, self.content["stored"], since=float(self.content.get("since", 0)))
        if "list" in self.content:
            remove_list(paths, self.content["list"], self.content["loaded"])
        if gone or time.time() - float(self.content.get("since", 0)) > _FORGET_AFTER:
            self.remove()
        else:
            os.close(self.descriptor)

    def _empty(self) -> None:
        if self._held is not None:
            self._held.remove()


class Lock:
    """Held while one name is given, so that of all builds here only one gives it at a time.

    What a killed build leaves of its file, the next sweep removes.
    """

    def __init__(self, records: str, name: str) -> None:
        # Two names that share a sum only wait for each other.
        self._path = os.path.join(records, f"{_LOCK}{binascii.crc32(name.encode()):08x}")

    def __enter__(self) -> None:
        self._descriptor = _create_locked(self._path)

    def __exit__(self, *raised: object) -> None:
        os.unlink(self._path)
        os.close(self._descriptor)


def sweep(paths: WorkerPaths) -> None:
    """Take back what was left by workers that were killed; a live one holds its record's lock and is let be.

    One that is just taking back its own is waited for, so that nothing of a cancelled build is there afterwards.
    What is no record of ours is passed over, and what cannot be taken back now stays for the next sweep.
    """
    began: dict[int, float] = {}

    def again(held: int) -> bool:
        since = began.setdefault(os.fstat(held).st_ino, time.monotonic())
        return _is_ending(held, since + _ENDING_PATIENCE)

    for path, descriptor in locks.left_over(paths.records, lambda name: name.startswith(_OURS), again=again):
        try:
            _sweep_one(paths, path, descriptor)
        except OSError:
            continue
    private.sweep(paths.base)


def _sweep_one(paths: WorkerPaths, path: str, descriptor: int) -> None:
    name = os.path.basename(path).removesuffix(_NEW)
    if name.startswith(_LOCK):
        os.unlink(path)
        return
    content = _read(descriptor)
    if _is_elsewhere(content, os.fstat(descriptor).st_mtime):
        return
    from rootless_scratch.backends.leavings import take_over

    scratch = content.get("scratch")
    is_seen = content.get("processes") == _processes()
    # Where tools that outlived their worker do not end (BlockingIOError), the record outlives them.
    held = take_over(scratch, name, is_seen=is_seen) if isinstance(scratch, str) else None
    content = {"expected": {}, "before": [], **content, "name": name}
    # It closes its own, as it does when its worker lives.
    Record(path, os.dup(descriptor), content, held).take_back(paths)


def _host() -> dict[str, str]:
    """Which kernel this is: locks are not always seen by another one that shares the file system (flock(2))."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read()
    except OSError:
        boot = ""
    return {"host": os.uname().nodename, "boot": boot, "processes": _processes()}


def _processes() -> str:
    """Which processes are seen from here: pid_namespaces(7)."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _is_elsewhere(content: dict[str, Any], written: float) -> bool:
    """Whether a record may be that of a living worker on another host, which shares this home."""
    here = _host()
    if content.get("boot", here["boot"]) == here["boot"] or content.get("host") == here["host"]:
        return False
    return time.time() - written < _ELSEWHERE


def _create_locked(path: str) -> int:
    """A new file under this lock, which a sweep between its creation and its locking may have removed."""
    while True:
        descriptor = locks.lock_file(path, os.O_RDWR | os.O_CREAT, kind=fcntl.LOCK_EX)
        if descriptor is not None:
            return descriptor


def _is_ending(descriptor: int, deadline: float) -> bool:
    """Whether its worker is just taking back, and worth waiting for some more."""
    if not _read(descriptor).get("ending") or time.monotonic() > deadline:
        return False
    time.sleep(0.01)
    return True


def _read(descriptor: int) -> dict[str, Any]:
    try:
        content = marshal.loads(os.pread(descriptor, 1 << 26, 0))  # noqa: S302 - our own, in a directory of mode 0700
    except (ValueError, EOFError, TypeError):
        # Torn by a kill, or written by another Python.
        return {}
    return content if isinstance(content, dict) else {}
