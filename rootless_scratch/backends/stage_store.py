"""The store of stages: where it lies, what settings it has, and what killed calls have left in it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rootless_scratch import command, locks, private, processes
from rootless_scratch.backends.failing import damaged_store
from rootless_scratch.backends.inner_tools import call
from rootless_scratch.backends.session import store_key
from rootless_scratch.backends.store_files import setting_files
from rootless_scratch.data import Value
from rootless_scratch.errors import CommandError, HostError
from rootless_scratch.host.capabilities import is_rootful
from rootless_scratch.spawn import find

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LISTS = ("containers.json", "volatile-containers.json")
"""Where storage names its containers; those of buildah and podman are volatile from storage 1.40 on."""

_SETTINGS = "settings.json"
_DAMAGED = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM)
_SEEN = "vfs.imagestore="
_VFS_IMAGES = "vfs-images/images.json"
_POLITE = 3.0
_GIVE_UP = 6.0
"""Seconds after which SIGTERM becomes SIGKILL, and after which others are left to themselves."""

_CACHES = "buildah-cache"
"""Where buildah keeps what `RUN --mount=type=cache` is for, below TMPDIR."""


class StageStore:
    """An image store below the user's data directory, locked for as long as it is used.

    `flags` select it for buildah, `environment` is that of its tools. The first user of several removes what
    killed ones have left: working containers and temporary files. Raises HostError, CommandError.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.directory = _own_directory(environment)
        try:
            self._temporary = private.make_own(self.directory, "tmp")
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(f"{self.directory}/lock", flags, 0o600)
        except OSError as error:
            raise _unusable(self.directory, error) from error
        # Caches of RUN are to last, so buildah's temporary files lie where its store does.
        self.environment = {**environment, "TMPDIR": self._temporary}
        try:
            is_alone = locks.lock(self._descriptor)
            if not is_alone:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH)
            self._driver, self._options = self._settings(environment)
            self._root, self._run = f"{self.directory}/{self._driver}", f"run-{self._driver}"
            options = [flag for option in self._options for flag in ("--storage-opt", option)]
            self._driver_flags = ("--storage-driver", self._driver, *options)
            self.flags = ("--root", self._root, "--runroot", f"{self.directory}/{self._run}", *self._driver_flags)
            if is_alone:
                self._sweep()
                fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        except OSError as error:
            os.close(self._descriptor)
            raise _unusable(self.directory, error) from error
        except BaseException:
            os.close(self._descriptor)
            raise
        self._own: list[str] = []

    def close(self) -> None:
        """Remove containers that were made to read images; mounts end with the namespace.

        What failed builds have left goes too, unless somebody else is at work here.
        """
        with suppress(CommandError):
            if self._own:
                self._ask("buildah", "rm", *self._own)
        # Where it fails the shared lock is gone as well (flock(2)), so it is tried when nothing is used any more.
        with suppress(BlockingIOError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._containers():
                self._remove_containers()
        os.close(self._descriptor)

    @contextmanager
    def files(self) -> Iterator[str]:
        """A private directory for the files of one build; raises HostError where they cannot be written."""
        try:
            with private.make_private(self._temporary) as made:
                yield made.path
        except OSError as error:
            raise _unusable(self.directory, error) from error

    def mount(self, image_id: str) -> str:
        """The directory where the files of an image are.

        podman mounts images as they are, buildah a copy; nothing is mounted where they lie in one directory.
        """
        lying = self._lying(image_id)
        if lying is not None:
            return lying
        if find("podman") is not None:
            argv = self._podman("image", "mount", image_id)
            done = call(argv, self.environment, directory=self.directory)
            if done.exit_code == 0:
                return done.text
        # podman does not find layers of the user's own storage.
        container = self._ask("buildah", "from", "--pull-never", image_id)
        self._own.append(container)
        return self._ask("buildah", "mount", container)

    def _lying(self, image_id: str) -> str | None:
        """Where an image's files lie as they are: the driver vfs has a whole directory for each layer."""
        if self._driver != "vfs":
            return None
        stores = [each.removeprefix(_SEEN) for each in self._options if each.startswith(_SEEN)]
        stores.insert(0, self._root)
        for store in stores:
            with suppress(OSError, ValueError, KeyError, TypeError), open(f"{store}/{_VFS_IMAGES}", "rb") as file:
                layers = {each["id"]: each["layer"] for each in json.load(file) if each.get("layer")}
                found = [f"{each}/vfs/dir/{layers[image_id]}" for each in stores]
                return next(filter(os.path.isdir, found), None)
        return None

    def _settings(self, environment: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
        """The driver and its options: those of the user's own storage, which becomes an additional store."""
        known = _known(self.directory, environment)
        if known is not None:
            return str(known["driver"]), tuple(map(str, known["options"]))
        info = json.loads(self._done(["buildah", "info"]))["store"]
        driver, options = str(info["GraphDriverName"]), [str(each) for each in info.get("GraphOptions") or ()]
        images = f"{info['GraphRoot']}/{driver}-images"
        if os.path.exists(f"{images}/images.lock") and os.path.exists(f"{info['GraphRoot']}/{driver}-layers"):
            options.append(f"{driver}.imagestore={info['GraphRoot']}")
            known = {"changes": _changes(environment), "driver": driver, "options": options, "images": images}
            path = f"{self.directory}/{_SETTINGS}"
            with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
                json.dump(known, file)
            os.replace(file.name, path)
        return driver, tuple(options)

    def _podman(self, *arguments: str) -> list[str]:
        # podman refuses a long path here, and takes one from its working directory (4.3).
        flags = ("--root", self._root, "--runroot", self._run, *self._driver_flags)
        return ["podman", *flags, "--tmpdir", f"{self.directory}/podman", *arguments]

    def _ask(self, tool: str, *arguments: str) -> str:
        return self._done([tool, *self.flags, *arguments])

    def _done(self, argv: Sequence[str]) -> str:
        done = call(argv, self.environment, directory=self.directory)
        if done.exit_code != 0:
            raise command.failed(argv, exit_code=done.exit_code, stderr=done.stderr)
        return done.text

    def _sweep(self) -> None:
        """Remove what killed calls have left; nobody else is here."""
        if self._containers():
            self._end_tools()
            self._remove_containers()
        for name in os.listdir(self._temporary):
            if not name.startswith(_CACHES):
                shutil.rmtree(f"{self._temporary}/{name}", ignore_errors=True)

    def _end_tools(self) -> None:
        """End what works in this store although whoever started it was killed."""
        began = time.monotonic()
        root = self._root.encode()

        def is_ours(pid: int) -> bool:
            return processes.belongs_to_us(pid) and root in processes.arguments_of(pid)

        while waited := time.monotonic() - began:
            if not processes.signal_those(is_ours, signal.SIGKILL if waited > _POLITE else signal.SIGTERM):
                return
            if waited > _GIVE_UP:
                return
            time.sleep(0.1)

    def _remove_containers(self) -> None:
        with suppress(CommandError):
            self._ask("buildah", "rm", "--all")
        left = self._containers()
        if left and find("podman") is not None:
            # One whose maker was killed before it wrote its own notes is known to storage alone.
            with suppress(CommandError):
                self._done(self._podman("rm", "--force", *left))

    def _containers(self) -> list[str]:
        found = []
        for name in _LISTS:
            path = f"{self._root}/{self._driver}-containers/{name}"
            with suppress(OSError, ValueError, KeyError, TypeError), open(path, "rb") as file:
                found += [str(each["id"]) for each in json.load(file)]
        return found


class StoreSettings(Value):
    """Where the store lies, and the lists of the images that are seen in it: the user's own, and its own."""

    directory: str
    images: str
    own_images: str


def known_settings(variables: Mapping[str, str]) -> StoreSettings | None:
    """The settings of the store where there is one already that is as it was; nothing is made or started."""
    directory = f"{data_directory(variables)}/stages/{store_key(variables)}"
    known = _known(directory, variables)
    if known is None:
        return None
    driver = known["driver"]
    return StoreSettings(
        directory=directory,
        images=f"{known['images']}/images.json",
        own_images=f"{directory}/{driver}/{driver}-images/images.json",
    )


def _known(directory: str, variables: Mapping[str, str]) -> dict[str, Any] | None:
    """What is known of the user's own storage, if its settings have not changed since."""
    try:
        with open(f"{directory}/{_SETTINGS}", encoding="utf-8") as file:
            known: dict[str, Any] = json.load(file)
        holds = known["changes"] == _changes(variables) and os.path.exists(known["images"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return known if holds else None


def _changes(variables: Mapping[str, str]) -> list[int]:
    return [_changed(each) for each in setting_files(variables)]


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def data_directory(variables: Mapping[str, str]) -> str:
    """Where data of this user lies that is no image of theirs: XDG Base Directory Specification."""
    above = variables.get("XDG_DATA_HOME", "")
    if above.startswith("/"):
        return f"{above}/rootless-scratch"
    # The root of a user's namespace keeps its images below HOME, and may not write there.
    if is_rootful() and os.access("/var/lib", os.W_OK):
        return "/var/lib/rootless-scratch"
    return f"{variables['HOME']}/.local/share/rootless-scratch"


def _unusable(directory: str, error: OSError) -> HostError:
    cause = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    if error.errno in _DAMAGED:
        return damaged_store(directory, cause)
    return HostError(
        f"The store of stages {directory!r} cannot be written to: {cause}.",
        fix="Make room there, or set XDG_DATA_HOME to a directory of your own that you can write to.",
    )


def _own_directory(variables: Mapping[str, str]) -> str:
    directory = data_directory(variables)
    base, name = os.path.split(directory if private.foreign_link(directory) else os.path.realpath(directory))
    try:
        return private.make_own(base, name, "stages", store_key(variables))
    except OSError as error:
        raise HostError(
            f"{directory}/stages, where stages are kept, cannot be made: {error.strerror}.",
            fix="Set XDG_DATA_HOME to a directory of your own that you can write to.",
        ) from error
